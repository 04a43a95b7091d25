"""Jobs (PSI/J specification, "Job")."""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Collection, Generator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from exaworks.psij import delivery
from exaworks.psij.exceptions import InvalidStateException
from exaworks.psij.job_state import JobState
from exaworks.psij.job_status import JobStatus

if TYPE_CHECKING:
    import asyncio

    from exaworks.psij.job_executor import JobExecutor
    from exaworks.psij.job_info import JobInfo
    from exaworks.psij.job_spec import JobSpec

__all__ = ["FunctionJobStatusCallback", "Job", "JobStatusCallback"]

Timeout = timedelta | float | None
Targets = JobState | Collection[JobState] | None


def _new_id() -> str:
    """A random (version 4) UUID; RFC 9562, section 5.4."""
    raw = bytearray(os.urandom(16))
    raw[6] = raw[6] & 0x0F | 0x40
    raw[8] = raw[8] & 0x3F | 0x80
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def seconds(timeout: Timeout) -> float | None:
    """A time-out in seconds; ``None`` means for ever, zero or less means not at all."""
    if timeout is None:
        return None
    limit = timeout.total_seconds() if isinstance(timeout, timedelta) else float(timeout)
    return min(max(0.0, limit), threading.TIMEOUT_MAX)


class JobStatusCallback(ABC):
    """Something that wants to be told of changes of the status of jobs."""

    @abstractmethod
    def job_status_changed(self, job: Job, job_status: JobStatus) -> None:
        """A job has entered a new state.

        Callbacks run one at a time in a thread of their own. They may submit, cancel and wait,
        but all other callbacks wait for them to return.

        Args:
            job: the job.
            job_status: the new status. The job itself may be further on already.
        """


