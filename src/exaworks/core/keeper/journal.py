"""What happened since the last commit, kept where it survives the keeper: in a pipe.

The supervisor holds both ends, so what a killed keeper has written is there for the next one to
read: which process it had started for a job whose record only says that one is being started, and
how a process ended that it was about to reap. Every commit makes the content obsolete.
"""

from __future__ import annotations

import os

from .job import Job

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_SIZE = 1 << 16


class Journal:
    """The pipe, seen from the keeper."""

    def __init__(self, reader: int, writer: int) -> None:
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        self._reader = reader
        self._writer = writer
        self._used = False

    def started(self, job: Job) -> None:
        """Note the process that was started for ``job``."""
        self._write(f"+ {job.id} {job.index} {job.pid} {job.pid_start}\n")

    def ended(self, job: Job, status: int) -> bool:
        """Note the wait status of a process that is not reaped yet; False if there is no room."""
        return self._write(f"- {job.pid} {job.pid_start} {status}\n")

    def clear(self) -> None:
        """Forget everything, since it is recorded now."""
        if self._used:
            self._used = False
            self._read()

    def replay(self) -> tuple[dict[tuple[int, int], tuple[int, int]], list[tuple[int, int, int]]]:
        """Return what an earlier keeper noted, and forget it.

        Returns:
            pid and start time of the process by job id and phase, and pid, start time and wait
            status of those that ended.
        """
        started = {}
        ended = []
        for kind, *numbers in self._lines():
            if kind == "+":
                job, index, pid, start = map(int, numbers)
                started[job, index] = pid, start
            else:
                pid, start, status = map(int, numbers)
                ended.append((pid, start, status))
        return started, ended

    def _lines(self) -> Iterator[list[str]]:
        for line in self._read().decode("ascii").splitlines():
            yield line.split()

    def _read(self) -> bytes:
        try:
            return os.read(self._reader, _SIZE)
        except BlockingIOError:
            return b""

    def _write(self, line: str) -> bool:
        # Less than PIPE_BUF bytes are written as a whole or not at all.
        try:
            os.write(self._writer, line.encode("ascii"))
        except BlockingIOError:
            return False
        self._used = True
        return True
