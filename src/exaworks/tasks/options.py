"""How a task is to be run, beyond what it needs."""

from __future__ import annotations

from dataclasses import dataclass

from exaworks.tasks.resources import ONE_CORE, Resources

__all__ = ["DEFAULT", "Options"]


@dataclass(frozen=True)
class Options:
    """How a task is to be run. Most tasks of a program share a few of these.

    Attributes:
        resources: what it needs.
        priority: tasks with a higher number go first.
        time_limit: seconds after which it is ended.
        retries: how often it is run again after it has failed, or was lost.
        restartable: it may be run again if the process or node that ran it was lost.
        name: for people.
    """

    resources: Resources = ONE_CORE
    priority: int = 0
    time_limit: float | None = None
    retries: int = 0
    restartable: bool = False
    name: str | None = None


DEFAULT = Options()
