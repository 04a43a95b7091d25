"""What the parts of the local engine share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from exaworks.tasks.future import TaskFuture
from exaworks.tasks.local.nursery import NurseryLink
from exaworks.tasks.queued import QueuedEngine
from exaworks.tasks.resources import NodeResources
from exaworks.tasks.scheduler import Placement, Scheduler

__all__ = ["LocalBase", "Runner"]


class Runner(ABC):
    """One way to run tasks. The lock of the engine is held in all methods."""

    @abstractmethod
    def start(self, task: TaskFuture[Any], placement: Placement) -> None:
        """Run a task with what it has got."""

    @abstractmethod
    def stop(self, task: TaskFuture[Any]) -> None:
        """End a task that runs; what it has is given back when it has really ended."""

    @abstractmethod
    def where(self, task: TaskFuture[Any]) -> str | None:
        """Where a task runs, for people."""

    @abstractmethod
    def balance(self) -> None:
        """See to it that no task waits behind a long one while there is room elsewhere."""

    @abstractmethod
    def heard(self, number: int, kind: str, rest: tuple[Any, ...]) -> bool:
        """Take in what the nursery says of a process; false: it is not one of this runner's."""

    @abstractmethod
    def abandoned(self) -> None:
        """The nursery was killed, and all its processes with it; there is a new one."""

    @abstractmethod
    def close(self) -> None:
        """Give up all processes."""


class LocalBase(QueuedEngine):
    """A queue, a node, and a nursery for processes."""

    def __init__(self, node: NodeResources, bind: bool, max_waiting: int | None) -> None:
        super().__init__(Scheduler([node]), max_waiting)
        self.node = node
        self.bind = bind
        self.nursery = NurseryLink()
        self.process_count = 0
