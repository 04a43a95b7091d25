"""How jobs end on a real Flux, and what the executor makes of it."""

from __future__ import annotations

import re
import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flux_instance import Instance

from exaworks.psij import (
    Job,
    JobAttributes,
    JobExecutor,
    JobSpec,
    JobState,
    JobStatus,
    ResourceSpecV1,
    StageIn,
    StageOut,
    StageOutFlags,
    SubmitException,
)
from exaworks.psij.executors.flux import FluxExecutorConfig
from exaworks.psij.job_status import Reason

pytestmark = pytest.mark.flux

S = JobState
LIMIT = 60.0


@pytest.fixture(params=["socket", "command"])
def executor(instance: Instance, request: pytest.FixtureRequest) -> JobExecutor:
    config = FluxExecutorConfig(submit_with=request.param)
    return JobExecutor.get_instance("flux", url=instance.uri, config=config)


def run(executor: JobExecutor, *command: str, **kwargs: Any) -> JobStatus:
    job = Job(JobSpec(command[0], list(command[1:]), **kwargs))
    executor.submit(job)
    status = job.wait(LIMIT)
    assert status is not None
    return status


def shell(text: str) -> tuple[str, str, str]:
    return "/bin/sh", "-c", text


def reach(job: Job, state: JobState) -> None:
    assert job.wait(LIMIT, state) is not None


def test_exit_code(executor: JobExecutor) -> None:
    status = run(executor, *shell("exit 3"))
    assert (status.state, status.exit_code, status.reason) == (S.FAILED, 3, Reason.EXIT_CODE)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_signal_of_its_own(executor: JobExecutor, number: signal.Signals) -> None:
    status = run(executor, *shell(f"ulimit -c 0; kill -{number} $$"))
    assert (status.state, status.exit_code) == (S.FAILED, 128 + number)
    assert (status.reason, status.signal) == (Reason.SIGNAL, number)
    assert number.name in (status.message or "")


def test_signal_sent_through_flux(executor: JobExecutor, instance: Instance) -> None:
    job = Job(JobSpec("/bin/sleep", ["300"]))
    executor.submit(job)
    reach(job, S.ACTIVE)
    instance.flux("job", "wait-event", "-p", "exec", str(job.native_id), "shell.start")
    instance.flux("job", "kill", "-s", "15", str(job.native_id))
    status = job.wait(LIMIT)
    assert status is not None
    assert (status.state, status.signal) == (S.FAILED, 15)


def test_command_not_found(executor: JobExecutor) -> None:
    status = run(executor, "no-such-command-at-all")
    assert (status.state, status.exit_code, status.reason) == (S.FAILED, 127, Reason.LAUNCH)
    assert "no-such-command-at-all" in (status.message or "")


def test_command_not_found_by_a_script(executor: JobExecutor, tmp_path: Path) -> None:
    status = run(executor, "no-such-command-at-all", directory=tmp_path)
    assert (status.state, status.exit_code, status.reason) == (S.FAILED, 127, Reason.LAUNCH)


def test_time_limit(executor: JobExecutor) -> None:
    attributes = JobAttributes(duration=timedelta(seconds=1))
    status = run(executor, "/bin/sleep", "300", attributes=attributes)
    assert (status.state, status.reason) == (S.FAILED, Reason.TIMEOUT)
    assert status.exit_code not in (None, 0)


def test_cancel_while_running_of_a_job_with_a_trap(executor: JobExecutor, tmp_path: Path) -> None:
    text = f"trap 'exit 5' TERM; touch {tmp_path}/up; while :; do sleep 0.1; done"
    job = Job(JobSpec("/bin/sh", ["-c", text]))
    executor.submit(job)
    reach(job, S.ACTIVE)
    wait_for_file(executor, tmp_path / "up")
    job.cancel()
    status = job.wait(LIMIT)
    assert status is not None
    assert (status.state, status.exit_code, status.reason) == (S.CANCELED, 5, Reason.CANCELED)


