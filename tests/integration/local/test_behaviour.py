"""The executor for this machine where others go wrong.

Many of these are faults of psij-python's executor, each with a test that it is absent here.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest

from exaworks import psij
from exaworks.psij import (
    InvalidStateException,
    Job,
    JobAttributes,
    JobExecutor,
    JobSpec,
    JobState,
    ResourceSpecV1,
    StageIn,
    StageOut,
    StageOutFlags,
)
from exaworks.psij.executors.local import LocalExecutorConfig, LocalJobExecutor
from patience import end, until

pytestmark = pytest.mark.usefixtures("local_home")
S = JobState


@pytest.fixture
def executor() -> JobExecutor:
    return JobExecutor.get_instance("local")


def shell(text: str, **kwargs: object) -> Job:
    return Job(JobSpec("/bin/sh", ["-c", text], **kwargs))  # type: ignore[arg-type]


def processes(marker: str) -> list[int]:
    """Processes that have a text in their command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            text = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if marker in text and state != "Z":
            found.append(int(entry.name))
    return found


def test_direct_construction_and_text() -> None:
    executor = LocalJobExecutor()
    assert str(executor).startswith("JobExecutor[local, ")
    assert executor.name == "local"
    assert str(executor.version)


def test_a_job_that_leaves_a_process_behind_delays_nobody(executor: JobExecutor) -> None:
    begin = time.monotonic()
    left = shell("sleep 307 & exit 0")
    daemon = shell("setsid sleep 308 > /dev/null 2>&1 & exit 0")
    after = shell("exit 2")
    for job in (left, daemon, after):
        executor.submit(job)
    assert end(left).state is end(daemon).state is S.COMPLETED
    assert end(after).exit_code == 2
    assert time.monotonic() - begin < 30
    # what stayed in the job's own session is ended, as a batch scheduler does
    until(lambda: not processes("sleep 307"))
    for pid in processes("sleep 308"):
        os.kill(pid, signal.SIGKILL)


def test_a_talkative_pre_launch_script(executor: JobExecutor, tmp_path: Path) -> None:
    (tmp_path / "pre.sh").write_text("head -c 300000 /dev/zero | tr '\\0' x\nA=1; export A\n")
    job = shell('echo "$A"', pre_launch=tmp_path / "pre.sh", stdout_path=tmp_path / "out")
    executor.submit(job)
    assert end(job).state is S.COMPLETED
    assert (tmp_path / "out").read_text() == "1\n"


def test_messages_that_are_no_text(executor: JobExecutor, tmp_path: Path) -> None:
    (tmp_path / "pre.sh").write_text("printf '\\377\\376 bad' >&2; exit 3\n")
    jobs = [shell("true", pre_launch=tmp_path / "pre.sh") for _ in range(20)]
    executor.submit_many(jobs)
    for job in jobs:
        status = end(job)
        assert status.exit_code == 3
        assert "bad" in (status.message or "")


def test_cancelled_means_that_nothing_runs_any_more(executor: JobExecutor) -> None:
    marker = "3333"
    jobs = [
        shell(f"setsid sleep {marker} & (trap '' TERM; sleep {marker}) & sleep {marker}")
        for _ in range(10)
    ]
    config = LocalExecutorConfig(cancel_grace=0.5)
    impatient = JobExecutor.get_instance("local", config=config)
    impatient.submit_many(jobs)
    for job in jobs:
        assert job.wait(30, S.ACTIVE) is not None
    until(lambda: len(processes(f"sleep {marker}")) >= 30)
    for job in jobs:
        job.cancel()
    for job in jobs:
        assert end(job).state is S.CANCELED
    assert processes(f"sleep {marker}") == []
    after = shell("true")
    executor.submit(after)
    assert end(after).state is S.COMPLETED


def test_cancel_of_a_queued_job() -> None:
    executor = JobExecutor.get_instance("local", config=LocalExecutorConfig(max_running_jobs=1))
    first, second = shell("sleep 300"), shell("true")
    executor.submit_many([first, second])
    second.cancel()
    assert end(second).state is S.CANCELED
    first.cancel()
    assert end(first).state is S.CANCELED


def test_duration_is_enforced_if_given(executor: JobExecutor) -> None:
    job = shell("sleep 300", attributes=JobAttributes(duration=timedelta(seconds=0.5)))
    executor.submit(job)
    status = end(job)
    assert (status.state, status.reason) == (S.FAILED, psij.Reason.TIMEOUT)
    assert "0.5" in (status.message or "")


def test_stage_out_on_cancel(executor: JobExecutor, tmp_path: Path) -> None:
    job = shell(
        "echo partial > result; sleep 300",
        directory=tmp_path,
        stage_out={
            StageOut("result", tmp_path / "canceled", flags=StageOutFlags.ON_CANCEL),
            StageOut("result", tmp_path / "good", flags=StageOutFlags.ON_SUCCESS),
        },
    )
    executor.submit(job)
    assert job.wait(30, S.ACTIVE) is not None
    until((tmp_path / "result").exists)
    job.cancel()
    assert end(job).state is S.CANCELED
    assert (tmp_path / "canceled").read_text() == "partial\n"
    assert not (tmp_path / "good").exists()


