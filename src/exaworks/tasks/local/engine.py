"""The engine for one node."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any, ClassVar

from exaworks.tasks.commands import CommandTask
from exaworks.tasks.engine import Features, this_node
from exaworks.tasks.errors import InvalidTaskError
from exaworks.tasks.future import TaskFuture
from exaworks.tasks.local.base import LocalBase, Runner
from exaworks.tasks.local.command_runner import CommandRunner
from exaworks.tasks.local.crew import Crew
from exaworks.tasks.local.nursery import NurseryLink
from exaworks.tasks.queued import ALONE, CALL
from exaworks.tasks.resources import NodeResources

__all__ = ["LocalEngine"]


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
        with self._lock:
            self._crew = Crew(self)
            self._commands = CommandRunner(self, _folder(output_folder), capture)
        self._runners: tuple[Runner, ...] = (self._crew, self._commands)
        nursery = self.nursery
        self.reactor.call_soon(
            lambda: self.reactor.add_reader(nursery.fileno(), self._nursery_speaks)
        )
        self._begin()

    # See QueuedEngine

    def _runner(self, task: TaskFuture[Any]) -> Runner:
        return self._commands if type(task._task) is CommandTask else self._crew

    def wants_calls(self) -> bool:
        """See :meth:`QueuedEngine.wants_calls`."""
        return bool(self._crew.idle)

    def stop_task(self, task: TaskFuture[Any]) -> None:
        """See :meth:`QueuedEngine.stop_task`."""
        self._runner(task).stop(task)

    def where(self, task: TaskFuture[Any]) -> str | None:
        """See :meth:`QueuedEngine.where`."""
        where = self._runner(task).where(task)
        return where and f"{where} on {self.node.name}"

    def still_running(self) -> bool:
        """See :meth:`QueuedEngine.still_running`."""
        return self._crew.running or self._commands.running

    def dispatch(self) -> None:
        """See :meth:`QueuedEngine.dispatch`."""
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
        self._is_closed()


def _folder(given: str | os.PathLike[str] | None) -> str:
    import tempfile

    folder = tempfile.gettempdir() if given is None else os.path.abspath(given)
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK | os.X_OK):
        raise InvalidTaskError(f"output_folder {folder} is no folder where you can write")
    return folder
