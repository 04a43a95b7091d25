"""What has become of all tasks."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Final

from exaworks.cli.mapping.outcome import Outcome, Task
from exaworks.cli.output import short_duration

__all__ = ["Summary"]

_MOST_FAILURES: Final = 100
"""The exit code is the number of failures, but at most one more than this. As in GNU parallel."""


@dataclass
class Summary:
    """What has become of all tasks.

    Attributes:
        detailed: whether to keep what is known about each failure.
        total: how many there are; ``None``: not all inputs were read.
        completed: how many have ended well.
        failed: how many have failed.
        skipped: how many a log tells of.
        cpu_seconds: what those that have ended have used, in all.
        failures: what is known about each failure.
    """

    detailed: bool = False
    total: int | None = None
    completed: int = 0
    failed: int = 0
    skipped: int = 0
    cpu_seconds: float = 0.0
    failures: list[dict[str, Any]] = field(default_factory=list)
    begun: float = field(default_factory=time.monotonic)

    def add(self, task: Task, outcome: Outcome) -> None:
        """A task has ended."""
        if outcome.result is not None:
            self.cpu_seconds += outcome.result.cpu_seconds
        if outcome.ok:
            self.completed += 1
        elif not outcome.cancelled:
            self.failed += 1
            if self.detailed:
                self.failures.append(
                    {
                        "seq": task.seq,
                        "command": task.text,
                        "exit_code": outcome.exit_code,
                        "signal": outcome.signal,
                        "message": outcome.message,
                    }
                )

    @property
    def ended(self) -> int:
        """How many have run to an end."""
        return self.completed + self.failed

    @property
    def seconds(self) -> float:
        """How long it takes so far."""
        return time.monotonic() - self.begun

    @property
    def rate(self) -> float:
        """How many have ended in a second."""
        return self.ended / max(self.seconds, 1e-6)

    @property
    def exit_code(self) -> int:
        """The number of failures, as far as an exit code can tell it."""
        return min(self.failed, _MOST_FAILURES + 1)

    def as_json(self) -> dict[str, Any]:
        """What JSON output says."""
        return {
            "total": self.total,
            "completed": self.completed,
            "failed": self.failed,
            "skipped": self.skipped,
            "seconds": round(self.seconds, 3),
            "rate": round(self.rate, 3),
            "cpu_seconds": round(self.cpu_seconds, 3),
            "failures": self.failures,
        }

    def __str__(self) -> str:
        counts = [f"{self.completed} completed", f"{self.failed} failed"]
        if self.skipped:
            counts.append(f"{self.skipped} skipped")
        of = "" if self.total is None else f" of {self.total}"
        seconds = short_duration(self.seconds)
        return f"{', '.join(counts)}{of} in {seconds} ({self.rate:.3g} a second)"
