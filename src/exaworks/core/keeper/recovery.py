"""What has become of the recorded jobs after the keeper, its supervisor or the machine died."""

from __future__ import annotations

import time

from .core import Core
from .job import RUNNING, STARTING, WAITING, Job
from .journal import Records
from .processes import Process, Snapshot, inspect, machine_identity, started_at

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


def identity(supervisor: int) -> dict[str, str]:
    """Return what tells this machine (since its start) and this supervisor from others."""
    process = inspect(supervisor)
    return {
        "machine": machine_identity(),
        "supervisor": f"{supervisor} {process.start if process else 0}",
    }


def settle_starts(jobs: list[Job], records: Records) -> None:
    """Find out what has become of ``jobs`` that a killed keeper was about to start.

    ``records`` is the journal of that keeper. A job without a noted intention was not reached. Of
    the one whose start was cut off, the process is among the children that the supervisor has
    inherited; if there is none that may be it, there was no start. What remains uncertain, since
    nobody has looked or more than one may be it, is left as it is.
    """
    for job in jobs:
        at = job.id, job.index
        if job.stage != STARTING:
            continue
        if at in records.started:
            job.stage = RUNNING
            job.pid, job.pid_start = records.started[at]
        elif at not in records.intended:
            job.stage = WAITING
    if records.inherited is None:
        return
    claimed = {job.pid for job in jobs if job.stage == RUNNING}
    for job in jobs:
        if job.stage == STARTING:
            mark = records.intended[job.id, job.index]
            children = [
                child
                for child in records.inherited
                if child[0] not in claimed and child[1] >= mark and child[2] in ("-", job.key)
            ]
            certain = [child for child in children if child[2] == job.key]
            if not children:
                job.stage = WAITING
            elif certain or len(children) == 1:
                job.stage = RUNNING
                job.pid, job.pid_start, _ = min(certain or children, key=lambda child: child[1])


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
    core: Core,
    jobs: list[Job],
    now: float,
    records: Records,
    same_machine: bool,
    same_supervisor: bool,
) -> list[tuple[Job, Process | None]]:
    """Give ``jobs`` back to ``core``; return those to watch, with their process if it is there.

    ``records`` is the journal, which tells of keepers of the same supervisor only.
    """
    if same_supervisor:
        settle_starts(jobs, records)
    watch: list[tuple[Job, Process | None]] = []
    snapshot = None
    for job in jobs:
        process = None
        if same_machine and job.stage == RUNNING and job.pid:
            process = inspect(job.pid)
            if process is not None and process.dead and not process.parent:
                process = None  # it is just being reaped, and has no parent any more
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
        if verdict in (ADOPT, AWAIT) and job.started is None:
            job.started = time.time()
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
        elif verdict == QUEUE and job.canceled:
            core.cancel(now, job)
    return watch