def test_relative_sources_are_relative_to_the_submitter(
    executor: JobExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "job").mkdir()
    (tmp_path / "here" / "data").write_text("x")
    monkeypatch.chdir(tmp_path / "here")
    job = shell(
        "cp in out",
        directory=tmp_path / "job",
        stage_in={StageIn("data", "in")},
        stage_out={StageOut("out", "result")},
    )
    executor.submit(job)
    monkeypatch.chdir(tmp_path)
    assert end(job).state is S.COMPLETED
    assert (tmp_path / "here" / "result").read_text() == "x"


def test_home_directory(
    executor: JobExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "d").mkdir()
    job = shell("pwd", directory="~/d", stdout_path="~/d/out")
    executor.submit(job)
    assert end(job).state is S.COMPLETED
    assert (tmp_path / "d" / "out").read_text() == f"{tmp_path.resolve()}/d\n"


def test_nodefile(executor: JobExecutor, tmp_path: Path) -> None:
    one = shell('echo "${PSIJ_NODEFILE-unset}"', stdout_path=tmp_path / "one")
    three = shell(
        'cat "$PSIJ_NODEFILE" >> "$0.$_PSI_J_PROCESS_INDEX_"',
        launcher="multiple",
        resources=ResourceSpecV1(process_count=3),
    )
    assert three.spec is not None
    three.spec.arguments = [*(three.spec.arguments or ()), str(tmp_path / "nodes")]
    executor.submit_many([one, three])
    assert end(one).state is end(three).state is S.COMPLETED
    assert (tmp_path / "one").read_text() == "unset\n"
    assert (tmp_path / "nodes.2").read_text() == "localhost\n" * 3
    assert not list((executor.config.work_directory / "local").glob("*.nodefile"))


def test_umask_and_affinity_are_the_submitters(executor: JobExecutor, tmp_path: Path) -> None:
    program = (
        "import os; f = os.open('new', os.O_CREAT, 0o666); print(sorted(os.sched_getaffinity(0)))"
    )
    code = f"""
import os
from exaworks.psij import *
os.umask(0o027)
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
job = Job(JobSpec({sys.executable!r}, ["-c", {program!r}], {str(tmp_path)!r}, stdout_path="out"))
JobExecutor.get_instance("local").submit(job)
assert job.wait(30).exit_code == 0
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "out").read_text() == f"[{min(os.sched_getaffinity(0))}]\n"


def test_many_running_jobs_need_few_descriptors_and_threads(executor: JobExecutor) -> None:
    code = """
import resource, threading, os
from exaworks import psij
from exaworks.psij import *
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
ex = JobExecutor.get_instance("local")
ex.set_job_status_callback(lambda j, s: None)
jobs = [Job(JobSpec("/bin/sleep", ["300"])) for _ in range(400)]
for job in jobs:
    ex.submit(job)
for job in jobs:
    assert job.wait(60, JobState.ACTIVE)
print(threading.active_count(), len(os.listdir("/proc/self/fd")))
ex.cancel_many(jobs)
assert len(psij.wait(jobs, 120).done) == 400
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    threads, descriptors = map(int, done.stdout.split())
    assert threads <= 3
    assert descriptors <= 16


def test_thousands_of_jobs(executor: JobExecutor) -> None:
    seen: dict[str, list[JobState]] = {}
    executor.set_job_status_callback(
        lambda job, status: seen.setdefault(job.id, []).append(status.state)
    )
    jobs = [Job(JobSpec("/bin/true")) for _ in range(3000)]
    threads = threading.active_count()
    executor.submit_many(jobs)
    assert not psij.wait(jobs, 240).not_done
    assert {job.status.state for job in jobs} == {S.COMPLETED}
    assert len(seen) == 3000
    assert all(states == [S.QUEUED, S.ACTIVE, S.COMPLETED] for states in seen.values())
    assert threading.active_count() <= threads + 2


def test_the_program_gets_no_children(executor: JobExecutor) -> None:
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    before = children.read_text().split()
    job = shell("true")
    executor.submit(job)
    end(job)
    assert set(children.read_text().split()) <= set(before)


def test_the_applications_sigchld_handler_stays(executor: JobExecutor) -> None:
    calls: list[int] = []

    def handler(number: int, frame: object) -> None:
        calls.append(number)

    previous = signal.signal(signal.SIGCHLD, handler)
    try:
        job = shell("true")
        executor.submit(job)
        end(job)
        assert signal.getsignal(signal.SIGCHLD) is handler
        before = len(calls)
        subprocess.run(["/bin/true"], check=True)
        until(lambda: len(calls) > before)
    finally:
        signal.signal(signal.SIGCHLD, previous)


def test_hold_of_a_running_job_is_refused(executor: JobExecutor) -> None:
    job = shell("sleep 300")
    executor.submit(job)
    assert job.wait(30, S.ACTIVE) is not None
    with pytest.raises(InvalidStateException, match="started"):
        executor.hold(job)
    with pytest.raises(InvalidStateException, match="not held"):
        executor.release(job)
    job.cancel()
    end(job)


def test_find_by_the_jobs_own_id(executor: JobExecutor) -> None:
    job = shell("true")
    executor.submit(job)
    assert executor.find([job.id, "0" * 36]) == {job.id: job.native_id}
