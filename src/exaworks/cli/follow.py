"""Showing what a job writes into its files, while it writes."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from exaworks.psij import Job, JobStatus

__all__ = ["FileFollower", "follow", "followers", "tail"]

_CHUNK: Final = 1 << 16
_SHORTEST: Final = 0.02
_LONGEST: Final = 0.25


class FileFollower:
    """Copies a file that grows, byte by byte as it is.

    Attributes:
        copied: how many bytes have been copied.
    """

    def __init__(self, path: Path, target: BinaryIO, fresh: bool = False) -> None:
        """Follow a file that may not be there yet.

        Args:
            path: the file.
            target: where to copy it to.
            fresh: what is in the file at present is old and is not shown.
        """
        self._path = path
        self._target = target
        self._file: int | None = None
        self._position = 0
        self.copied = 0
        self._stale = _signature(path) if fresh else None

    def start_at(self, position: int) -> None:
        """Leave out the bytes before ``position``."""
        self._position = position

    def pump(self) -> bool:
        """Copy what is new; returns whether there was anything."""
        if not self._ready():
            return False
        assert self._file is not None
        before = self.copied
        while data := os.pread(self._file, _CHUNK, self._position):
            self._position += len(data)
            self.copied += self._target.write(data)
        if self.copied == before:
            return False
        self._target.flush()
        return True

    def finish(self) -> None:
        """Copy the rest. The file is opened anew, which makes NFS ask for its present size."""
        self.close()
        self.pump()
        self.close()

    def close(self) -> None:
        """Close the file. Further calls of :meth:`pump` open it again."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _ready(self) -> bool:
        now = _signature(self._path)
        if now is None or now == self._stale:
            return False
        self._stale = None
        if self._file is not None and os.fstat(self._file).st_ino != now[0]:
            self.close()
            self._position = 0
        if now[1] < self._position:  # the job was started again and has emptied its file
            self._position = 0
        if self._file is None:
            try:
                self._file = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)
            except OSError:
                return False
        return True


def _signature(path: Path) -> tuple[int, int, int] | None:
    """Inode, size and time of change of a regular file; ``None`` for anything else."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def followers(stdout: Path | None, stderr: Path | None, fresh: bool = False) -> list[FileFollower]:
    """Followers that copy a job's output to ours, each stream to its own.

    Args:
        stdout: the file of its standard output.
        stderr: the file of its standard error. If it is the same, it is shown once.
        fresh: see :class:`FileFollower`.
    """
    made = []
    if stdout is not None:
        made.append(FileFollower(stdout, sys.stdout.buffer, fresh))
    if stderr is not None and stderr != stdout:
        made.append(FileFollower(stderr, sys.stderr.buffer, fresh))
    return made


def follow(job: Job, files: Sequence[FileFollower]) -> Iterable[JobStatus]:
    """Copy a job's output until it ends.

    Yields:
        the job's status, several times a second, and at last the final one, when all has been
        copied.
    """
    delay = _SHORTEST
    while (status := job.status) and not status.final:
        copied = [file.pump() for file in files]
        yield status
        delay = _SHORTEST if any(copied) else min(delay * 1.5, _LONGEST)
        job.wait(delay)
    for file in files:
        file.finish()
    yield status


def tail(path: Path, lines: int) -> tuple[bytes, int]:
    """The last lines of a file, and the position of its end.

    Args:
        path: the file.
        lines: how many; a last one without a newline counts.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        size, found = 0, b""
        while size < end and found.count(b"\n", 0, -1) < lines:
            size = min(end, max(_CHUNK, size * 2))
            file.seek(end - size)
            found = file.read(size)
    start = len(found) - 1 if lines else len(found)
    for _ in range(lines):
        start = found.rfind(b"\n", 0, start)
        if start < 0:
            break
    return found[start + 1 :], end
