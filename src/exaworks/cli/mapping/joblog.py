"""The log of tasks that have ended, in the format of GNU parallel, and what to skip because of it.

A line is written with one call of the system as soon as its task has ended. If the program is
killed while it does that, the line has no end; it is taken as not written.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from typing import Final

from exaworks.cli.errors import USAGE, Problem

__all__ = ["Finished", "JobLog"]

_HEADER: Final = (
    b"Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n"
)  # fmt: skip
_COLUMNS: Final = 9


class JobLog:
    """A log to write to."""

    def __init__(self, path: str, append: bool) -> None:
        """Open or make it.

        Args:
            path: the file.
            append: go on after what is in it; a line without an end is removed.

        Raises:
            OSError: that is not possible.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(path, flags if append else flags | os.O_TRUNC, 0o666)
        os.ftruncate(self._fd, _whole(self._fd))
        if not os.fstat(self._fd).st_size:
            self._put(_HEADER)

    def write(
        self,
        seq: int,
        host: str,
        started: float,
        seconds: float,
        received: int,
        exit_value: int,
        signal: int,
        command: str,
    ) -> None:
        """Note that a task has ended.

        Args:
            seq: its number.
            host: where it ran.
            started: when it began, in seconds since the epoch.
            seconds: how long it ran.
            received: bytes that it printed.
            exit_value: its exit code; -1: it has failed without one.
            signal: the signal that ended it, or 0.
            command: what was run.
        """
        cells = (
            seq, host, f"{started:.3f}", f"{seconds:10.3f}", 0, received, exit_value, signal, ""
        )  # fmt: skip
        line = "\t".join(map(str, cells))
        self._put(line.encode() + _in_a_line(command) + b"\n")

    def _put(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._fd, data) :]

    def close(self) -> None:
        """Close it."""
        os.close(self._fd)


class Finished:
    """The tasks that a log tells of."""

    def __init__(self, path: str, failed_too: bool) -> None:
        """Read a log; one that does not exist tells of nothing.

        Args:
            path: the file.
            failed_too: whether those that have failed are not to be run again.

        Raises:
            Problem: it is no such log.
        """
        self._path = path
        self._failed_too = failed_too
        self._tasks: dict[int, tuple[int, bool]] = {}  # check sum of the command, has ended well
        try:
            with open(path, "rb") as file:
                self._read(file)
        except FileNotFoundError:
            pass
        except OSError as problem:
            text = f"The log {path} cannot be read: {problem.strerror}."
            raise Problem(text, exit_code=USAGE) from problem

    def _read(self, lines: Iterator[bytes]) -> None:
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):
                return  # the program was killed while it wrote this
            if number == 1:
                if line != _HEADER:
                    raise self._bad(number, "does not have its header")
                continue
            cells = line[:-1].split(b"\t", _COLUMNS - 1)
            try:
                seq, exit_value, signal = int(cells[0]), int(cells[6]), int(cells[7])
                command = cells[8]
            except (ValueError, IndexError):
                raise self._bad(number, "is not of its form") from None
            self._tasks[seq] = zlib.crc32(command), not exit_value and not signal

    def _bad(self, number: int, what: str) -> Problem:
        return Problem(
            f"{self._path} is no log of tasks: line {number} {what}.",
            "Name another file with --joblog, or remove this one.",
            USAGE,
        )

    def has(self, seq: int, command: str) -> bool:
        """Whether a task need not be run.

        Raises:
            Problem: the log names another command for this number.
        """
        found = self._tasks.get(seq)
        if found is None:
            return False
        if found[0] != zlib.crc32(_in_a_line(command)):
            raise Problem(
                f"{self._path} tells of another command number {seq} than the present one, "
                f"{command!r}.",
                "Give the same command and arguments as before, or another --joblog.",
                USAGE,
            )
        return found[1] or self._failed_too


def _whole(fd: int) -> int:
    """The length of a file without the line that has no end."""
    size = end = os.fstat(fd).st_size
    while end:
        begin = max(0, end - (1 << 16))
        at = os.pread(fd, end - begin, begin).rfind(b"\n")
        if at >= 0:
            return begin + at + 1
        end = begin
    return 0 if size else size


def _in_a_line(command: str) -> bytes:
    # As GNU parallel does it.
    return os.fsencode(command).replace(b"\n", b"\0")
