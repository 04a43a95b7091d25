"""What engines share that keep tasks until there is room: tasks wait, run, end, are run again."""

from __future__ import annotations

import atexit
import os
import signal
import threading
import time
import weakref
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures._base import CANCELLED_AND_NOTIFIED, FINISHED, PENDING, RUNNING
from typing import TYPE_CHECKING, Any, TypeVar

from exaworks.core.reactor import Reactor
from exaworks.core.workers.wire import pack
from exaworks.tasks.calls import Call, Functions
from exaworks.tasks.commands import CommandTask, Environments, command_words
from exaworks.tasks.engine import Engine, EngineResources
from exaworks.tasks.errors import EngineClosedError, InvalidTaskError, WorkerLost
from exaworks.tasks.future import Failure, TaskFuture, Times
from exaworks.tasks.options import Options
from exaworks.tasks.resources import Resources
from exaworks.tasks.scheduler import Scheduler
from exaworks.tasks.spec import TaskSpec

if TYPE_CHECKING:
    from exaworks.tasks.status import Failed, StatusPort

__all__ = ["ALONE", "CALL", "COMMAND", "QueuedEngine", "exit_code", "how_ended"]

T = TypeVar("T")

CALL, ALONE, COMMAND = "call", "alone", "command"
"""Kinds of tasks: calls of functions, those that nothing may be sent ahead behind, commands."""

MOST_LOST = 3
"""How often a restartable task is run again because its worker was lost."""

_engines: weakref.WeakSet[QueuedEngine] = weakref.WeakSet()


