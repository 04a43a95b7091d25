"""The engine for one node."""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures._base import CANCELLED_AND_NOTIFIED, PENDING, RUNNING
from typing import Any, ClassVar, TypeVar

from exaworks.core.workers.wire import pack
from exaworks.tasks.engine import EngineResources, Features, this_node
from exaworks.tasks.errors import EngineClosedError, InvalidTaskError
from exaworks.tasks.future import TaskFuture
from exaworks.tasks.local.base import ALONE, CALL, COMMAND, LocalBase, Runner
from exaworks.tasks.local.command_runner import CommandRunner
from exaworks.tasks.local.commands import CommandTask, command_words
from exaworks.tasks.local.crew import Crew
from exaworks.tasks.local.functions import Call, Functions
from exaworks.tasks.local.nursery import NurseryLink
from exaworks.tasks.options import Options
from exaworks.tasks.resources import NodeResources
from exaworks.tasks.spec import TaskSpec

__all__ = ["LocalEngine"]

T = TypeVar("T")

_engines: weakref.WeakSet[LocalEngine] = weakref.WeakSet()


class LocalEngine(LocalBase):
    """Runs tasks on this machine.

    ::

        with LocalEngine() as engine:
            print(sum(engine.map(pow, range(1000), range(1000))))

    Functions run in worker processes that stay. They are forked from a small process of their own,
    so no ``if __name__ == "__main__"`` is needed, and what the program has in memory is not
    copied. If a worker dies, the task that it ran fails with :class:`WorkerLost`, and no other.
    When the program ends, in whatever way, the workers and all that they have started end, too.
    """

    name: ClassVar[str] = "local"
    features: ClassVar[Features] = Features("on this machine")

    def __init__(
        self,
        workers: int | None = None,
        *,
        cores: Sequence[int] | None = None,
        gpus: Sequence[str | int] | int | None = None,
        memory: int | None = None,
        bind: bool = True,
        max_waiting: int | None = None,
        capture: int = 1 << 16,
        output_folder: str | os.PathLike[str] | None = None,
    ) -> None:
        """Start.

        Args:
            workers: how many CPU cores to use, and so how many tasks of one core run at a time;
                ``None``: all that this process may use.
            cores: which CPU cores to use.
            gpus: names of GPUs, or how many; ``None``: those of ``CUDA_VISIBLE_DEVICES`` or its
                like.
            memory: bytes to count with; ``None``: what the machine has.
            bind: bind each task to its cores.
            max_waiting: :meth:`submit` waits while so many tasks wait; ``None``: it never does.
            capture: bytes of the output of a command to keep in its result; all of what is longer
                is in a file.
            output_folder: where such files are made; ``None``: where temporary files are.

        Raises:
            InvalidTaskError: a value makes no sense.
            OSError: the system has no room for another process.
        """
        if workers is not None and (type(workers) is not int or workers < 1):
            raise InvalidTaskError(f"workers must be a whole number of at least 1, not {workers!r}")
        node = this_node(cores if cores is not None else workers)
        if gpus is not None:
            names = range(gpus) if isinstance(gpus, int) else gpus
            node = NodeResources(node.name, node.cores, tuple(map(str, names)), node.memory)
        if memory is not None:
            node = NodeResources(node.name, node.cores, node.gpus, memory)
        super().__init__(node, bind, max_waiting)
        self._functions = Functions()
        with self._lock:
            self._crew = Crew(self)
            self._commands = CommandRunner(self, _folder(output_folder), capture)
        self._runners: tuple[Runner, ...] = (self._crew, self._commands)
        nursery = self.nursery
        self.reactor.call_soon(
            lambda: self.reactor.add_reader(nursery.fileno(), self._nursery_speaks)
        )
        self.reactor.start()
        _engines.add(self)

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
            future: TaskFuture[T] = self._enter(record, ALONE if _alone(options) else CALL)
            if self._crew.idle:
                self.dispatch()
        return future

    def launch(self, spec: TaskSpec) -> TaskFuture[Any]:
        """See :meth:`Engine.launch`."""
        return self.launch_many([spec])[0]

    def launch_many(self, specs: Sequence[TaskSpec]) -> list[TaskFuture[Any]]:
        """See :meth:`Engine.launch_many`."""
        # All are checked before the first is taken.
        words = [None if spec.command is None else command_words(spec) for spec in specs]
        for spec in specs:
            self._check_possible(spec.options)
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
                    environments[inherit] = self._commands.environments.current(inherit)
                record = CommandTask(spec, argv, environments[inherit])
                futures.append(self._enter(record, COMMAND))
            self.dispatch()
        return futures

    def _enter(self, record: Any, kind: str) -> TaskFuture[Any]:
        """Let a task wait; the lock is held."""
        self._check_open()
        options: Options = record.options
        self._check_possible(options)
        if self._max_waiting is not None and not self.reactor.in_thread():
            while self.scheduler.waiting >= self._max_waiting:
                self._room.wait()
                self._check_open()
        self._count += 1
        future: TaskFuture[Any] = TaskFuture(self, self._count, record, time.time())
        self.scheduler.add(future, options.resources, options.priority, kind)
        self._unfinished += 1
        self._event(future, "QUEUED", name=options.name)
        return future

    def _check_open(self) -> None:
        if self._closing:
            raise EngineClosedError("this engine was shut down and takes no tasks any more")
        self._check_process()

    def _check_possible(self, options: Options) -> None:
        request = options.resources
        if request.cores == 1 and not request.gpus and not request.memory and request.ranks == 1:
            return
        reason = self.scheduler.impossible(request)
        if reason is not None:
            raise InvalidTaskError(f"the task can never run here: {reason}")

    def resources(self) -> EngineResources:
        """What is there, and what is free."""
        with self._lock:
            waiting = self.scheduler.waiting
            free = tuple(self.scheduler.free())
            return EngineResources((self.node,), free, waiting, self._unfinished - waiting)

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
            if future._finish(CANCELLED_AND_NOTIFIED, None):
                self._event(future, "CANCELED")
        self.forget(len(dropped))
        if wait and not self.reactor.in_thread():
            self._closed.wait()

    def explain(self, task: TaskFuture[Any]) -> str:
        """See :meth:`Engine.explain`."""
        with self._lock:
            record = task._task
            if record is not None and task._state is PENDING:
                options: Options = record.options
                why = self.scheduler.why_waiting(
                    options.resources, options.priority, self.kind_of(task), time.monotonic()
                )
                return f"{task.id} ({record.title}) waits: {why}."
            if record is not None and task._state is RUNNING:
                where = self._runner(task).where(task)
                if where is not None:
                    return f"{task.id} ({record.title}) {where} on {self.node.name}."
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
                self._runner(task).stop(task)
            else:
                return task.cancelled()
            # It may have been put back in the meantime: nobody else can take it, the lock is held.
        return self.cancelled(task)

    # See LocalBase

    def kind_of(self, task: TaskFuture[Any]) -> str:
        """See :meth:`LocalBase.kind_of`."""
        record = task._task
        if type(record) is CommandTask:
            return COMMAND
        return ALONE if _alone(record.options) else CALL

    def _runner(self, task: TaskFuture[Any]) -> Runner:
        return self._commands if type(task._task) is CommandTask else self._crew

    def dispatch(self) -> None:
        """See :meth:`LocalBase.dispatch`."""
        scheduler = self.scheduler
        waiting = scheduler.waiting
        if waiting:
            now = time.monotonic()
            crew = self._crew
            while found := scheduler.next(now, () if crew.idle else (CALL, ALONE)):
                self._runner(found[0]).start(*found)
            if self._max_waiting is not None and scheduler.waiting < waiting:
                self._room.notify_all()
        if scheduler.idle_cores:
            for runner in self._runners:
                runner.balance()

    def end_if_done(self) -> None:
        """See :meth:`LocalBase.end_if_done`."""
        if self.ending and not self._closed.is_set():
            self.reactor.call_soon(self._close)

    # The nursery

    def _nursery_speaks(self) -> None:
        if self.nursery.read(self._heard):
            return
        with self._lock:
            if self._closed.is_set():
                return
            self.reactor.remove_reader(self.nursery.fileno())
            self.nursery.close()
            self.nursery = NurseryLink()
            self.reactor.add_reader(self.nursery.fileno(), self._nursery_speaks)
        for runner in self._runners:
            runner.abandoned()

    def _heard(self, message: tuple[Any, ...]) -> None:
        kind, number, *rest = message
        for runner in self._runners:
            if runner.heard(number, kind, tuple(rest)):
                return

    def _close(self) -> None:
        with self._lock:
            if self._closed.is_set():
                return
            self.reactor.remove_reader(self.nursery.fileno())
            for runner in self._runners:
                runner.close()
            self.nursery.close()
            self.reactor.stop()
            self._closed.set()


def _alone(options: Options) -> bool:
    """Whether nothing is to be sent ahead behind such a call."""
    return options.time_limit is not None or bool(options.resources.gpus)


def _folder(given: str | os.PathLike[str] | None) -> str:
    import tempfile

    folder = tempfile.gettempdir() if given is None else os.path.abspath(given)
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK | os.X_OK):
        raise InvalidTaskError(f"output_folder {folder} is no folder where you can write")
    return folder


def _end_all() -> None:
    """Let programs that do not shut their engines down end when all tasks have."""
    for engine in list(_engines):
        if engine._process == os.getpid():
            engine.shutdown()


# As the library's own executors do it: atexit comes too late for threads that are needed.
getattr(threading, "_register_atexit", atexit.register)(_end_all)
