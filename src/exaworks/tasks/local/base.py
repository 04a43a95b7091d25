"""What the parts of the local engine share: tasks that wait, end, and are run again."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterable
from concurrent.futures._base import CANCELLED_AND_NOTIFIED, FINISHED, PENDING, RUNNING
from typing import Any

from exaworks.core.reactor import Reactor
from exaworks.tasks.engine import Engine
from exaworks.tasks.errors import WorkerLost
from exaworks.tasks.future import Failure, TaskFuture, Times
from exaworks.tasks.local.nursery import NurseryLink
from exaworks.tasks.options import Options
from exaworks.tasks.resources import NodeResources
from exaworks.tasks.scheduler import Placement, Scheduler

__all__ = ["ALONE", "CALL", "COMMAND", "LocalBase", "Runner"]

CALL, ALONE, COMMAND = "call", "alone", "command"
"""Kinds of tasks: calls of functions, those that nothing may be sent ahead behind, commands."""

MOST_LOST = 3
"""How often a restartable task is run again because its worker was lost."""


class Runner:
    """One way to run tasks. The lock of the engine is held in all methods."""

    def start(self, task: TaskFuture[Any], placement: Placement) -> None:
        """Run a task with what it has got."""
        raise NotImplementedError

    def stop(self, task: TaskFuture[Any]) -> None:
        """End a task that runs; what it has is given back when it has really ended."""
        raise NotImplementedError

    def where(self, task: TaskFuture[Any]) -> str | None:
        """Where a task runs, for people."""
        raise NotImplementedError

    def balance(self) -> None:
        """See to it that no task waits behind a long one while there is room elsewhere."""
        raise NotImplementedError

    def heard(self, number: int, kind: str, rest: tuple[Any, ...]) -> bool:
        """Take in what the nursery says of a process; false: it is not one of this runner's."""
        raise NotImplementedError

    def abandoned(self) -> None:
        """The nursery was killed, and all its processes with it; there is a new one."""
        raise NotImplementedError

    def close(self) -> None:
        """Give up all processes."""
        raise NotImplementedError


class LocalBase(Engine):
    """Keeps the tasks of a local engine. Its parts run them."""

    def __init__(self, node: NodeResources, bind: bool, max_waiting: int | None) -> None:
        super().__init__()
        self.node = node
        self.bind = bind
        self.scheduler = Scheduler([node])
        self.reactor = Reactor()
        self.nursery = NurseryLink()
        self.process_count = 0
        self._max_waiting = max_waiting
        self._room = threading.Condition(self._lock)
        self._count = 0
        self._unfinished = 0
        self._closing = False
        self._closed = threading.Event()

    @property
    def lock(self) -> threading.RLock:
        """Guards everything."""
        return self._lock

    @property
    def ending(self) -> bool:
        """Whether there will be nothing to do any more."""
        return self._closing and not self._unfinished

    def kind_of(self, task: TaskFuture[Any]) -> str:
        """The kind of a task, which tells who runs it."""
        raise NotImplementedError

    def dispatch(self) -> None:
        """Start what can be started; the lock is held."""
        raise NotImplementedError

    # The lock is held

    def let_wait(self, tasks: Iterable[TaskFuture[Any]]) -> None:
        """Let tasks that were handed to a worker, but did not begin, wait again, in their order."""
        groups: dict[tuple[Options, str], list[TaskFuture[Any]]] = {}
        for task in tasks:
            task._state = PENDING
            groups.setdefault((task._task.options, self.kind_of(task)), []).append(task)
        for (options, kind), group in groups.items():
            self.scheduler.put_back(group, options.resources, options.priority, kind)

    def started(self, task: TaskFuture[Any], **detail: Any) -> None:
        """A task was handed to somebody who runs it."""
        task._state = RUNNING
        self._event(task, "ACTIVE", **detail)

    def after(self, seconds: float, task: TaskFuture[Any], what: Any) -> None:
        """Call ``what(task)`` later, if it still is in the same run."""
        run = task._task.runs

        def check() -> None:
            record = task._task
            if record is not None and record.runs == run and task._state is RUNNING:
                what(task)

        self.reactor.call_later(seconds, check)

    # The lock is not held: callbacks of users run in these

    def end(self, task: TaskFuture[Any], outcome: Any, begun: float | None, ended: float) -> None:
        """A task has ended; it fails, or is run again if it may."""
        if outcome.failed and self.run_again(task, lost=False):
            return
        if task._finish(FINISHED, outcome, Times(task.times.submitted, begun, ended)):
            self._event(task, "FAILED" if outcome.failed else "COMPLETED")
            self.forget(1)

    def lose(self, task: TaskFuture[Any], pid: int | None, how: str, code: int | None) -> None:
        """The process that ran a task has died; the task is run again if it may."""
        record = task._task
        if record is None or self.run_again(task, lost=True):
            return
        error = WorkerLost(
            f"the worker process {pid} {how} while it ran {record.title} ({task.id}); "
            "the task was not run again, since it is not declared restartable",
            exit_code=code if code is not None and code >= 0 else None,
            signal=-code if code is not None and code < 0 else None,
        )
        self.fail(task, error)

    def fail(self, task: TaskFuture[Any], error: BaseException) -> None:
        """Let a task fail, whatever it may."""
        times = Times(task.times.submitted, task.times.started, time.time())
        if task._finish(FINISHED, Failure(error), times):
            self._event(task, "FAILED", message=str(error))
            self.forget(1)

    def run_again(self, task: TaskFuture[Any], lost: bool) -> bool:
        """Let a task wait again, if it may run once more."""
        with self._lock:
            record = task._task
            if record is None or task._state is not RUNNING:
                return False
            options: Options = record.options
            most = max(options.retries, MOST_LOST if lost and options.restartable else 0)
            if record.runs >= most:
                return False
            record.runs += 1
            self.let_wait([task])
            self._event(task, "QUEUED", runs=record.runs)
            self.dispatch()
        return True

    def forget(self, count: int) -> None:
        """So many tasks are done."""
        with self._lock:
            self._unfinished -= count
            if not self._unfinished or self._max_waiting is not None:
                self._room.notify_all()
            self.end_if_done()

    def cancelled(self, task: TaskFuture[Any]) -> bool:
        """A task was cancelled."""
        if not task._finish(CANCELLED_AND_NOTIFIED, None):
            return task.cancelled()
        self._event(task, "CANCELED")
        self.forget(1)
        return True

    def end_if_done(self) -> None:
        """Close if that is wanted and nothing is left to do."""
        raise NotImplementedError


def how_ended(code: int | None) -> str:
    """How a process has ended, for people."""
    if code is None:
        return "has ended"
    if code >= 0:
        return f"has exited with code {code}"
    try:
        return f"was killed by signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"was killed by signal {-code}"


def exit_code(status: int) -> int:
    """An exit code, or a signal as a negative number, from a wait status."""
    return os.waitstatus_to_exitcode(status)