class QueuedEngine(Engine):
    """Keeps tasks until its scheduler says where they run. Subclasses run them."""

    def __init__(self, scheduler: Scheduler, max_waiting: int | None) -> None:
        super().__init__()
        self.scheduler = scheduler
        self.reactor = Reactor()
        self.environments = Environments()
        self.counts = dict.fromkeys(("completed", "failed", "canceled"), 0)
        """How many tasks have ended in which way."""
        self.failures: deque[Failed] = deque(maxlen=5)
        """The last tasks that failed."""
        self._functions = Functions()
        self._max_waiting = max_waiting
        self._room = threading.Condition(self._lock)
        self._count = 0
        self._unfinished = 0
        self._status: StatusPort | None = None
        self._closing = False
        self._closed = threading.Event()

    def _begin(self) -> None:
        """Everything is made: run the reactor."""
        self.reactor.start()
        _engines.add(self)
        self._open_status()

    def _open_status(self) -> None:
        """Let other programs look at this engine."""
        from exaworks.tasks.status import StatusPort  # not for programs without such an engine

        self._status = StatusPort(self)
        self.reactor.call_soon(self._status.open)

    def _close_status(self) -> None:
        """Undo it; in the reactor's thread."""
        if self._status is not None:
            self._status.close()

    def origin(self) -> dict[str, Any]:
        """Where the nodes come from, for people: such as executor, job, state, remaining (s)."""
        return {}

    # What subclasses do. The lock is held, except in _close.

    @abstractmethod
    def dispatch(self) -> None:
        """Start what can be started."""

    @abstractmethod
    def stop_task(self, task: TaskFuture[Any]) -> None:
        """End a task that runs; what it has is given back when it has really ended."""

    @abstractmethod
    def where(self, task: TaskFuture[Any]) -> str | None:
        """Where a task runs, for people: a verb and a place."""

    def seconds_of(self, options: Options) -> float:
        """For how long a node must be there for a task with these options; 0: not known."""
        return 0.0

    def check_possible(self, options: Options) -> None:
        """See to it that a task can run here at all.

        Raises:
            InvalidTaskError: it cannot.
        """
        request = options.resources
        if request.cores == 1 and not request.gpus and not request.memory and request.ranks == 1:
            return
        reason = self.scheduler.impossible(request)
        if reason is not None:
            raise InvalidTaskError(f"the task can never run here: {reason}")

    @abstractmethod
    def _close(self) -> None:
        """Nothing is left to do: give up all that there is; in the reactor's thread."""

    def still_running(self) -> bool:
        """Whether a task that was cancelled has not ended yet."""
        return False

    def wants_calls(self) -> bool:
        """Whether a call that has just come may be started at once."""
        return True

    # What users call

    def _submit(
        self,
        fn: Callable[..., T],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: Options,
    ) -> TaskFuture[T]:
        payload = pack((args, kwargs), "the arguments (args, kwargs)")
        if options.resources.ranks > 1:
            raise InvalidTaskError("a function has one rank: use cores, or launch an MPI program")
        with self._lock:
            record = Call(self._functions.get(fn), payload, options)
            future: TaskFuture[T] = self._enter(record)
            if self.wants_calls():
                self.dispatch()
        return future

    def launch(self, spec: TaskSpec) -> TaskFuture[Any]:
        """See :meth:`Engine.launch`."""
        return self.launch_many([spec])[0]

    def launch_many(self, specs: Sequence[TaskSpec]) -> list[TaskFuture[Any]]:
        """See :meth:`Engine.launch_many`."""
        # All are checked before the first is taken.
        words = [None if spec.command is None else self._words(spec) for spec in specs]
        for spec in specs:
            self.check_possible(spec.options)
        futures: list[TaskFuture[Any]] = []
        environments: dict[bool, int] = {}
        with self._lock:
            for spec, argv in zip(specs, words, strict=True):
                if argv is None:
                    assert spec.function is not None
                    args = tuple(spec.args)
                    futures.append(
                        self._submit(spec.function, args, dict(spec.kwargs), spec.options)
                    )
                    continue
                inherit = spec.inherit_environment
                if inherit not in environments:
                    environments[inherit] = self.environments.current(inherit)
                futures.append(self._enter(CommandTask(spec, argv, environments[inherit])))
            self.dispatch()
        return futures

    def _words(self, spec: TaskSpec) -> list[str]:
        return command_words(spec)

    def _enter(self, record: Any) -> TaskFuture[Any]:
        """Let a task wait; the lock is held."""
        self._check_open()
        options: Options = record.options
        self.check_possible(options)
        if self._max_waiting is not None and not self.reactor.in_thread():
            while self.scheduler.waiting >= self._max_waiting:
                self._room.wait()
                self._check_open()
        self._count += 1
        future: TaskFuture[Any] = TaskFuture(self, self._count, record, time.time())
        self.scheduler.add(
            future,
            options.resources,
            options.priority,
            self.kind_of(record),
            self.seconds_of(options),
        )
        self._unfinished += 1
        self._event(future, "QUEUED", name=options.name)
        return future

    def kind_of(self, record: Any) -> str:
        """The kind of a task, which tells who runs it."""
        if type(record) is CommandTask:
            return COMMAND
        options: Options = record.options
        alone = options.time_limit is not None or bool(options.resources.gpus)
        return ALONE if alone else CALL

    def _check_open(self) -> None:
        if self._closing:
            raise EngineClosedError("this engine was shut down and takes no tasks any more")
        self._check_process()

    def resources(self) -> EngineResources:
        """What is there, and what is free."""
        with self._lock:
            waiting = self.scheduler.waiting
            return EngineResources(
                tuple(self.scheduler.nodes().values()),
                tuple(self.scheduler.free()),
                waiting,
                self._unfinished - waiting,
            )

    def drain(self, timeout: float | None = None) -> bool:
        """Wait until all tasks that were submitted have ended; see :meth:`Engine.drain`."""
        with self._room:
            return self._room.wait_for(lambda: not self._unfinished, timeout)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more tasks, and end when those that were taken have ended.

        Args:
            wait: return only then.
            cancel_futures: cancel all tasks that wait; those that run end as they do.
        """
        dropped: list[TaskFuture[Any]] = []
        with self._lock:
            self._closing = True
            self._room.notify_all()
            if cancel_futures:
                dropped = self.scheduler.clear()
            self.end_if_done()
        for future in dropped:
            self.cancelled(future)
        if wait and not self.reactor.in_thread():
            self._closed.wait()

    def explain(self, task: TaskFuture[Any]) -> str:
        """See :meth:`Engine.explain`."""
        with self._lock:
            record = task._task
            if record is not None and task._state is PENDING:
                options: Options = record.options
                why = self.scheduler.why_waiting(
                    options.resources,
                    options.priority,
                    self.kind_of(record),
                    time.monotonic(),
                    self.seconds_of(options),
                )
                return f"{task.id} ({record.title}) waits: {why}."
            if record is not None and task._state is RUNNING:
                where = self.where(task)
                if where is not None:
                    return f"{task.id} ({record.title}) {where}."
        if task.cancelled():
            return f"{task.id} was cancelled."
        problem = task.exception(0) if task.done() else None
        if problem is not None:
            return f"{task.id} failed: {type(problem).__name__}: {problem}"
        return f"{task.id} {'has ended well' if task.done() else 'is about to start'}."

    def _cancel(self, task: TaskFuture[Any]) -> bool:
        with self._lock:
            if task._state is PENDING:
                self.scheduler.remove(task)
            elif task._state is RUNNING:
                self.stop_task(task)
            else:
                return task.cancelled()
            # Whoever hears of its end from now on is told by this that it was cancelled. It may
            # have been put back in the meantime: nobody else can take it, the lock is held.
            task._task = None
        return self.cancelled(task)

    # What subclasses call

    @property
    def lock(self) -> threading.RLock:
        """Guards everything."""
        return self._lock

    @property
    def closed(self) -> threading.Event:
        """Set when everything is given up."""
        return self._closed

    @property
    def ending(self) -> bool:
        """Whether there will be nothing to do any more."""
        return self._closing and not self._unfinished

    # The lock is held

    def let_wait(self, tasks: Iterable[TaskFuture[Any]]) -> None:
        """Let tasks that were handed to a worker, but did not begin, wait again, in their order."""
        groups: dict[tuple[Options, str], list[TaskFuture[Any]]] = {}
        for task in tasks:
            task._state = PENDING
            groups.setdefault((task._task.options, self.kind_of(task._task)), []).append(task)
        for (options, kind), group in groups.items():
            self.scheduler.put_back(
                group, options.resources, options.priority, kind, self.seconds_of(options)
            )

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

    def impossible(self, also: Iterable[Any] = ()) -> list[tuple[TaskFuture[Any], str]]:
        """Take out the tasks that wait and can never run any more; each with the reason."""
        reasons: dict[Resources, str | None] = {}

        def never(request: Resources) -> bool:
            if request not in reasons:
                reasons[request] = self.scheduler.impossible(request, also)
            return reasons[request] is not None

        taken = self.scheduler.take_out(never)
        return [(task, reasons[task._task.options.resources] or "") for task in taken]

    # The lock is not held: callbacks of users run in these

    def end(self, task: TaskFuture[Any], outcome: Any, begun: float | None, ended: float) -> None:
        """A task has ended; it fails, or is run again if it may."""
        if task._task is None:
            return
        if outcome.failed and self.run_again(task, lost=False):
            return
        failure = self._failure(task, outcome) if outcome.failed else None
        if task._finish(FINISHED, outcome, Times(task.times.submitted, begun, ended)):
            self._event(task, "FAILED" if outcome.failed else "COMPLETED")
            if failure is not None:
                self.failures.append(failure)
            self.forget(1, "failed" if outcome.failed else "completed")

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
        if task._task is None:
            return
        times = Times(task.times.submitted, task.times.started, time.time())
        outcome = Failure(error)
        failure = self._failure(task, outcome)
        if task._finish(FINISHED, outcome, times):
            self._event(task, "FAILED", message=str(error))
            if failure is not None:
                self.failures.append(failure)
            self.forget(1, "failed")

    @staticmethod
    def _failure(task: TaskFuture[Any], outcome: Any) -> Failed | None:
        """What to remember of a task that is about to fail; ``None``: it has ended before."""
        from exaworks.tasks.status import failed

        return failed(task, outcome)

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

    def forget(self, count: int, how: str) -> None:
        """So many tasks are done, in that way."""
        with self._lock:
            self.counts[how] += count
            self._unfinished -= count
            if not self._unfinished or self._max_waiting is not None:
                self._room.notify_all()
            self.end_if_done()

    def cancelled(self, task: TaskFuture[Any]) -> bool:
        """A task was cancelled."""
        if not task._finish(CANCELLED_AND_NOTIFIED, None):
            return task.cancelled()
        self._event(task, "CANCELED")
        self.forget(1, "canceled")
        return True

    def end_if_done(self) -> None:
        """Close if that is wanted and nothing is left to do."""
        if self.ending and not self.still_running() and not self._closed.is_set():
            self.reactor.call_soon(self._close_status)
            self.reactor.call_soon(self._close)


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


def _end_all() -> None:
    """Let programs that do not shut their engines down end when all tasks have."""
    for engine in list(_engines):
        if engine._process == os.getpid():
            engine.shutdown()


# As the library's own executors do it: atexit comes too late for threads that are needed.
getattr(threading, "_register_atexit", atexit.register)(_end_all)
