"""What happens to local jobs when somebody is killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from exaworks import psij
from exaworks.psij import Job, JobExecutor, JobSpec, JobState
from exaworks.psij.executors.local import LocalExecutorConfig
from patience import until

SUBMITTER = """
import sys, time
from exaworks.psij import *
jobs = [Job(JobSpec("/bin/sh", ["-c", f"sleep 1; exit {i}"])) for i in range(3)]
JobExecutor.get_instance("local").submit_many(jobs)
print(*(job.native_id for job in jobs), flush=True)
time.sleep(600)
"""


def keeper_processes(home: Path) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if str(home).encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def keeper_and_supervisor(home: Path) -> tuple[int, int]:
    """The process ids; the supervisor is the keeper's parent."""
    until(lambda: len(keeper_processes(home)) == 2)
    found = keeper_processes(home)
    parents = {
        pid: int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        for pid in found
    }
    keeper = next(pid for pid in found if parents[pid] in found)
    return keeper, parents[keeper]


def test_kill_9_of_the_program(local_home: Path) -> None:
    """Jobs go on, and another program learns their exit codes."""
    program = subprocess.Popen([sys.executable, "-c", SUBMITTER], stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    ids = program.stdout.readline().split()
    program.kill()
    program.wait()
    executor = JobExecutor.get_instance("local")
    jobs = [Job() for _ in ids]
    for job, native_id in zip(jobs, ids, strict=True):
        executor.attach(job, native_id)
    assert not psij.wait(jobs, 60).not_done
    assert [job.status.exit_code for job in jobs] == [0, 1, 2]


def test_kill_9_of_the_keeper(local_home: Path, tmp_path: Path) -> None:
    """Running jobs keep their exit codes, queued ones run, none runs twice, new ones work."""
    log = tmp_path / "log"
    executor = JobExecutor.get_instance("local", config=LocalExecutorConfig(max_running_jobs=4))
    jobs = [
        Job(JobSpec("/bin/sh", ["-c", f"echo {i} >> '{log}'; sleep 0.5; exit {i % 3}"]))
        for i in range(16)
    ]
    executor.submit_many(jobs)
    assert jobs[0].wait(30, JobState.ACTIVE) is not None
    until(lambda: log.exists() and len(log.read_text().split()) >= 4)
    keeper, _ = keeper_and_supervisor(local_home)
    os.kill(keeper, signal.SIGKILL)
    late = Job(JobSpec("/bin/sh", ["-c", "exit 5"]))
    executor.submit(late)
    assert not psij.wait([*jobs, late], 90).not_done
    assert [job.status.exit_code for job in jobs] == [i % 3 for i in range(16)]
    assert late.status.exit_code == 5
    assert sorted(map(int, log.read_text().split())) == list(range(16))


def test_kill_9_of_keeper_and_supervisor(local_home: Path, tmp_path: Path) -> None:
    """Queued jobs run once; those that ran end with a verdict, and never twice."""
    log = tmp_path / "log"
    executor = JobExecutor.get_instance("local", config=LocalExecutorConfig(max_running_jobs=2))
    jobs = [Job(JobSpec("/bin/sh", ["-c", f"echo {i} >> '{log}'; sleep 0.5"])) for i in range(8)]
    executor.submit_many(jobs)
    until(lambda: log.exists() and len(log.read_text().split()) >= 2)
    for pid in keeper_and_supervisor(local_home):
        os.kill(pid, signal.SIGKILL)
    assert not psij.wait(jobs, 90).not_done
    assert sorted(map(int, log.read_text().split())) == list(range(8))
    for job in jobs:
        assert job.status.state in (JobState.COMPLETED, JobState.FAILED)
        if job.status.state is JobState.FAILED:
            assert job.status.reason == psij.Reason.LOST
            assert job.status.message


def test_nothing_stays_behind(local_home: Path) -> None:
    """When all is done, the keeper leaves."""
    executor = JobExecutor.get_instance("local")
    code = """
from exaworks.psij import *
job = Job(JobSpec("/bin/true"))
JobExecutor.get_instance("local").submit(job)
assert job.wait(30)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert executor.name == "local"
    until(lambda: keeper_processes(local_home) == [])


def _submit_in_child(queue: Any, executor: JobExecutor, job: Job, parents: Job) -> None:
    try:
        status = parents.wait(30)
        assert status is not None
        assert status.exit_code == 6
        executor.submit(job)
        status = job.wait(30)
        queue.put(status.exit_code if status else "time-out")
    except Exception as problem:
        queue.put(repr(problem))


@pytest.mark.usefixtures("local_home")
def test_fork_of_a_program_that_uses_it() -> None:
    """A forked child can wait for jobs of its parent, and submit its own; so can the parent."""
    executor = JobExecutor.get_instance("local")
    executor.set_job_status_callback(lambda job, status: None)
    running = Job(JobSpec("/bin/sh", ["-c", "sleep 2; exit 6"]))
    executor.submit(running)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    children = [
        context.Process(
            target=_submit_in_child,
            args=(queue, executor, Job(JobSpec("/bin/sh", ["-c", f"exit {i}"])), running),
        )
        for i in range(3)
    ]
    for child in children:
        child.start()
    assert sorted(queue.get(timeout=60) for _ in children) == [0, 1, 2]
    for child in children:
        child.join(30)
    status = running.wait(30)
    assert status is not None
    assert status.exit_code == 6


def test_an_unusable_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to do; the job can be submitted afterwards."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EXAWORKS_HOME", str(tmp_path / "file" / "home"))
    monkeypatch.setenv("EXAWORKS_KEEPER_IDLE", "0.5")
    job = Job(JobSpec("/bin/true"))
    with pytest.raises(psij.SubmitException, match="EXAWORKS_HOME"):
        JobExecutor.get_instance("local").submit(job)
    assert job.status.state is JobState.NEW
    monkeypatch.setenv("EXAWORKS_HOME", str(tmp_path / "home"))
    JobExecutor.get_instance("local").submit(job)
    assert job.wait(30) is not None
