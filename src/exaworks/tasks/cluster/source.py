"""Where an engine gets its nodes from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from exaworks.tasks.cluster.boot import Boot
from exaworks.tasks.errors import UnsupportedError
from exaworks.tasks.scheduler import Placement
from exaworks.tasks.spec import TaskSpec

__all__ = ["Source"]


class Source(ABC):
    """Starts agents, with a batch job or another system, and ends them."""

    title: str
    """What it is, for people: ``"slurm job 17"``."""

    expected: int = 1
    """How many agents it brings."""

    revives: bool = False
    """It starts an agent again whose node was lost."""

    @abstractmethod
    def start(self, boot: Boot) -> None:
        """Begin to start agents, in no time; called once.

        Raises:
            EngineFailed: that is not possible.
        """

    @abstractmethod
    def stop(self) -> None:
        """End what was started. Agents were told to end before. It may take some seconds."""

    def ends(self, started: float) -> float | None:
        """When its nodes will go, in seconds since the epoch; ``None``: nobody knows.

        Args:
            started: when the agent that asks has started.
        """
        return None

    def origin(self) -> dict[str, Any]:
        """Facts about it, for people and programs."""
        return {"source": self.title}

    def spread(self, spec: TaskSpec, placement: Placement, names: dict[int, str]) -> list[str]:
        """What starts the ranks of a task, before the words of each; run on their first node.

        Args:
            spec: the task.
            placement: where its ranks are.
            names: what the nodes are called, by number.
        """
        raise UnsupportedError("this engine cannot spread the ranks of a task over nodes")
