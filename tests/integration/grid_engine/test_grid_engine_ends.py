"""How jobs end on a real Grid Engine, and what is known about that."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
from grid_engine_cluster import LATER, accounted, custom, essence, quick, shell

from exaworks.psij import (
    Job,
    JobExecutor,
    JobState,
    Reason,
)
from patience import end, output, until

pytestmark = pytest.mark.grid_engine


@pytest.fixture
def executor(tmp_path: Path) -> JobExecutor:
    return quick(tmp_path / "work: dir")


def test_exit_codes(executor: JobExecutor) -> None:
    """Grid Engine gives 99 and 100 a meaning of its own, which no job of ours shall meet."""
    texts = ["exit 0", "exit 7", "kill -SEGV $$", "kill -9 $$", "exit 99", "exit 100"]
    jobs = [shell(text) for text in texts]
    for job in jobs:
        executor.submit(job)
    codes = [end(job).exit_code for job in jobs]
    assert codes == [0, 7, 139, 137, 99, 100]
    assert [job.status.reason for job in jobs[2:4]] == [Reason.SIGNAL] * 2
    assert [job.status.signal for job in jobs] == [None, None, 11, 9, None, None]
    assert [accounted(job)["failed"] for job in jobs] == ["0"] * 6
    listed = output("qstat", "-u", "*")
    assert not [job for job in jobs if f" {job.native_id} " in listed]


def test_a_job_that_could_not_be_started_at_all(executor: JobExecutor, tmp_path: Path) -> None:
    first = shell("true")
    executor.submit(first)
    assert end(first).state is JobState.COMPLETED
    log = tmp_path / "work: dir" / "grid_engine" / "log"
    shutil.rmtree(log)
    log.touch()  # so that the log of the script cannot be opened
    jobs = [shell("true") for _ in range(5)]
    executor.submit(jobs[0])
    executor.submit_many(jobs[1:])
    for job in jobs:
        status = end(job)
        assert essence(status) == (JobState.FAILED, Reason.LAUNCH, None)
        assert str(log) in (status.message or "")
    until(lambda: not _listed(jobs), 10)


def _listed(jobs: list[Job]) -> list[str]:
    bases = {str(job.native_id).partition(".")[0] for job in jobs}
    return [word for word in output("qstat", "-u", "*").split() if word in bases]


def test_time_limits_and_deletions(executor: JobExecutor) -> None:
    late = shell("sleep 300", attributes=custom(timedelta(seconds=3)))
    soft = shell("sleep 300", attributes=custom(timedelta(minutes=5), l="s_rt=3"))
    deleted = shell("trap '' TERM; sleep 300")
    ours = shell("sleep 300")
    saved = shell("trap 'exit 0' USR1; sleep 300 & wait", attributes=custom(l="s_rt=3"))
    notified = shell("sleep 300", attributes=custom(notify=None))
    for job in (late, soft, deleted, ours, saved, notified):
        executor.submit(job)
    for job in (deleted, ours, notified):
        job.wait(60, JobState.ACTIVE)
    output("qdel", str(deleted.native_id))
    ours.cancel()
    output("qdel", str(notified.native_id))
    assert essence(end(notified)) == (JobState.CANCELED, Reason.CANCELED, 140), notified.status
    assert essence(end(saved)) == (JobState.COMPLETED, None, 0), saved.status
    for job in (late, soft):
        status = end(job)
        assert (status.state, status.reason) == (JobState.FAILED, Reason.TIMEOUT), status
        assert "time limit" in (status.message or "")
    assert essence(end(deleted)) == (JobState.CANCELED, Reason.CANCELED, 137), deleted.status
    assert end(ours).state is JobState.CANCELED


def test_elements_that_wait_are_cancelled_together_and_alone(executor: JobExecutor) -> None:
    jobs = [shell("sleep 300", attributes=custom(a=LATER)) for _ in range(50)]
    executor.submit_many(jobs)
    assert set(executor.list()) >= {job.native_id for job in jobs}
    executor.hold(jobs[3])
    info = executor.info(jobs[2:5])
    assert [each.status.state for each in sorted(info, key=lambda j: str(j.native_id))] == [
        JobState.QUEUED,
        JobState.HELD,
        JobState.QUEUED,
    ]
    started = time.monotonic()
    executor.cancel_many(jobs[:20:2])  # type: ignore[attr-defined]
    executor.cancel_many(jobs)  # type: ignore[attr-defined]
    for job in jobs:
        assert end(job).state is JobState.CANCELED
    assert time.monotonic() - started < 10


def test_killing_the_submitter_loses_nothing(executor: JobExecutor, tmp_path: Path) -> None:
    program = """
import sys
from exaworks.psij import Job, JobExecutor, JobExecutorConfig, JobSpec, JobState
ex = JobExecutor.get_instance("sge", config=JobExecutorConfig(work_directory=sys.argv[1]))
jobs = [Job(JobSpec("/bin/sh", ["-c", f"sleep {i}; exit 4{i}"])) for i in (0, 3)]
ex.submit_many(jobs)
jobs[1].wait(60, JobState.ACTIVE)
print(*(job.native_id for job in jobs), flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "work: dir")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        ids = process.stdout.readline().split()
        process.kill()
    assert len(ids) == 2
    jobs = [Job() for _ in ids]
    for job, native_id in zip(jobs, ids, strict=True):
        executor.attach(job, native_id)
    assert [end(job).exit_code for job in jobs] == [40, 43]


def test_by_the_accounting_alone(executor: JobExecutor, tmp_path: Path) -> None:
    """Without the files of who submitted it: for few jobs, and for many with one command."""
    texts = ["true", "exit 7", "kill -SEGV $$", "exit 1"] * 5
    jobs = [shell(text) for text in texts]
    for job in jobs:
        executor.submit(job)
    killed = shell("sleep 300", attributes=custom(timedelta(seconds=2)))
    executor.submit(killed)
    for job in (*jobs, killed):
        end(job)
        accounted(job)
    elsewhere = quick(tmp_path / "elsewhere")
    for some in ([*jobs, killed], [killed, *jobs[:4]]):
        again = [Job() for _ in some]
        pairs = zip(again, (str(job.native_id) for job in some), strict=True)
        elsewhere.attach_many(pairs)  # type: ignore[attr-defined]
        for old, new in zip(some, again, strict=True):
            assert end(new).state is old.status.state
            assert new.status.reason == old.status.reason, new.status
            assert new.status.exit_code == old.status.exit_code or old is killed


def test_a_job_of_somebody_else_that_cannot_start(executor: JobExecutor) -> None:
    """It has failed, but it is not ours to delete."""
    words = ["qsub", "-terse", "-b", "y", "-wd", "/no/such/folder", "/bin/true"]
    job = Job()
    executor.attach(job, output(*words).strip())
    status = end(job)
    assert essence(status) == (JobState.FAILED, Reason.LAUNCH, None)
    assert "/no/such/folder" in (status.message or "")
    assert _listed([job])
    output("qdel", str(job.native_id))
