"""What the tests of tasks share."""

from __future__ import annotations

from pathlib import Path

WAIT = 60
"""Seconds that anything may take."""


def alive(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def note(path: Path, text: str) -> None:
    """Append a line to a file."""
    with open(path, "a") as file:
        file.write(f"{text}\n")


def numbers(path: Path) -> list[int]:
    """The numbers in a file; none if it is not there."""
    return [int(word) for word in path.read_text().split()] if path.exists() else []
