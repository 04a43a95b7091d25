"""How programs in use call psij, each in its own way (their sources are named, not copied)."""

import copy
import json
import multiprocessing
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import psij
from psij.executors.batch.batch_scheduler_executor import BatchSchedulerExecutorConfig
from psij.serialize import JSONSerializer

LONG = timedelta(seconds=90)


def test_radical_pilot(backend: str, tmp_path: Path) -> None:
    """radical.pilot, pmgr/launching/psi_j.py: setters, an executor's callback, six states."""
    states = {
        psij.JobState.NEW: "NEW", psij.JobState.QUEUED: "PENDING", psij.JobState.ACTIVE: "ACTIVE",
        psij.JobState.COMPLETED: "DONE", psij.JobState.FAILED: "FAILED",
        psij.JobState.CANCELED: "CANCELED",
    }  # fmt: skip
    seen: list[tuple[str, str]] = []
    ended = threading.Event()

    def changed(job: psij.Job, status: psij.JobStatus) -> None:
        seen.append((job.id, states[status.state]))  # an unknown state raises, as it does there
        if status.state == psij.JobState.CANCELED:
            ended.set()

    executor = psij.JobExecutor.get_instance(backend)
    executor.set_job_status_callback(changed)
    attributes = psij.JobAttributes()
    attributes.duration = timedelta(minutes=5)
    attributes.queue_name = None
    attributes.project_name = None
    attributes.reservation_id = None
    attributes.set_custom_attribute(name="other.thing", value="x")
    spec = psij.JobSpec()
    spec.attributes = attributes
    spec.executable = "/bin/bash"
    spec.arguments = ["-c", "sleep 300"]
    spec.environment = {"RADICAL_BASE": str(tmp_path)}
    spec.directory = tmp_path
    spec.stdout_path = tmp_path / "bootstrap_0.out"
    spec.stderr_path = tmp_path / "bootstrap_0.err"
    spec.inherit_environment = False
    spec.resources = psij.ResourceSpecV1(node_count=1, process_count=1, exclusive_node_use=False)
    job = psij.Job(spec)
    executor.submit(job)
    assert job.wait(LONG, psij.JobState.ACTIVE) is not None
    job.cancel()
    assert ended.wait(90)
    assert seen == [(job.id, state) for state in ("PENDING", "ACTIVE", "CANCELED")]


def test_swift_t(backend: str, tmp_path: Path) -> None:
    """swift-t, turbine2psij.py: every keyword given, most of them None, and a batch config."""
    name = backend
    config = BatchSchedulerExecutorConfig(
        launcher_log_file=tmp_path / "launcher.log",
        work_directory=tmp_path / "work",
        queue_polling_interval=5,
    )
    executor = psij.JobExecutor.get_instance(name, config=config)
    spec = psij.JobSpec(
        name="turbine", executable="/bin/sh", arguments=["-c", "echo $TURBINE; exit 4"],
        directory=tmp_path, inherit_environment=True, environment={"TURBINE": "yes"},
        stdin_path=None, stdout_path=tmp_path / "out.txt", stderr_path=tmp_path / "out.txt",
        resources=psij.ResourceSpecV1(
            node_count=None, process_count=2, processes_per_node=2, cpu_cores_per_process=None,
            gpu_cores_per_process=None, exclusive_node_use=False,
        ),
        attributes=psij.JobAttributes(
            duration=timedelta(minutes=5), queue_name=None, account=None, reservation_id=None,
            custom_attributes=None,
        ),
        pre_launch=None, post_launch=None, launcher="multiple",
    )  # fmt: skip
    job = psij.Job(spec)
    executor.submit(job)
    assert job.native_id is not None
    status = job.wait(LONG)
    assert status is not None
    assert status.final
    assert (status.state, status.exit_code) == (psij.JobState.FAILED, 4)
    assert (tmp_path / "out.txt").read_text() == "yes\nyes\n"


def ood_info(executor: Any, **query: Any) -> list[dict[str, Any]]:
    """What ood_core's get_info.py makes of jobs."""
    rows = []
    for job in executor.info(**query):
        row: dict[str, Any] = {"native_id": job.native_id, "current_state": job._status.state.name}
        row.update(job.current_info.__dict__)
        row.update(JSONSerializer()._from_spec(job.spec))
        attributes = row.pop("attributes")
        row["duration"] = job.spec.attributes.duration.total_seconds()
        row["wall_time"] = int(row["wall_time"])
        row.update(attributes)
        row.update(row.pop("resources"))
        for key in ("submission_time", "dispatch_time"):
            row[key] = row[key].strftime("%Y-%m-%d %H:%M:%S")
        rows.append(row)
    return json.loads(json.dumps(rows))  # type: ignore[no-any-return]


def test_open_ondemand(backend: str, tmp_path: Path, capfd: Any) -> None:
    """ood_core, adapters/psij: a specification from JSON; info, hold, release, delete by id."""
    executor = psij.JobExecutor.get_instance(backend)
    given = {
        "executable": "/bin/sleep", "arguments": ["300"], "name": "ood",
        "directory": str(tmp_path), "attributes": {"duration": "600 s", "custom_attributes": {}},
        "resources": {"__version": 1, "process_count": 1},
    }  # fmt: skip
    spec = JSONSerializer()._to_spec(given)
    assert spec.attributes.custom_attributes is not None
    job = psij.Job(spec)
    executor.submit(job)
    print(job.native_id)
    assert capfd.readouterr() == (f"{job.native_id}\n", "")

    def known() -> psij.Job:
        other = psij.Job()
        other._native_id = job.native_id  # type: ignore[assignment]
        return other

    rows = ood_info(executor, jobs=[known()])
    assert [row["native_id"] for row in rows] == [job.native_id]
    assert rows[0]["owner"]
    assert rows[0]["name"] == "ood"
    assert rows[0]["current_state"] in ("QUEUED", "ACTIVE")
    mine = [row["native_id"] for row in ood_info(executor, owner=rows[0]["owner"])]
    everybodys = [row["native_id"] for row in ood_info(executor)]
    assert job.native_id in mine
    assert job.native_id in everybodys
    same = known()
    same.executor = executor
    executor.cancel(same)
    status = job.wait(LONG)
    assert status is not None
    assert status.state is psij.JobState.CANCELED


