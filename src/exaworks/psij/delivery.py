"""How a change of a job's status reaches those who want to know.

A status is recorded at once, by whichever thread learned of it. Callbacks then run one after the
other in one thread of their own, so that a slow one delays only other callbacks, never the
watching of jobs. A :class:`Watcher` (a thread in ``wait``, a future, an iterator) is told after
the callbacks of the same change have run, so that code after ``job.wait()`` finds their effects;
only a callback that itself waits for a job is told at once, because it would wait for itself.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

from exaworks.core import events
from exaworks.psij.job_state import JobStateOrder
from exaworks.psij.job_status import JobStatus, Reason

if TYPE_CHECKING:
    from exaworks.psij.job import Job

__all__ = ["Watcher", "advance", "unwatch", "watch"]

logger = logging.getLogger(__name__)

_NEVER_RAN = (Reason.LAUNCH, Reason.STAGING)
"""Reasons for which a job can have an exit code without having run to an end of its own."""

_lock = threading.RLock()
"""Guards the status, watchers and undelivered changes of all jobs. Held only for moments."""


class Watcher:
    """Somebody who wants to see the statuses of jobs. Subclasses define :meth:`see`."""

    def __init__(self) -> None:
        self.urgent = _dispatcher.in_thread()

    def see(self, job: Job, status: JobStatus) -> bool:
        """Take note of a status, quickly and without blocking.

        Returns:
            whether that was all it wanted to know; it is then told no more of this job.
        """
        raise NotImplementedError


class _Dispatcher:
    """The thread in which callbacks run. It starts with the first callback that is due."""

    def __init__(self) -> None:
        self._queue: deque[tuple[Job, list[JobStatus]]] = deque()
        self._ready = threading.Condition(threading.Lock())
        self._thread: threading.Thread | None = None

    def in_thread(self) -> bool:
        return threading.current_thread() is self._thread

    def put(self, job: Job, statuses: list[JobStatus]) -> None:
        with self._ready:
            self._queue.append((job, statuses))
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="exaworks-callbacks", daemon=True
                )
                self._thread.start()
            self._ready.notify()

    def _run(self) -> None:
        while True:
            with self._ready:
                while not self._queue:
                    self._ready.wait()
                job, statuses = self._queue.popleft()
            try:
                for status in statuses:
                    _call_back(job, status)
            finally:
                with _lock:
                    job._undelivered -= 1
                    _tell(job, statuses, urgent=False)


_dispatcher = _Dispatcher()


def _forget_after_fork() -> None:
    global _dispatcher, _lock
    _lock = threading.RLock()
    _dispatcher = _Dispatcher()


os.register_at_fork(after_in_child=_forget_after_fork)


def _call_back(job: Job, status: JobStatus) -> None:
    executor = job.executor
    for callback in (job._callback, executor._callback if executor is not None else None):
        if callback is None:
            continue
        try:
            callback.job_status_changed(job, status)
        except BaseException:  # also SystemExit: it may end its own work, not everybody's
            logger.exception("the status callback %r failed for %s", callback, job)
    if events.has_subscribers():
        detail = {
            "native_id": job.native_id,
            "exit_code": status.exit_code,
            "message": status.message,
            **(status.metadata or {}),
        }
        events.emit(events.Event(status.time, "psij", job.id, status.state.name, detail))


def _undelivered(job: Job) -> bool:
    """Whether callbacks of the job are due in this process (not in the parent of a fork)."""
    return job._undelivered > 0 and job._undelivered_in is _dispatcher


def _tell(job: Job, statuses: Iterable[JobStatus], urgent: bool) -> None:
    watchers = job._watchers
    if not watchers:
        return
    for watcher in [w for w in watchers if w.urgent is urgent]:
        if any(watcher.see(job, status) for status in statuses):
            unwatch(job, watcher)


def advance(job: Job, status: JobStatus, all_states: bool) -> bool:
    """Move a job on to ``status``, announcing the states in between.

    Args:
        job: the job.
        status: what it has reached.
        all_states: announce ``STAGE_IN``, ``STAGE_OUT`` and ``CLEANUP`` on the way too.

    Returns:
        whether the job moved; it does not if the state cannot come after its present one.
    """
    with _lock:
        ran = status.exit_code is not None and status.reason not in _NEVER_RAN
        path = JobStateOrder.path(job._status.state, status.state, all_states, ran)
        if not path:
            return False
        statuses = [JobStatus(state, status.time) for state in path[:-1]] + [status]
        job._status = status
        executor = job.executor
        if (
            job._callback is not None
            or (executor is not None and executor._callback is not None)
            or events.has_subscribers()
            or _undelivered(job)  # so that watchers see the changes in their order
        ):
            if job._undelivered_in is not _dispatcher:
                job._undelivered, job._undelivered_in = 0, _dispatcher
            job._undelivered += 1
            _tell(job, statuses, urgent=True)
            _dispatcher.put(job, statuses)
        else:
            _tell(job, statuses, urgent=True)
            _tell(job, statuses, urgent=False)
    return True


def watch(job: Job, watcher: Watcher) -> None:
    """Show ``watcher`` the present status of a job and then every further one."""
    if job.executor is not None:
        job.executor._ensure_followed(job)
    with _lock:
        present = job._status
        if not (_undelivered(job) and not watcher.urgent) and watcher.see(job, present):
            return
        if job._watchers is None:
            job._watchers = []
        job._watchers.append(watcher)


def unwatch(job: Job, watcher: Watcher) -> None:
    """Show ``watcher`` no more of this job."""
    with _lock:
        if job._watchers and watcher in job._watchers:
            job._watchers.remove(watcher)
            if not job._watchers:
                job._watchers = None