def wait_for_file(executor: JobExecutor, path: Path) -> None:
    """Wait for a file by a job that ends when it is there."""
    status = run(executor, *shell(f"while [ ! -e '{path}' ]; do sleep 0.1; done"))
    assert status.state is S.COMPLETED


def test_cancel_with_a_note_of_somebody_else(executor: JobExecutor, instance: Instance) -> None:
    job = Job(JobSpec("/bin/sleep", ["300"]))
    executor.submit(job)
    instance.flux("job", "raise", "-t", "cancel", str(job.native_id), "--", "no", "reason")
    status = job.wait(LIMIT)
    assert status is not None
    assert status.state is S.CANCELED
    assert "no reason" in (status.message or "")


def test_cancel_while_pending(executor: JobExecutor) -> None:
    job = Job(JobSpec("/bin/true", attributes=JobAttributes(custom_attributes={"flux.urgency": 0})))
    states: list[JobState] = []
    job.set_job_status_callback(lambda job, status: states.append(status.state))
    executor.submit(job)
    assert executor.info([job])[0].status.state is S.HELD
    job.cancel()
    status = job.wait(LIMIT)
    assert status is not None
    assert (status.state, status.exit_code) == (S.CANCELED, None)
    assert states == [S.QUEUED, S.CANCELED]


def test_request_that_cannot_be_met(executor: JobExecutor) -> None:
    status = run(executor, "/bin/true", resources=ResourceSpecV1(node_count=99))
    assert (status.state, status.exit_code, status.reason) == (S.FAILED, None, Reason.SCHEDULER)
    assert "99" in (status.message or "")


def test_exception_of_another_kind(executor: JobExecutor, instance: Instance) -> None:
    job = Job(JobSpec("/bin/sleep", ["300"]))
    executor.submit(job)
    reach(job, S.ACTIVE)
    instance.flux("job", "raise", "-s", "7", "-t", "warning", str(job.native_id), "--", "harmless")
    instance.flux("job", "raise", "-t", "disaster", str(job.native_id), "--", "fire")
    status = job.wait(LIMIT)
    assert status is not None
    assert (status.state, status.reason) == (S.FAILED, Reason.SCHEDULER)
    assert "disaster: fire" in (status.message or "")


def test_refused_at_submission(executor: JobExecutor) -> None:
    job = Job(JobSpec("/bin/true", attributes=JobAttributes(queue_name="no-such-queue")))
    with pytest.raises(SubmitException, match="queue") as caught:
        executor.submit(job)
    assert not caught.value.transient
    assert job.status.state is S.NEW


def test_times_are_those_of_the_events(executor: JobExecutor, instance: Instance) -> None:
    job = Job(JobSpec("/bin/true"))
    seen: dict[JobState, float] = {}
    job.set_job_status_callback(lambda job, status: seen.__setitem__(status.state, status.time))
    executor.submit(job)
    assert job.wait(LIMIT) is not None
    instance.flux("job", "wait-event", str(job.native_id), "clean")
    text = instance.flux("job", "eventlog", str(job.native_id))
    stamps = {m[2]: float(m[1]) for m in re.finditer(r"^(\S+) (\w+)", text, re.MULTILINE)}
    assert seen[S.ACTIVE] == pytest.approx(stamps["start"], abs=1e-5)
    assert seen[S.COMPLETED] == pytest.approx(stamps["finish"], abs=1e-5)


# -- parallel jobs -------------------------------------------------------------------------------


def test_a_parallel_job_ends_when_one_of_its_processes_fails(executor: JobExecutor) -> None:
    status = run(
        executor,
        *shell('[ "$FLUX_TASK_RANK" != 1 ] || exit 3; sleep 300'),
        launcher="mpirun",
        resources=ResourceSpecV1(process_count=2),
    )
    assert (status.state, status.exit_code, status.reason) == (S.FAILED, 3, Reason.EXIT_CODE)


