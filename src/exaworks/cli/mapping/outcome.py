"""How a task has ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from exaworks.tasks import TaskFailed, TaskFuture, TaskResult

__all__ = ["Outcome", "Task"]


@dataclass(frozen=True)
class Task:
    """A command to run.

    Attributes:
        seq: its number among the inputs, from 1.
        values: what it is run for.
        words: the command.
        text: the command as one would type it.
    """

    seq: int
    values: tuple[str, ...]
    words: list[str]
    text: str


@dataclass(frozen=True)
class Outcome:
    """How a task has ended.

    Attributes:
        ok: it has ended well.
        cancelled: it was cancelled, by us.
        exit_code: its exit code, if it exited by itself.
        signal: the signal that ended it.
        message: what is known about a failure.
        own: whether its exit code says all about the failure.
        result: all about its run; ``None``: it has not run, or nothing is known.
        started: when it began, in seconds since the epoch.
        ended: when it ended.
    """

    ok: bool
    cancelled: bool
    exit_code: int | None
    signal: int | None
    message: str | None
    own: bool
    result: TaskResult | None
    started: float
    ended: float

    @classmethod
    def of(cls, future: TaskFuture[Any], stopped: bool) -> Outcome:
        """How a task has ended.

        Args:
            future: its future, which is done.
            stopped: whether it may have been cancelled by us.
        """
        times = future.times
        ended = times.ended or times.submitted
        started = times.started or ended
        if future.cancelled():
            return cls(False, stopped, None, None, "was cancelled", False, None, started, ended)
        problem = future.exception()
        result = future.result() if problem is None else getattr(problem, "result", None)
        code = signal = None
        own = True
        if result is not None:
            code, signal = result.exit_code, result.signal
            started, ended = result.started, result.ended
            own = type(problem) is TaskFailed and bool(code)
            if problem is not None and code == 0:
                code = None  # it was ended because of a limit, and took it well
        elif problem is not None:
            own = False
            code = problem.exit_code if isinstance(problem, TaskFailed) else None
        message = None if problem is None else str(problem)
        return cls(problem is None, False, code, signal, message, own, result, started, ended)

    @property
    def exit_value(self) -> int:
        """The exit code for a log: 0 for a signal, -1 for a failure without either."""
        if self.exit_code is not None:
            return self.exit_code
        return 0 if self.signal else -1
