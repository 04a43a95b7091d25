"""Lengths of time and sizes of memory as people write them, and back."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

__all__ = ["format_duration", "format_memory", "parse_duration", "parse_memory"]

_SECONDS: Final = {"d": 86400, "h": 3600, "m": 60, "min": 60, "s": 1}
_BYTES: Final[dict[str, int]] = {
    "B": 1,
    **{f"{letter}iB": 1024 ** (power + 1) for power, letter in enumerate("KMGTP")},
    **{f"{letter}B": 1000 ** (power + 1) for power, letter in enumerate("kMGTP")},
}


def parse_duration(text: str) -> timedelta:
    """Read a length of time.

    Args:
        text: whole numbers with units (``"2d 12h"``, ``"90m"``, ``"90 min"``, ``"30s"``), or
            ``[d-]hh:mm:ss``. A bare number and ``hh:mm`` are refused: schedulers do not agree on
            what they mean.

    Raises:
        ValueError: it is none of these, or zero.
    """
    stripped = text.strip()
    clock = re.fullmatch(r"(?:(\d{1,6})-)?(\d{1,6}):(\d\d):(\d\d)", stripped, re.ASCII)
    if clock:
        days, hours, minutes, seconds = (int(group or 0) for group in clock.groups())
        found = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    elif re.fullmatch(r"(?:\d{1,9} ?(?:min|[dhms]) ?)+", stripped, re.ASCII):
        parts = re.findall(r"(\d+) ?(min|[dhms])", stripped)
        found = timedelta(seconds=sum(int(number) * _SECONDS[unit] for number, unit in parts))
    else:
        raise ValueError(f"{text!r} is no length of time; write for instance '24h', '2d', '30m'")
    if not found:
        raise ValueError(f"{text!r} is no time at all; leave the key out if there is no limit")
    return found


def format_duration(value: timedelta) -> str:
    """A length of time, in whole seconds, as :func:`parse_duration` reads it."""
    rest, parts = int(value.total_seconds()), []
    for unit in ("d", "h", "m", "s"):
        number, rest = divmod(rest, _SECONDS[unit])
        if number:
            parts.append(f"{number}{unit}")
    return " ".join(parts)


def parse_memory(text: str) -> int:
    """Read a size of memory, in bytes.

    Args:
        text: a number with a unit: ``GiB`` and the like are powers of 1024, ``GB`` and the like
            powers of 1000. ``G`` alone is refused: it is not clear which it means.

    Raises:
        ValueError: it is not of that form.
    """
    match = re.fullmatch(r"(\d{1,20}(?:\.\d{1,9})?) ?([A-Za-z]*)", text.strip(), re.ASCII)
    if match is None or match[2] not in _BYTES:
        raise ValueError(f"{text!r} is no size of memory; write for instance '512 GiB' or '512 GB'")
    whole, _, fraction = match[1].partition(".")
    size = int(whole + fraction) * _BYTES[match[2]] // int("1" + "0" * len(fraction))
    if not size:
        raise ValueError(f"{text!r} is no memory at all; leave the key out if it is not known")
    return size


def format_memory(size: int) -> str:
    """A size in bytes, exactly, as :func:`parse_memory` reads it."""
    for unit in ("PiB", "TiB", "GiB", "MiB", "KiB"):
        if size % _BYTES[unit] == 0:
            return f"{size // _BYTES[unit]} {unit}"
    return f"{size} B"
