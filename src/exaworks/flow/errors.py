"""What can go wrong with flows.

::

    FlowError
      DependencyError     a task was not run, since another that it needs has failed
      JoinError           a join app returned something else than futures
      FlowClosedError     (also a RuntimeError)

Beyond these there are those of :mod:`exaworks.tasks`, and what functions raise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from exaworks.tasks.errors import TaskError

__all__ = ["DependencyError", "FlowClosedError", "FlowError", "JoinError", "Step"]


class FlowError(TaskError):
    """Something went wrong with a flow."""


class FlowClosedError(FlowError, RuntimeError):
    """The flow takes no calls any more."""


class JoinError(FlowError, TypeError):
    """A join app returned something that holds no futures."""


class Step(NamedTuple):
    """A task on the way from a failure to what was not run because of it."""

    id: str
    name: str

    def __str__(self) -> str:
        return f"{self.name} ({self.id})"


class DependencyError(FlowError):
    """A task was not run, since another one that it needs, directly or not, has failed.

    The exception of that task is the cause (``__cause__``).

    Attributes:
        task: the task that was not run.
        failed: the task that failed first.
        reason: why that failed, in a line.
    """

    def __init__(self, task: Step, failed: Step, reason: str, between: Any = ()) -> None:
        """Of use to flows only.

        Args:
            task: the task that was not run.
            failed: the task that failed first.
            reason: why, in a line.
            between: the steps between the two, as pairs of a step and the steps before it.
        """
        super().__init__(task, failed, reason, between)
        self.task = task
        self.failed = failed
        self.reason = reason
        self._between = between

    def __str__(self) -> str:
        return f"{self.task} was not run, since {self.failed} failed: {self.reason}"

    @property
    def chain(self) -> Sequence[Step]:
        """All tasks on the way, from the one that failed to the one that was not run."""
        steps = [self.task]
        between = self._between
        while between:
            step, between = between
            steps.append(step)
        steps.append(self.failed)
        return steps[::-1]

    def explain(self) -> str:
        """The whole chain, a line each, with the reason."""
        lines = [f"{self.failed} failed: {self.reason}"]
        lines += [f"  so {step} was not run" for step in self.chain[1:]]
        return "\n".join(lines)