def test_processes_on_nodes(executor: JobExecutor, tmp_path: Path) -> None:
    status = run(
        executor,
        *shell('echo "$FLUX_TASK_RANK/$FLUX_JOB_SIZE/$FLUX_JOB_NNODES"'),
        launcher="srun",
        directory=tmp_path,
        stdout_path="out",
        resources=ResourceSpecV1(node_count=2, processes_per_node=2),
    )
    assert status.state is S.COMPLETED
    assert sorted((tmp_path / "out").read_text().split()) == [f"{i}/4/2" for i in range(4)]


def test_copies_know_their_numbers(executor: JobExecutor, tmp_path: Path) -> None:
    status = run(
        executor,
        *shell('read line; echo "$_PSI_J_PROCESS_INDEX_ of $_PSI_J_PROCESS_COUNT $line"; exit 4'),
        launcher="multiple",
        stdin_path=Path("/etc/passwd"),
        stdout_path=tmp_path / "out",
        resources=ResourceSpecV1(process_count=2),
    )
    assert (status.state, status.exit_code) == (S.FAILED, 4)
    first = Path("/etc/passwd").read_text().splitlines()[0]
    lines = sorted((tmp_path / "out").read_text().splitlines())
    assert lines == [f"{i} of 2 {first}" for i in (1, 2)]


@pytest.mark.parametrize("launcher", ["multiple", "mpirun"])
def test_missing_directory_of_a_parallel_job(
    executor: JobExecutor, tmp_path: Path, launcher: str
) -> None:
    status = run(
        executor,
        *shell(f"touch {tmp_path}/ran"),
        launcher=launcher,
        directory=tmp_path / "none",
        resources=ResourceSpecV1(process_count=2),
    )
    assert (status.state, status.reason) == (S.FAILED, Reason.LAUNCH)
    assert str(tmp_path / "none") in (status.message or "")
    assert not (tmp_path / "ran").exists()


def test_unwritable_output_of_a_parallel_job(executor: JobExecutor, tmp_path: Path) -> None:
    status = run(
        executor,
        "/bin/true",
        launcher="mpirun",
        stdout_path=tmp_path / "none" / "out",
        resources=ResourceSpecV1(process_count=2),
    )
    assert (status.state, status.reason) == (S.FAILED, Reason.LAUNCH)


def test_one_process_has_all_nodes(executor: JobExecutor, tmp_path: Path) -> None:
    status = run(
        executor,
        *shell('echo "$FLUX_TASK_RANK/$FLUX_JOB_NNODES"; cat "$PSIJ_NODEFILE"'),
        stdout_path=tmp_path / "out",
        resources=ResourceSpecV1(node_count=2, processes_per_node=2),
    )
    assert status.state is S.COMPLETED
    first, *nodes = (tmp_path / "out").read_text().split()
    assert first == "0/2"
    assert len(nodes) == 4


# -- scripts -------------------------------------------------------------------------------------


def test_failures_of_scripts_are_told(executor: JobExecutor, tmp_path: Path) -> None:
    (tmp_path / "pre").write_text("echo 'words of the script' >&2; false\n")
    status = run(executor, "/bin/true", pre_launch=tmp_path / "pre")
    assert (status.state, status.reason) == (S.FAILED, Reason.LAUNCH)
    assert status.metadata is not None
    assert "words of the script" in Path(status.metadata["log"]).read_text()
    (tmp_path / "post").write_text("exit 9\n")
    status = run(executor, "/bin/true", post_launch=tmp_path / "post")
    assert (status.state, status.exit_code) == (S.FAILED, 9)
    assert "post-launch" in (status.message or "")
    missing = StageIn(tmp_path / "bytes \udcff", "x")
    status = run(executor, "/bin/true", directory=tmp_path, stage_in={missing})
    assert (status.state, status.reason) == (S.FAILED, Reason.STAGING)
    assert "no such file" in (status.message or "")


