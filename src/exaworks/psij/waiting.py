"""Waiting for many jobs at once, without a thread for each."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from exaworks.psij import delivery
from exaworks.psij.job import Job, Timeout, seconds
from exaworks.psij.job_state import JobState
from exaworks.psij.job_status import JobStatus

__all__ = [
    "ALL_COMPLETED",
    "FIRST_COMPLETED",
    "FIRST_FAILED",
    "DoneAndNotDone",
    "as_completed",
    "wait",
]

ReturnWhen = Literal["ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_FAILED"]
ALL_COMPLETED: Literal["ALL_COMPLETED"] = "ALL_COMPLETED"
"""Return when all jobs have ended."""
FIRST_COMPLETED: Literal["FIRST_COMPLETED"] = "FIRST_COMPLETED"
"""Return when at least one job has ended."""
FIRST_FAILED: Literal["FIRST_FAILED"] = "FIRST_FAILED"
"""Return when at least one job has ended otherwise than ``COMPLETED``, or all have ended."""


class DoneAndNotDone(NamedTuple):
    """What :func:`wait` found: the jobs that have ended, and those that have not."""

    done: set[Job]
    not_done: set[Job]


class _EndWatcher(delivery.Watcher):
    """Collects jobs as they end."""

    def __init__(self) -> None:
        super().__init__()
        self._ended: deque[Job] = deque()
        self._ready = threading.Condition(threading.Lock())

    def see(self, job: Job, status: JobStatus) -> bool:
        if not status.final:
            return False
        with self._ready:
            self._ended.append(job)
            self._ready.notify()
        return True

    def next(self, deadline: float | None) -> Job | None:
        """The next job that ended; ``None`` if there is none by ``deadline``."""
        with self._ready:
            while not self._ended:
                left = None if deadline is None else deadline - time.monotonic()
                if (left is not None and left <= 0) or not self._ready.wait(left):
                    return self._ended.popleft() if self._ended else None
            return self._ended.popleft()


def _deadline(timeout: Timeout) -> float | None:
    limit = seconds(timeout)
    return None if limit is None else time.monotonic() + limit


def as_completed(jobs: Iterable[Job], timeout: Timeout = None) -> Iterator[Job]:
    """The jobs, each as soon as it has ended.

    Args:
        jobs: jobs of any executors.
        timeout: for all of it, from the call; a :class:`datetime.timedelta` or seconds.

    Raises:
        TimeoutError: not all had ended in time.
    """
    return _as_completed(list(dict.fromkeys(jobs)), _deadline(timeout))


def _as_completed(pending: list[Job], deadline: float | None) -> Iterator[Job]:
    watcher = _EndWatcher()
    for job in pending:
        delivery.watch(job, watcher)
    try:
        for count in range(len(pending)):
            ended = watcher.next(deadline)
            if ended is None:
                raise TimeoutError(f"{len(pending) - count} of {len(pending)} jobs have not ended")
            yield ended
    finally:
        for job in pending:
            delivery.unwatch(job, watcher)


def wait(
    jobs: Iterable[Job], timeout: Timeout = None, return_when: ReturnWhen = ALL_COMPLETED
) -> DoneAndNotDone:
    """Wait for jobs to end.

    Args:
        jobs: jobs of any executors.
        timeout: a :class:`datetime.timedelta` or seconds; ``None``: as long as it takes.
        return_when: :data:`ALL_COMPLETED`, :data:`FIRST_COMPLETED` or :data:`FIRST_FAILED`.

    Raises:
        ValueError: ``return_when`` is none of these.
    """
    if return_when not in (ALL_COMPLETED, FIRST_COMPLETED, FIRST_FAILED):
        raise ValueError(
            f"return_when is {return_when!r}; use ALL_COMPLETED, FIRST_COMPLETED or FIRST_FAILED"
        )
    everything = list(dict.fromkeys(jobs))
    try:
        for job in _as_completed(everything, _deadline(timeout)):
            failed = job.status.state is not JobState.COMPLETED
            if return_when == FIRST_COMPLETED or (return_when == FIRST_FAILED and failed):
                break
    except TimeoutError:
        pass
    done = {job for job in everything if job.status.final}
    return DoneAndNotDone(done, set(everything) - done)
