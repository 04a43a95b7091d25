"""What has become of the recorded jobs after the keeper, its supervisor or the machine died."""

from __future__ import annotations

import time

from .core import Core
from .job import RUNNING, STARTING, WAITING, Job
from .processes import Process, Snapshot, inspect, started_at

RESTARTED = "the machine was restarted while the job ran (or its container was)"
BOTH_KILLED = "its exit status was lost because both keeper and supervisor were killed"
UNCERTAIN = (
    "the keeper was killed at the moment it started this job; no process of the job was found, "
    "and as it may have run, it was not started again"
)

QUEUE = "queue"
ADOPT = "adopt"
AWAIT = "await"
LOST = "lost"


def judge(
    job: Job, same_machine: bool, same_supervisor: bool, process: Process | None
) -> tuple[str, str]:
    """Return the verdict on a recorded job, and a message if it is :data:`LOST`.

    ``process`` is the job's own process if it is still to be seen: the recorded one of a running
    job, the one found by its environment of a job that was about to be started.
    """
    if job.stage == WAITING:
        return QUEUE, ""
    if not same_machine:
        return LOST, RESTARTED
    if job.stage == STARTING:
        return (ADOPT, "") if process is not None else (LOST, UNCERTAIN)
    if process is not None and started_at(process.start, job.pid_start):
        return ADOPT, ""
    if same_supervisor:
        return AWAIT, ""
    return LOST, BOTH_KILLED


def recover(
    core: Core, jobs: list[Job], now: float, same_machine: bool, same_supervisor: bool
) -> list[tuple[Job, Process | None]]:
    """Give ``jobs`` back to ``core``; return those to watch, with their process if it is there."""
    watch: list[tuple[Job, Process | None]] = []
    snapshot = None
    for job in jobs:
        process = None
        if same_machine and job.stage == RUNNING and job.pid:
            process = inspect(job.pid)
        elif same_machine and job.stage == STARTING:
            snapshot = snapshot or Snapshot()
            # Not what an earlier phase left behind: that is older than the record.
            leaders = [
                p
                for p in snapshot.marked.get(job.key, ())
                if p.pid == p.session and p.start >= job.pid_start
            ]
            process = min(leaders, key=lambda p: p.start, default=None)
        verdict, message = judge(job, same_machine, same_supervisor, process)
        elapsed = time.time() - job.active if job.active is not None else 0.0
        if verdict == ADOPT and process is not None:
            job.stage = RUNNING
            job.pid = process.pid
            job.pid_start = process.start
            watch.append((job, process))
        elif verdict == AWAIT:
            watch.append((job, None))
        core.restore(now, job, elapsed)
        core.dirty[job.id] = job
        if verdict == LOST:
            core.lost(now, job, message)
        elif verdict == AWAIT:
            core.await_verdict(now, job)
    return watch
