"""Functions that templates can call."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from exaworks.psij import JobAttributes

__all__ = ["ALL", "walltime_to_minutes"]


def walltime_to_minutes(walltime: timedelta | int | str) -> int:
    """A walltime in whole minutes, rounded down.

    Args:
        walltime: a duration, a number of minutes, or text (``HH:MM:SS``, ``HH:MM``, ``MM``).

    Raises:
        ValueError: it is none of these.
    """
    if isinstance(walltime, int):
        return walltime
    if isinstance(walltime, str):
        walltime = JobAttributes.parse_walltime(walltime)
    if isinstance(walltime, timedelta):
        return int(walltime.total_seconds() // 60)
    raise ValueError(f"{walltime!r} is no walltime")


ALL: dict[str, Callable[..., Any]] = {"walltime_to_minutes": walltime_to_minutes}
"""The functions by name."""