def test_covalent(backend: str, tmp_path: Path) -> None:
    """covalent-hpc-plugin: submit in one process, attach and wait in others."""
    executor = psij.JobExecutor.get_instance(backend)
    job = psij.Job(
        psij.JobSpec("/bin/sh", ["-c", "exit 0"], attributes=psij.JobAttributes(project_name=None))
    )
    executor.submit(job)
    native_id = job.native_id
    assert native_id is not None
    attached = psij.Job()
    psij.JobExecutor.get_instance(backend).attach(attached, native_id)
    final = [psij.JobState.CANCELED, psij.JobState.COMPLETED, psij.JobState.FAILED]
    status = attached.wait(timeout=LONG, target_states=final)
    assert status is not None
    assert status.state.name == "COMPLETED"


def test_bioimageflow(backend: str, tmp_path: Path) -> None:
    """bioimageflow: names of executors, a plain config, and an observation of one second."""
    import importlib.metadata

    assert importlib.metadata.version("psij-python")
    assert backend in psij.JobExecutor.get_executor_names()
    executor = psij.JobExecutor.get_instance(
        backend, config=psij.JobExecutorConfig(work_directory=tmp_path / "work")
    )
    (tmp_path / "pre.sh").write_text("export WHO=me\n")
    spec = psij.JobSpec(
        executable="/bin/sleep", arguments=["300"], name="step", directory=str(tmp_path),
        pre_launch=str(tmp_path / "pre.sh"), resources=psij.ResourceSpecV1(process_count=1),
        attributes=psij.JobAttributes(duration=timedelta(minutes=9), queue_name=None, account=None),
    )  # fmt: skip
    job = psij.Job(spec)
    executor.submit(job)
    assert job.native_id is not None
    assert job.wait(LONG, psij.JobState.ACTIVE) is not None
    observed = psij.Job()
    other = psij.JobExecutor.get_instance(
        backend, config=psij.JobExecutorConfig(work_directory=tmp_path / "work")
    )
    other.attach(observed, job.native_id)
    status = observed.wait(timeout=timedelta(seconds=5), target_states=[psij.JobState.ACTIVE])
    assert status is not None
    assert status.state.name == "ACTIVE"
    observed.cancel()
    assert job.wait(LONG) is not None


def test_tierkreis() -> None:
    """tierkreis: deep copies of specifications, environment values int or str, messages."""
    spec = psij.JobSpec("/bin/true", environment={"A": 1}, resources=psij.ResourceSpecV1(memory=1))
    assert copy.deepcopy(spec) == spec
    with pytest.raises((psij.InvalidJobException, psij.SubmitException)) as caught:
        psij.JobExecutor.get_instance("local").submit(psij.Job(psij.JobSpec()))
    assert "executable" in caught.value.message
    assert "NEW" in str(psij.Job().status)


def test_psi_j_parsl() -> None:
    """psi-j-parsl: UnreachableStateException, values of states as keys."""
    from psij import UnreachableStateException

    names = {state._value_: state.name for state in psij.JobState}
    assert names[psij.JobState.ACTIVE._value_] == "ACTIVE"
    assert issubclass(UnreachableStateException, Exception)


def test_cluster_experiment_utils() -> None:
    """cluster_experiment_utils: resources set after construction, launch commands by hand."""
    spec = psij.JobSpec("prog", ["x"])
    spec.resources = psij.ResourceSpecV1()
    spec.resources.process_count = 8
    words = psij.Launcher.get_instance("mpirun").get_launch_command(psij.Job(spec))
    assert words[-2:] == ["prog", "x"]
    assert "8" in words


def test_export_and_import(tmp_path: Path) -> None:
    """psij-zmq, psij-rest and psij-ssh: specifications as dictionaries."""
    spec = psij.JobSpec("/bin/true", ["a"], attributes=psij.JobAttributes(queue_name="q"))
    written = psij.Export().to_dict(spec)
    assert psij.Import().from_dict(json.loads(json.dumps(written)), target_type="JobSpec") == spec
    psij.Export().export(spec, tmp_path / "spec.json")
    assert psij.Import().load(tmp_path / "spec.json") == spec


def _child(queue: Any) -> None:
    import psij

    job = psij.Job(psij.JobSpec("/bin/sh", ["-c", "exit 5"]))
    psij.JobExecutor.get_instance("local").submit(job)
    status = job.wait(30)
    queue.put(status.exit_code if status else None)


def test_a_forked_component_process() -> None:
    """radical.pilot's components are forked from a process that may have used psij already."""
    before = psij.Job(psij.JobSpec("/bin/true"))
    psij.JobExecutor.get_instance("local").submit(before)
    before.wait(30)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_child, args=(queue,))
    child.start()
    assert queue.get(timeout=60) == 5
    child.join(30)
    after = psij.Job(psij.JobSpec("/bin/true"))
    psij.JobExecutor.get_instance("local").submit(after)
    assert after.wait(30) is not None


def test_from_any_thread() -> None:
    results: list[object] = []

    def run() -> None:
        job = psij.Job(psij.JobSpec("/bin/true"))
        psij.JobExecutor.get_instance("local").submit(job)
        results.append(job.wait(30))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    assert results[0] is not None
