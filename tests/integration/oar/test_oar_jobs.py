"""Jobs of all kinds on a real OAR."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from oar_system import custom, essence, quick, shell, told

from exaworks import psij
from exaworks.psij import (
    InvalidJobException,
    Job,
    JobAttributes,
    JobExecutor,
    JobState,
    JobStatus,
    Reason,
    ResourceSpecV1,
    SubmitException,
)
from patience import end, until

pytestmark = pytest.mark.oar


@pytest.fixture
def executor(tmp_path: Path) -> JobExecutor:
    return quick(tmp_path / "it's a $ work dir")


def test_resources(executor: JobExecutor, tmp_path: Path) -> None:
    show = 'wc -l <"$PSIJ_NODEFILE"; sort -u "$PSIJ_NODEFILE" | wc -l; wc -l <"$OAR_NODEFILE"'
    cases = {
        "plain": (ResourceSpecV1(), custom(), "1 1 1"),
        "deep": (ResourceSpecV1(cpu_cores_per_process=3), custom(), "1 1 3"),
        "many": (ResourceSpecV1(process_count=3), custom(), None),
        "nodes": (ResourceSpecV1(2, None, 2, 3), custom(), "4 2 12"),
        "alone": (ResourceSpecV1(exclusive_node_use=True), custom(), "1 1 8"),
        "given": (ResourceSpecV1(), custom(l="/nodes=1/core=2", p="host='node3'"), "2 1 2"),
    }
    jobs = {}
    for name, (resources, attributes, _) in cases.items():
        fields = {"resources": resources, "attributes": attributes}
        jobs[name] = shell(show, stdout_path=tmp_path / name, **fields)
    executor.submit_many(jobs.values())
    for name, (_, _, expected) in cases.items():
        assert end(jobs[name]).state is JobState.COMPLETED, (name, jobs[name].status)
        shown = (tmp_path / name).read_text().split()
        if expected is None:
            assert (shown[0], shown[2]) == ("3", "3"), name
        else:
            assert shown == expected.split(), name
    assert (jobs["given"].status.metadata or {})["nodes"] == "127.0.1.3"


def test_what_the_scheduler_is_told(executor: JobExecutor) -> None:
    attributes = JobAttributes(
        duration=timedelta(hours=1, seconds=5),
        queue_name="besteffort",
        account="proj1",
        custom_attributes={"oar.t": ["besteffort", "idempotent"], "oar.hold": None},
    )
    job = shell("true", name="1 'name' $(x) \\ | é", attributes=attributes)
    executor.submit(job)
    facts = told(job)
    assert facts["name"] == "1 _name_ __x_ _ _ _"
    assert "walltime=1:0:5" in facts["wanted_resources"]
    assert facts["project"] == "proj1"
    assert facts["queue"] == "besteffort"
    assert facts["types"] == ["besteffort", "idempotent"]
    info = executor.info([job])[0]
    assert info.status.state is JobState.HELD
    assert info.spec is not None
    assert info.spec.attributes.duration == timedelta(seconds=3605)
    assert info.spec.attributes.account == "proj1"
    job.cancel()
    assert essence(end(job)) == (JobState.CANCELED, Reason.CANCELED, None)


@pytest.mark.parametrize(
    ("attributes", "resources", "message"),
    [
        (JobAttributes(queue_name="nosuch"), ResourceSpecV1(), "queue nosuch does not exist"),
        (custom(l="core=999"), ResourceSpecV1(), "not enough resources"),
        (custom(t="nosuchtype"), ResourceSpecV1(), "unknown job type: nosuchtype"),
        (custom(nosuch=1), ResourceSpecV1(), "nosuch"),
        (custom(p="nosuch = 1"), ResourceSpecV1(), "nosuch"),
        (JobAttributes(reservation_id="77777"), ResourceSpecV1(), "invalid container id"),
        (custom(), ResourceSpecV1(node_count=99), "not enough resources"),
    ],
)
def test_refusals_are_in_the_schedulers_words(
    executor: JobExecutor, attributes: JobAttributes, resources: ResourceSpecV1, message: str
) -> None:
    job = shell("true", attributes=attributes, resources=resources)
    with pytest.raises(SubmitException, match=message) as problem:
        executor.submit(job)
    assert not problem.value.transient
    assert job.status.state is JobState.NEW


def test_memory_cannot_be_asked_for(executor: JobExecutor) -> None:
    with pytest.raises(InvalidJobException, match=r"oar\.p"):
        executor.submit(shell("true", resources=ResourceSpecV1(memory=2**30)))


def test_an_array_of_200_with_one_cancelled(executor: JobExecutor) -> None:
    jobs = [shell(f"exit {i % 3}") for i in range(199)]
    jobs.append(shell("sleep 300"))
    executor.submit_many(jobs)
    assert len({told(job)["array_id"] for job in jobs[:2]}) == 1
    jobs[-1].wait(120, JobState.ACTIVE)
    jobs[-1].cancel()
    _, not_done = psij.wait(jobs, 240)
    assert not not_done
    assert [job.status.exit_code for job in jobs[:-1]] == [i % 3 for i in range(199)]
    assert essence(jobs[-1].status) == (JobState.CANCELED, Reason.CANCELED, None)


def test_the_time_limit(executor: JobExecutor) -> None:
    job = shell("sleep 300", attributes=JobAttributes(timedelta(seconds=5)))
    executor.submit(job)
    status = end(job)
    assert essence(status) == (JobState.FAILED, Reason.TIMEOUT, None), status
    assert "WALLTIME" in (status.message or "")


def test_somebody_else_cancels(executor: JobExecutor) -> None:
    running, waiting = shell("sleep 300"), shell("true", attributes=custom(hold=True))
    executor.submit(running)
    executor.submit(waiting)
    running.wait(60, JobState.ACTIVE)
    other = quick(Path.cwd() / "other")
    for job in (running, waiting):
        same = Job()
        other.attach(same, str(job.native_id))
        same.cancel()
        assert end(job).state is JobState.CANCELED
        assert "exauser" in (job.status.message or "") or "FRAG" in (job.status.message or "")


def test_dependencies(executor: JobExecutor, tmp_path: Path) -> None:
    first = shell("sleep 3; exit 1")
    executor.submit(first)
    waits = {
        kind: shell("true", attributes=JobAttributes(dependencies={kind: [first]}))
        for kind in ("afterany", "afternotok", "afterok")
    }
    for job in waits.values():
        executor.submit(job)
    assert told(waits["afterany"])["dependencies"] == [int(str(first.native_id))]
    assert end(first).exit_code == 1
    assert end(waits["afterany"]).state is JobState.COMPLETED
    assert end(waits["afternotok"]).state is JobState.COMPLETED
    assert essence(end(waits["afterok"]))[:2] == (JobState.CANCELED, Reason.DEPENDENCY)


def test_the_best_effort_makes_room(executor: JobExecutor, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    modest = shell(
        f"echo run >>'{runs}'; sleep 300",
        resources=ResourceSpecV1(node_count=4, exclusive_node_use=True),
        attributes=custom(t=["besteffort", "idempotent"]),
    )
    executor.submit(modest)
    modest.wait(120, JobState.ACTIVE)
    executor.submit(shell("true"))
    status = end(modest)
    assert essence(status) == (JobState.FAILED, Reason.PREEMPTED, None), status
    assert "again as job" in (status.message or "")
    again = successor(executor, status)
    until(lambda: runs.read_text().startswith("run\n" * 2))
    again.cancel()
    while (status := end(again)).state is not JobState.CANCELED:
        # A job of another test has needed the nodes in the meantime.
        assert essence(status) == (JobState.FAILED, Reason.PREEMPTED, None), status
        again = successor(executor, status)
        again.cancel()


def successor(executor: JobExecutor, status: JobStatus) -> Job:
    """The job that OAR has made of one that had to make room."""
    job = Job()
    executor.attach(job, str(status.message).split("again as job ")[1].split(",")[0])
    return job


@pytest.mark.parametrize("value", ["x\n#OAR -q none\n", 'it\'s $HOME \\ "é" `id`\n\x1b[1m'])
def test_odd_environments_are_inherited(
    executor: JobExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("ODD", value)
    monkeypatch.setenv("OAR_JOB_ID", "77")
    monkeypatch.setenv("PSIJ_NODEFILE", "/none")
    job = shell('printf %s "$ODD"; echo "$OAR_JOB_ID" "$PSIJ_NODEFILE" >&2')
    assert job.spec is not None
    job.spec.stdout_path, job.spec.stderr_path = tmp_path / "out", tmp_path / "err"
    executor.submit(job)
    assert executor.find([job.id]) == {job.id: job.native_id}
    assert end(job).state is JobState.COMPLETED, job.status
    assert (tmp_path / "out").read_bytes().decode() == value
    own, nodefile = (tmp_path / "err").read_text().split(" ", 1)
    assert own == job.native_id
    assert nodefile.strip().endswith(own)
