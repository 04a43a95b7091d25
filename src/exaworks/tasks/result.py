"""What is known about a command that has run."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["TaskResult"]


@dataclass(frozen=True)
class TaskResult:
    """How a command has run.

    Attributes:
        exit_code: its exit code; ``None`` if a signal ended it.
        signal: the signal that ended it; ``None`` if it exited.
        stdout: the beginning of what it printed; empty if that went to a file of the task.
        stderr: the same for standard error.
        stdout_path: the file with all of its standard output, if the task named one or there was
            more than is captured; ``None`` if ``stdout`` is all.
        stderr_path: the same for standard error.
        started: when it was started, in seconds since the epoch.
        ended: when it ended.
        cpu_seconds: user and system time of its processes that it has waited for.
        peak_memory: the largest resident set of any of them, in bytes; at least that of the small
            process that started it (some 13 MB), which the kernel counts, too.
        node: the host name of the node that it ran on.
        output_lost: there was more output than is captured, and no room to keep it in a file.
    """

    exit_code: int | None
    signal: int | None
    stdout: bytes
    stderr: bytes
    stdout_path: str | None
    stderr_path: str | None
    started: float
    ended: float
    cpu_seconds: float
    peak_memory: int
    node: str
    output_lost: bool = False

    @property
    def text(self) -> str:
        """``stdout`` as text."""
        return self.stdout.decode("utf-8", "replace")

    @property
    def ok(self) -> bool:
        """Whether its exit code is 0."""
        return self.exit_code == 0

    def __str__(self) -> str:
        if self.signal is not None:
            return f"was ended by signal {self.signal}"
        return f"exited with code {self.exit_code}"
