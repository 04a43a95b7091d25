"""The future of a task."""

from __future__ import annotations

import concurrent.futures
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from concurrent.futures._base import (
    CANCELLED,
    CANCELLED_AND_NOTIFIED,
    FINISHED,
    PENDING,
    RUNNING,
)
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from exaworks.tasks.state import TaskState

__all__ = ["Owner", "TaskFuture", "Times"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

_LOCK = threading.RLock()
"""Guards who waits for which future, of all engines. The library takes the locks of many futures at
a time, in an order that depends on their addresses: if each engine had its own, two threads could
take them in different orders. It is taken while that of an engine is held, never the other way."""

_DONE = (CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED)


class Times(NamedTuple):
    """When something happened to a task, in seconds since the epoch; ``None``: not yet."""

    submitted: float
    started: float | None
    ended: float | None


class Owner(Protocol):
    """What a future belongs to, such as an engine."""

    id: str
    _lock: threading.RLock

    def _cancel(self, task: Any, /) -> bool:
        """See :meth:`TaskFuture.cancel`."""

    def explain(self, task: Any, /) -> str:
        """Why it waits, where it runs, or why it failed."""


class _Waiter:
    """One thread that waits for one future; to a future, what a waiter of the library is."""

    __slots__ = ("lock",)

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.lock.acquire()

    def wake(self, future: object) -> None:
        self.lock.release()

    add_result = add_exception = add_cancelled = wake


class TaskFuture(concurrent.futures.Future, Generic[T]):  # type: ignore[type-arg]
    """What a task will have come to.

    It is a :class:`concurrent.futures.Future`, made small: one that waits takes some 200 bytes.
    A result is unpickled when somebody asks for it. Beyond the library, :meth:`cancel` also ends a
    task that runs.
    """

    __slots__ = (
        "_callbacks",
        "_engine",
        "_number",
        "_outcome",
        "_state",
        "_task",
        "_times",
        "_watchers",
    )

    def __init__(self, engine: Owner, number: int, task: Any, submitted: float) -> None:
        """Of use to engines only.

        Args:
            engine: who runs the task.
            number: its number there.
            task: what the engine needs to know to run it; it is forgotten when the task has ended.
            submitted: when it was submitted, in seconds since the epoch.
        """
        self._engine = engine
        self._number = number
        self._task = task
        self._times: Any = submitted
        self._state = PENDING
        self._outcome: Any = None
        self._callbacks: Any = None
        self._watchers: Any = None

    # What concurrent.futures.wait() and as_completed() use

    @property
    def _condition(self) -> Any:  # type: ignore[override]
        return _LOCK

    @property
    def _waiters(self) -> list[Any]:  # type: ignore[override]
        if self._watchers is None:
            self._watchers = []
        return self._watchers  # type: ignore[no-any-return]

    # What users see

    @property
    def id(self) -> str:
        """The id of the task, unique on this machine."""
        return f"{self._engine.id}.{self._number}"

    @property
    def state(self) -> TaskState:
        """Where the task is."""
        state = self._state
        if state is PENDING:
            return TaskState.QUEUED
        if state is RUNNING:
            return TaskState.ACTIVE
        if state is FINISHED:
            return TaskState.FAILED if self._outcome.failed else TaskState.COMPLETED
        return TaskState.CANCELED

    @property
    def times(self) -> Times:
        """When it was submitted, started and ended."""
        times = self._times
        return times if isinstance(times, Times) else Times(times, None, None)

    def cancel(self) -> bool:
        """End the task, whether it waits or runs.

        A Python function that runs gets a :class:`KeyboardInterrupt`; if it has not ended after a
        second, its process is killed. A command gets SIGTERM, and SIGKILL after its grace time.
        Its resources are used by others only when it has really ended.

        Returns:
            whether it is cancelled; ``False``: it had ended before.
        """
        if self._state in _DONE:
            return self._state is not FINISHED
        return self._engine._cancel(self)

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self._state in (CANCELLED, CANCELLED_AND_NOTIFIED)

    def running(self) -> bool:
        """Whether it runs, or was handed to a worker that will run it next."""
        return self._state is RUNNING

    def done(self) -> bool:
        """Whether it has ended or was cancelled."""
        return self._state in _DONE

    def result(self, timeout: float | None = None) -> T:
        """What the task returned.

        Args:
            timeout: seconds to wait for that; ``None``: as long as it takes.

        Raises:
            CancelledError: it was cancelled.
            TimeoutError: it has not ended in time.
            Exception: what it raised, or what went wrong.
        """
        if self._state not in _DONE:
            self._wait(timeout)
        if self._state is not FINISHED:
            raise CancelledError
        outcome = self._outcome
        if outcome.failed:
            problem = outcome.exception()
            try:
                raise problem
            finally:
                del problem, self  # no cycle of references through the traceback
        return outcome.value()  # type: ignore[no-any-return]

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What the task raised, or what went wrong; ``None``: it has ended well.

        Args and exceptions are those of :meth:`result`.
        """
        if self._state not in _DONE:
            self._wait(timeout)
        if self._state is not FINISHED:
            raise CancelledError
        return self._outcome.exception() if self._outcome.failed else None

    def add_done_callback(self, fn: Callable[[TaskFuture[T]], object]) -> None:
        """Call ``fn`` with this future when it is done; at once if it is.

        It is called in the engine's thread and must return soon. What it raises is logged.
        """
        with self._engine._lock:
            if self._state not in _DONE:
                if self._callbacks is None:
                    self._callbacks = fn
                elif type(self._callbacks) is list:
                    self._callbacks.append(fn)
                else:
                    self._callbacks = [self._callbacks, fn]
                return
        self._call(fn)

    def __repr__(self) -> str:
        return f"<TaskFuture {self.id} {self.state.name}>"

    def __await__(self) -> Any:
        """Wait in an event loop of :mod:`asyncio`."""
        import asyncio

        return asyncio.wrap_future(self).__await__()

    # What engines use

    def set_running_or_notify_cancel(self) -> bool:
        """Of use to engines only: it starts.

        Returns:
            whether it is to be run; ``False``: it was cancelled.
        """
        with self._engine._lock:
            if self._state is not PENDING:
                return False
            self._state = RUNNING
            return True

    def _finish(self, state: str, outcome: Any, times: Times | None = None) -> bool:
        """End; false if it had ended before."""
        callbacks = self._settle(state, outcome, times)
        if callbacks is None:
            return False
        self._announce(callbacks)
        return True

    def _settle(
        self, state: str, outcome: Any, times: Times | None = None
    ) -> Sequence[Callable[[TaskFuture[T]], object]] | None:
        """End, and say who is to be told by :meth:`_announce`; ``None`` if it had ended before."""
        with self._engine._lock, _LOCK:
            if self._state in _DONE:
                return None
            self._state = state
            self._outcome = outcome
            self._task = None
            if times is not None:
                self._times = times
            watchers, self._watchers = self._watchers, None
            callbacks, self._callbacks = self._callbacks, None
            if watchers:
                for watcher in watchers:
                    if state is not FINISHED:
                        watcher.add_cancelled(self)
                    elif outcome.failed:
                        watcher.add_exception(self)
                    else:
                        watcher.add_result(self)
                # The library's waiters take themselves off later, and must find themselves here.
                if any(type(watcher) is not _Waiter for watcher in watchers):
                    self._watchers = watchers
        if callbacks is None:
            return ()
        return callbacks if type(callbacks) is list else (callbacks,)

    def _announce(self, callbacks: Sequence[Callable[[TaskFuture[T]], object]]) -> None:
        """Tell those who wanted to know; no lock is held."""
        for callback in callbacks:
            self._call(callback)

    def _call(self, callback: Callable[[TaskFuture[T]], object]) -> None:
        try:
            callback(self)
        except BaseException:  # also SystemExit: the thread is not that of the callback alone
            logger.exception("a callback of %r failed", self)

    def _wait(self, timeout: float | None) -> None:
        waiter = _Waiter()
        with _LOCK:
            if self._state in _DONE:
                return
            self._waiters.append(waiter)
        if waiter.lock.acquire(timeout=-1 if timeout is None else max(0.0, timeout)):
            return
        with _LOCK:
            if self._state in _DONE:
                return
            self._watchers.remove(waiter)
        raise concurrent.futures.TimeoutError(f"{self!r} has not ended after {timeout} s")


class Value:
    """The outcome of a task that ended well, as an object."""

    __slots__ = ("_value",)
    failed = False

    def __init__(self, value: Any) -> None:
        self._value = value

    def value(self) -> Any:
        """The object."""
        return self._value


class Failure:
    """The outcome of a task that failed, as an exception."""

    __slots__ = ("_exception",)
    failed = True

    def __init__(self, exception: BaseException) -> None:
        self._exception = exception

    def exception(self) -> BaseException:
        """The exception."""
        return self._exception
