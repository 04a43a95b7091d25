"""Handing tasks to an engine, some at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any, Final

from exaworks.cli.mapping.outcome import Task
from exaworks.tasks import Engine, TaskFuture, TaskSpec

__all__ = ["Ended", "Feeder"]

_LOOK: Final = 0.5
"""Seconds between two looks whether there are more nodes."""

Ended = tuple[int, Task, TaskFuture[Any]]
"""A task that has ended, with its place among those that were handed out, from 0."""


class Feeder:
    """A thread that reads inputs and hands tasks out, so that not too many are on the way.

    Attributes:
        ended: where tasks come to that have ended; ``None``: no more will be handed out.
        handed: how many were handed out.
        stopped: it was told to stop.
        problem: what has gone wrong with the inputs or the engine.
    """

    def __init__(
        self,
        engine: Engine,
        tasks: Iterator[Task],
        spec_of: Callable[[Task], TaskSpec],
        most: Callable[[], int],
    ) -> None:
        """Prepare.

        Args:
            engine: who runs the tasks.
            tasks: what is to be run, read when there is room.
            spec_of: how it is to be run.
            most: tells how many may be on the way; more when nodes come.
        """
        self.ended: SimpleQueue[Ended | None] = SimpleQueue()
        self.handed = 0
        self.problem: Exception | None = None
        self._engine = engine
        self._tasks = tasks
        self._spec_of = spec_of
        self._most = most
        self._changed = threading.Condition()
        self._on_the_way: dict[TaskFuture[Any], None] = {}
        self._count = 0
        self.stopped = False
        self._over = False
        # Who reads a terminal or pipe cannot be stopped, and must not keep the program.
        self._thread = threading.Thread(target=self._run, name="exaworks-map", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    @property
    def all_read(self) -> bool:
        """Whether there are no more inputs."""
        return self._over and not self.stopped

    @property
    def finished(self) -> bool:
        """Whether nothing is on the way, and nothing will be."""
        with self._changed:
            return not self._count and (self._over or self.stopped)

    def done(self, future: TaskFuture[Any]) -> None:
        """A task that has ended was taken care of: there is room for another."""
        with self._changed:
            self._on_the_way.pop(future, None)
            self._count -= 1
            self._changed.notify_all()

    def stop(self) -> None:
        """Hand out no more, and take back what waits."""
        self._cancel(lambda future: not future.running())

    def cancel(self) -> None:
        """Hand out no more, and end what is on the way."""
        self._cancel(lambda future: True)

    def _cancel(self, which: Callable[[TaskFuture[Any]], bool]) -> None:
        with self._changed:
            self.stopped = True
            self._changed.notify_all()
            # The last first: they wait, and are not to start when others end.
            futures = list(self._on_the_way)[::-1]
        for future in futures:
            if which(future):
                future.cancel()

    def _run(self) -> None:
        try:
            for task in self._tasks:
                if not self._wait_for_room():
                    return
                try:
                    future = self._engine.launch(self._spec_of(task))
                except BaseException:
                    self._count_back()
                    raise
                self._launched(task, future)
        except Exception as problem:
            self.problem = problem
        finally:
            with self._changed:
                self._over = True
            self.ended.put(None)

    def _wait_for_room(self) -> bool:
        with self._changed:
            while not self._changed.wait_for(
                lambda: self.stopped or self._count < self._most(), _LOOK
            ):
                pass
            if self.stopped:
                return False
            self._count += 1
            self.handed += 1
            return True

    def _count_back(self) -> None:
        with self._changed:
            self._count -= 1
            self.handed -= 1

    def _launched(self, task: Task, future: TaskFuture[Any]) -> None:
        number = self.handed - 1
        with self._changed:
            self._on_the_way[future] = None
            stopped = self.stopped
        future.add_done_callback(lambda future: self.ended.put((number, task, future)))
        if stopped:  # while it was launched
            future.cancel()
