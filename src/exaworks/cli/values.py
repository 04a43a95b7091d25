"""Types of option values: sizes, times, assignments, things to stage."""

from __future__ import annotations

import os
import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from exaworks.psij import StageIn, StageOut

__all__ = [
    "absolute",
    "assignment",
    "duration",
    "memory",
    "stage_in",
    "stage_out",
    "walltime",
]

_SIZE_UNITS: Final = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5}
_TIME_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_FLAGS: Final = ("if-present", "on-success", "on-error", "on-cancel", "always")
_MODES: Final = ("copy", "link", "move")


def memory(text: str) -> int:
    """``4G`` as bytes; units are powers of 1024.

    Raises:
        click.BadParameter: it is not of that form (so do the other functions).
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGTP]?)(?:I?B)?", text.strip().upper())
    if match is None:
        raise click.BadParameter(f"{text!r} is no size; write for instance 512M, 4G or 1.5T.")
    return int(float(match[1]) * 1024 ** _SIZE_UNITS[match[2]])


def duration(text: str) -> float:
    """``90``, ``90s``, ``1h 30m`` as seconds."""
    if re.fullmatch(r"\s*\d+(?:\.\d+)?\s*", text):
        return float(text)
    if not re.fullmatch(r"\s*(?:\d+(?:\.\d+)?\s*[smhd]\s*)+", text):
        raise click.BadParameter(f"{text!r} is no duration; write for instance 90, 90s, 1h 30m.")
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([smhd])", text)
    return sum(float(number) * _TIME_UNITS[unit] for number, unit in parts)


def walltime(text: str) -> timedelta:
    """A time as :meth:`exaworks.psij.JobAttributes.parse_walltime` reads it."""
    from exaworks.psij import JobAttributes

    try:
        return JobAttributes.parse_walltime(text)
    except ValueError as problem:
        raise click.BadParameter(f"{problem}.") from problem


def assignment(text: str, option: str) -> tuple[str, str | None]:
    """``NAME=VALUE`` as a pair; the value is ``None`` if there is no ``=``.

    Raises:
        click.BadParameter: the name is empty.
    """
    name, sign, value = text.partition("=")
    if not name:
        raise click.BadParameter(f"{text!r} has no name; write NAME=VALUE", param_hint=option)
    return name, value if sign else None


def absolute(path: str) -> str:
    """A path seen from the present directory; one that begins with ``~/`` is left as it is."""
    return path if path.startswith("~/") else os.path.abspath(path)


def _split(text: str, option: str, form: str, least: int) -> list[str]:
    # The colon of a URI's scheme separates nothing.
    scheme = "file:" if text.startswith("file:") else ""
    parts = text[len(scheme) :].split(":")
    if not least <= len(parts) <= 3 or not parts[0] or "" in parts[1:2]:
        raise click.BadParameter(
            f"{text!r} is not {form}; paths with colons can be given in a --file", param_hint=option
        )
    return [scheme + parts[0], *parts[1:]]


def _words(text: str, allowed: tuple[str, ...], option: str) -> list[str]:
    words = [word for word in text.lower().split(",") if word]
    for word in words:
        if word not in allowed:
            raise click.BadParameter(
                f"{word!r} is unknown; known: {', '.join(allowed)}", param_hint=option
            )
    return words


def stage_in(text: str) -> StageIn:
    """``SRC[:DST[:MODE]]``; without ``DST``, the source's own name in the job's directory.

    Raises:
        click.BadParameter: it is not of that form.
    """
    from exaworks.psij import StageIn, StagingMode

    option = "--stage-in"
    parts = _split(text, option, "SRC[:DST[:MODE]]", 1)
    source = parts[0] if parts[0].startswith("file:") else absolute(parts[0])
    target = parts[1] if len(parts) > 1 else Path(parts[0]).name
    modes = _words(parts[2] if len(parts) > 2 else "", _MODES, option)
    return StageIn(
        Path(source).expanduser() if source.startswith("~/") else source,
        target,
        StagingMode[(modes or ["copy"])[-1].upper()],
    )


def stage_out(text: str) -> StageOut:
    """``SRC:DST[:FLAGS]``, where the flags are a mode and conditions, separated by commas.

    Raises:
        click.BadParameter: it is not of that form.
    """
    from exaworks.psij import StageOut, StageOutFlags, StagingMode

    option = "--stage-out"
    parts = _split(text, option, "SRC:DST[:FLAGS]", 2)
    target = parts[1] if parts[1].startswith("file:") else absolute(parts[1])
    flags, mode = StageOutFlags.NONE, StagingMode.COPY
    for word in _words(parts[2] if len(parts) > 2 else "", (*_FLAGS, *_MODES), option):
        if word in _MODES:
            mode = StagingMode[word.upper()]
        else:
            flags |= StageOutFlags[word.replace("-", "_").upper()]
    return StageOut(
        parts[0],
        Path(target).expanduser() if target.startswith("~/") else target,
        flags,
        mode,
    )