class FunctionJobStatusCallback(JobStatusCallback):
    """A function ``f(job, status)`` as a callback."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[[Job, JobStatus], Any]) -> None:
        self._function = function

    def job_status_changed(self, job: Job, job_status: JobStatus) -> None:
        """Call the function."""
        self._function(job, job_status)

    def __repr__(self) -> str:
        return f"FunctionJobStatusCallback({self._function!r})"


AnyCallback = JobStatusCallback | Callable[["Job", JobStatus], Any] | None


def as_callback(callback: AnyCallback) -> JobStatusCallback | None:
    """Turn a function into a callback; leave callbacks and ``None`` as they are."""
    if callback is None or isinstance(callback, JobStatusCallback):
        return callback
    if not callable(callback):
        raise TypeError(
            f"a status callback must be a JobStatusCallback, a function or None, not {callback!r}"
        )
    return FunctionJobStatusCallback(callback)


def satisfies(state: JobState, targets: frozenset[JobState] | None) -> bool:
    """Whether a job in ``state`` ends a wait for ``targets``.

    Source: PSI/J specification, "Job.wait": a target state, any state greater than one, or any
    final state does. ``None`` means final states.
    """
    if state.final:
        return True
    if not targets:
        return False
    return any(state is t or state.is_greater_than(t) is True for t in targets)


def as_targets(targets: Targets) -> frozenset[JobState] | None:
    """The awaited states as a set; ``None`` for final states."""
    if targets is None:
        return None
    wanted = frozenset([targets] if isinstance(targets, JobState) else targets)
    if not all(isinstance(each, JobState) for each in wanted):
        raise TypeError(f"target_states must be a JobState or several, not {targets!r}")
    return wanted


class _ThreadWatcher(delivery.Watcher):
    """A thread that waits for a job."""

    def __init__(self, targets: frozenset[JobState] | None) -> None:
        super().__init__()
        self._targets = targets
        self._event = threading.Event()
        self.status: JobStatus | None = None

    def see(self, job: Job, status: JobStatus) -> bool:
        if not satisfies(status.state, self._targets):
            return False
        self.status = status
        self._event.set()
        return True

    def wait(self, timeout: float | None) -> JobStatus | None:
        self._event.wait(timeout)
        return self.status


class _AsyncWatcher(delivery.Watcher):
    """A coroutine that follows a job: every status goes into an asyncio queue."""

    def __init__(self, loop: asyncio.AbstractEventLoop, queue: asyncio.Queue[JobStatus]) -> None:
        super().__init__()
        self._loop = loop
        self._queue = queue

    def see(self, job: Job, status: JobStatus) -> bool:
        try:
            self._loop.call_soon_threadsafe(self._queue.put_nowait, status)
        except RuntimeError:  # the loop was closed: nobody follows any more
            return True
        return status.final


class Job:
    """A job: a specification, and what becomes of it.

    A job is submitted once, with :meth:`JobExecutor.submit`. Jobs are told apart by identity, and
    can be keys of a dict. ``await job`` waits for its end and gives the final status.
    """

    __slots__ = (
        "__weakref__",
        "_callback",
        "_id",
        "_native_id",
        "_status",
        "_undelivered",
        "_undelivered_in",
        "_watchers",
        "current_info",
        "executor",
        "spec",
    )

    def __init__(self, spec: JobSpec | None = None) -> None:
        """Make a job in the state ``NEW``.

        Args:
            spec: what to run; may be set later, before the submission.
        """
        self._id = _new_id()
        self._native_id: Any = None
        self._status = JobStatus(JobState.NEW)
        self._callback: JobStatusCallback | None = None
        self._watchers: list[delivery.Watcher] | None = None
        self._undelivered = 0
        self._undelivered_in: object = None
        self.spec = spec
        self.executor: JobExecutor | None = None
        self.current_info: JobInfo | None = None

    @property
    def id(self) -> str:
        """An id for this object: a random UUID."""
        return self._id

    @property
    def native_id(self) -> str | None:
        """The id that the backend gave the job; ``None`` before it was accepted."""
        return None if self._native_id is None else str(self._native_id)

    @property
    def status(self) -> JobStatus:
        """The present status."""
        return self._status

    @status.setter
    def status(self, status: JobStatus) -> None:
        executor = self.executor
        everything = executor.announces_all_states(self) if executor is not None else False
        delivery.advance(self, status, everything)

    def set_job_status_callback(self, cb: AnyCallback) -> None:
        """Call ``cb`` at every change of this job's status.

        Args:
            cb: a :class:`JobStatusCallback`, a function ``f(job, status)``, or ``None`` to end it.
        """
        self._callback = as_callback(cb)

    def cancel(self) -> None:
        """Ask the backend to cancel the job.

        Returns as soon as the request has been taken; the state becomes ``CANCELED`` once the
        backend has carried it out. No effect on a job that has ended.

        Raises:
            InvalidStateException: the job was not submitted.
            SubmitException: the request could not be handed to the backend.
        """
        if self._status.final:
            return
        if self.executor is None:
            raise InvalidStateException(f"{self} was not submitted, so it cannot be cancelled")
        self.executor.cancel(self)

    def wait(self, timeout: Timeout = None, target_states: Targets = None) -> JobStatus | None:
        """Wait for the job to reach a state.

        Args:
            timeout: how long, as a :class:`datetime.timedelta` or in seconds; ``None``: as long
                as it takes; zero: only look.
            target_states: the state or states to wait for; ``None``: a final one. A state that
                comes later than a target ends the wait as well, and so does any final state.

        Returns:
            the status that ended the wait, or ``None`` if the time ran out first.
        """
        watcher = _ThreadWatcher(as_targets(target_states))
        delivery.watch(self, watcher)
        try:
            return watcher.wait(seconds(timeout))
        finally:
            delivery.unwatch(self, watcher)

    async def wait_async(
        self, timeout: Timeout = None, target_states: Targets = None
    ) -> JobStatus | None:
        """Like :meth:`wait`, for coroutines. No thread waits meanwhile."""
        import asyncio

        async def reach(targets: frozenset[JobState] | None) -> JobStatus | None:
            async for status in self.states():
                if satisfies(status.state, targets):
                    return status
            return None

        targets, limit = as_targets(target_states), seconds(timeout)
        if limit == 0:
            return self._status if satisfies(self._status.state, targets) else None
        try:
            return await asyncio.wait_for(reach(targets), limit)
        except asyncio.TimeoutError:
            return None

    async def states(self) -> AsyncIterator[JobStatus]:
        """The present status and then every further one, up to and with the final one."""
        import asyncio

        queue: asyncio.Queue[JobStatus] = asyncio.Queue()
        watcher = _AsyncWatcher(asyncio.get_running_loop(), queue)
        delivery.watch(self, watcher)
        try:
            while True:
                status = await queue.get()
                yield status
                if status.final:
                    return
        finally:
            delivery.unwatch(self, watcher)

    def __await__(self) -> Generator[Any, None, JobStatus]:
        async def end() -> JobStatus:
            status = await self.wait_async()
            assert status is not None  # without a time-out, the wait ends with a status
            return status

        return end().__await__()

    def __str__(self) -> str:
        return (
            f"Job[id={self._id}, native_id={self._native_id}, executor={self.executor}, "
            f"status={self._status}]"
        )

    __repr__ = __str__
