"""The bar that shows how far tasks are, on standard error."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from exaworks.cli.output import short_duration

__all__ = ["Bar", "Figures"]

_PERIOD: Final = 0.1
_PERIOD_IF_HIDDEN: Final = 0.02


@dataclass(frozen=True)
class Figures:
    """How far tasks are.

    Attributes:
        done: how many have ended, or were skipped.
        total: of how many; ``None``: that is not known.
        running: how many run.
        failed: how many have failed.
        rate: how many have ended in a second.
    """

    done: int
    total: int | None
    running: int
    failed: int
    rate: float

    def __str__(self) -> str:
        total = "?" if self.total is None else self.total
        parts = [f"{self.done}/{total}, {self.running} running, {self.failed} failed"]
        parts.append(f"{self.rate:.3g}/s")
        if self.total is not None and self.rate:
            parts.append(f"{short_duration((self.total - self.done) / self.rate)} left")
        return ", ".join(parts)


class Bar:
    """A line at the bottom of the terminal. It has to be hidden before anything else is shown."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._progress = Progress(
            BarColumn(None),
            TextColumn("{task.fields[figures]}"),
            console=Console(stderr=True, highlight=False),
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            expand=True,
        )
        self._bar = self._progress.add_task("", total=None, figures="")
        self._updated = 0.0
        self._shown = False

    @property
    def due(self) -> bool:
        """Whether it is time to show something new."""
        period = _PERIOD if self._shown else _PERIOD_IF_HIDDEN
        return time.monotonic() >= self._updated + period

    def show(self, figures: Figures) -> None:
        """Show how far tasks are."""
        self._progress.update(
            self._bar, completed=figures.done, total=figures.total, figures=str(figures)
        )
        if self._shown:
            self._progress.refresh()
        else:
            self._progress.start()
            self._shown = True
        self._updated = time.monotonic()

    def hide(self) -> None:
        """Make room for something else."""
        if self._shown:
            self._progress.stop()
            self._shown = False