def test_a_cancelled_job_stages_out_and_cleans_up(executor: JobExecutor, tmp_path: Path) -> None:
    (tmp_path / "job").mkdir()
    spec = JobSpec(
        "/bin/sh",
        ["-c", "echo x >result; touch up; exec sleep 300"],
        directory=tmp_path / "job",
        stage_out={StageOut("result", tmp_path / "out", flags=StageOutFlags.ON_CANCEL)},
        cleanup={"result"},
    )
    job = Job(spec)
    states: list[JobState] = []
    job.set_job_status_callback(lambda job, status: states.append(status.state))
    executor.submit(job)
    reach(job, S.ACTIVE)
    wait_for_file(executor, tmp_path / "job" / "up")
    job.cancel()
    status = job.wait(LIMIT)
    assert status is not None
    assert status.state is S.CANCELED
    assert (tmp_path / "out").read_text() == "x\n"
    assert not (tmp_path / "job" / "result").exists()
    assert states == [
        S.QUEUED,
        S.STAGE_IN,
        S.ACTIVE,
        S.STAGE_OUT,
        S.CLEANUP,
        S.CANCELED,
    ]


def test_what_means_something_to_the_job_shell(executor: JobExecutor, tmp_path: Path) -> None:
    for launcher in ("single", "mpirun"):
        status = run(
            executor,
            "/usr/bin/printf",
            "%s|",
            "{{id}}",
            "{{no}} $x 'y' \\0101",
            launcher=launcher,
            stdout_path=tmp_path / launcher,
        )
        assert status.state is S.COMPLETED
        assert (tmp_path / launcher).read_text() == "{{id}}|{{no}} $x 'y' \\0101|"


def test_scripts_do_not_read_startup_files(executor: JobExecutor, tmp_path: Path) -> None:
    """Bash reads .bashrc if its input is a socket, as if a remote shell daemon ran it."""
    (tmp_path / ".bashrc").write_text(f"touch {tmp_path}/read\n")
    status = run(
        executor,
        "/bin/true",
        inherit_environment=False,
        environment={"HOME": str(tmp_path)},
        stdout_path=tmp_path / "out",
    )
    assert status.state is S.COMPLETED
    assert (tmp_path / "out").exists()
    assert not (tmp_path / "read").exists()


def test_environment_is_not_inherited_on_request(executor: JobExecutor, tmp_path: Path) -> None:
    status = run(
        executor,
        "/usr/bin/env",
        inherit_environment=False,
        environment={"ONLY": "this"},
        stdout_path=tmp_path / "out",
    )
    assert status.state is S.COMPLETED
    names = {line.partition("=")[0] for line in (tmp_path / "out").read_text().splitlines()}
    assert "ONLY" in names
    assert "EXAWORKS_HOME" not in names


def test_a_parallel_program_inside_a_script(executor: JobExecutor, tmp_path: Path) -> None:
    (tmp_path / "pre").write_text("export SAID=hello\n")
    status = run(
        executor,
        *shell('echo "$SAID $FLUX_TASK_RANK/$FLUX_JOB_SIZE/$FLUX_JOB_NNODES"; exit 6'),
        launcher="mpirun",
        pre_launch=tmp_path / "pre",
        stdout_path=tmp_path / "out",
        resources=ResourceSpecV1(node_count=2, processes_per_node=2),
    )
    assert (status.state, status.exit_code, status.reason) == (S.FAILED, 6, Reason.EXIT_CODE)
    lines = sorted((tmp_path / "out").read_text().splitlines())
    assert lines == [f"hello {i}/4/2" for i in range(4)]


def test_a_parallel_program_inside_a_script_that_fails(
    executor: JobExecutor, tmp_path: Path
) -> None:
    (tmp_path / "pre").write_text("false\n")
    status = run(executor, "/bin/true", launcher="mpirun", pre_launch=tmp_path / "pre")
    assert (status.state, status.reason) == (S.FAILED, Reason.LAUNCH)
    assert "pre-launch" in (status.message or "")
