"""What is to be shown of engines, from what they have told: no I/O, no clock, no terminal."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

__all__ = ["EngineView", "FailureView", "History", "NodeView", "engine_view"]

Snapshot = Mapping[str, Any]

WINDOW: Final = 10.0
"""Seconds over which the present rate is taken."""


@dataclass(frozen=True)
class NodeView:
    """A node.

    Attributes:
        name: its name.
        cores, gpus, memory: what it has; memory in bytes, 0: it is not counted.
        used_cores, used_gpus, used_memory: what of it tasks have.
        remaining: seconds until it will go; ``None``: it stays.
    """

    name: str
    cores: int
    used_cores: int
    gpus: int
    used_gpus: float
    memory: int
    used_memory: int
    remaining: float | None

    @property
    def share(self) -> float:
        """How much of its cores is in use."""
        return self.used_cores / self.cores if self.cores else 0.0


@dataclass(frozen=True)
class FailureView:
    """A task that failed: its id, its title, and why."""

    task: str
    title: str
    message: str


@dataclass(frozen=True)
class EngineView:
    """An engine.

    Attributes:
        id: its id.
        program, pid, host: who has it, and where.
        origin: where its nodes come from, in words; empty: this machine.
        uptime: for how many seconds it has run.
        remaining: seconds until its last node will go; ``None``: they stay.
        cores, used_cores: of all nodes together.
        waiting, running, completed, failed, canceled: numbers of tasks.
        rate: tasks that end a second, at present; ``None``: not known yet.
        average: the same since it began.
        left: seconds until nothing waits any more, at that rate; ``None``: nobody knows.
        nodes: the nodes, the busiest first.
        failures: the last tasks that failed, the newest first.
        silent: it does not answer at present; all this is what it said last.
    """

    id: str
    program: str
    pid: int
    host: str
    origin: str
    uptime: float
    remaining: float | None
    cores: int
    used_cores: int
    waiting: int
    running: int
    completed: int
    failed: int
    canceled: int
    rate: float | None
    average: float
    left: float | None
    nodes: tuple[NodeView, ...]
    failures: tuple[FailureView, ...]
    silent: bool = False

    @property
    def share(self) -> float:
        """How much of the cores is in use."""
        return self.used_cores / self.cores if self.cores else 0.0


def engine_view(before: Snapshot | None, after: Snapshot) -> EngineView:
    """What is to be shown of an engine.

    Args:
        before: what it told some time ago, if it did.
        after: what it has told now (:mod:`exaworks.tasks.status`).
    """
    ended = after["completed"] + after["failed"]
    rate = None
    if before is not None and after["uptime"] > before["uptime"]:
        earlier = before["completed"] + before["failed"]
        rate = (ended - earlier) / (after["uptime"] - before["uptime"])
    average = ended / after["uptime"] if after["uptime"] > 0 else 0.0
    # Of long tasks often none has ended lately.
    pace = rate or average
    nodes = sorted(map(_node, after["nodes"]), key=lambda n: (-n.share, -n.used_cores, n.name))
    source = after["source"]
    words = ("source", "executor", "job", "state")
    return EngineView(
        id=after["id"],
        program=after["program"],
        pid=after["pid"],
        host=after["host"],
        origin=" ".join(str(source[word]) for word in words if source.get(word)),
        uptime=after["uptime"],
        remaining=_remaining(source, nodes),
        cores=sum(node.cores for node in nodes),
        used_cores=sum(node.used_cores for node in nodes),
        waiting=after["waiting"],
        running=after["running"],
        completed=after["completed"],
        failed=after["failed"],
        canceled=after["canceled"],
        rate=rate,
        average=average,
        left=after["waiting"] / pace if pace and after["waiting"] else None,
        nodes=tuple(nodes),
        failures=tuple(
            FailureView(each["task"], each["title"], each["message"])
            for each in reversed(after["failures"])
        ),
    )


def _node(told: Mapping[str, Any]) -> NodeView:
    return NodeView(
        told["name"],
        told["cores"],
        told["cores"] - told["free_cores"],
        told["gpus"],
        told["gpus"] - told["free_gpus"],
        told["memory"],
        told["memory"] - told["free_memory"],
        told["remaining"],
    )


def _remaining(source: Mapping[str, Any], nodes: Sequence[NodeView]) -> float | None:
    told: float | None = source.get("remaining")
    if told is not None:
        return told
    times = [node.remaining for node in nodes]
    ends = [time for time in times if time is not None]
    return max(ends) if ends and len(ends) == len(times) else None


class History:
    """Remembers what engines have told, to know their rates."""

    def __init__(self) -> None:
        self._told: dict[str, deque[Snapshot]] = {}

    def views(self, snapshots: Sequence[Snapshot], silent: Sequence[str] = ()) -> list[EngineView]:
        """What is to be shown now.

        Args:
            snapshots: what engines have told.
            silent: the ids of those that do not answer: of them, what they told last is shown.
        """
        known = self._told
        self._told = {id: known[id] for id in silent if id in known}
        found = []
        for snapshot in snapshots:
            told = known.get(snapshot["id"], deque())
            if told and told[-1]["started"] != snapshot["started"]:  # a number is used again
                told.clear()
            told.append(snapshot)
            # The oldest is as far away as the window is long.
            while len(told) > 2 and told[1]["uptime"] <= snapshot["uptime"] - WINDOW:
                told.popleft()
            self._told[snapshot["id"]] = told
            found.append(self._view(told))
        found += [replace(self._view(self._told[id]), silent=True) for id in silent if id in known]
        return found

    @staticmethod
    def _view(told: Sequence[Snapshot]) -> EngineView:
        return engine_view(told[0] if len(told) > 1 else None, told[-1])
