"""What a backend knows about a job beyond its status."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

__all__ = ["JobInfo"]


@dataclass
class JobInfo:
    """A snapshot of what :meth:`JobExecutor.info` found out about a job.

    The names are those of the proposal for Open OnDemand (psij-python pull request 521), whose
    job lists show them. What the backend does not tell is ``None``.

    Attributes:
        owner: the user who submitted the job.
        submit_host: the machine it was submitted from.
        submission_time: when it was submitted (local time).
        dispatch_time: when it began to run (local time).
        wall_time: seconds it has run, or had when it ended.
        cpu_time: CPU seconds its processes have used.
        resourcelist: the nodes it runs or ran on, as the scheduler writes them.
        queue_name: the queue it is or was in.
        max_memory: the most memory one of its processes held, in bytes.
        reason: why it is in its state, in the scheduler's words.
        estimated_start: when the scheduler expects to start it (local time, ISO 8601).
        priority: the scheduler's priority.
    """

    owner: str | None = None
    submit_host: str | None = None
    submission_time: datetime | None = None
    dispatch_time: datetime | None = None
    wall_time: int = 0
    cpu_time: int | None = None
    resourcelist: str | None = None
    queue_name: str | None = None
    max_memory: int | None = None
    reason: str | None = None
    estimated_start: str | None = None
    priority: int | None = None
