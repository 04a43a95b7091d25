"""What happened since the last commit, kept where it survives the keeper: in shared memory.

The supervisor holds the memory, so what a killed keeper has written is there for the next one to
read: which processes it was about to start, which it had started for jobs whose records only say
that they are being started, and how a process ended that it was about to reap. Every commit makes
the content obsolete; until then it can be read any number of times.
"""

from __future__ import annotations

import mmap

from .job import Job
from .processes import ticks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_SIZE = 1 << 18
_RESERVE = 1 << 16
"""Bytes that ends leave free for starts, of which there are only a few before each commit."""


class Records:
    """What the journal says."""

    def __init__(self) -> None:
        self.intended: dict[tuple[int, int], int] = {}
        """Job id and phase of each start that may have happened, with the time in ticks."""
        self.started: dict[tuple[int, int], tuple[int, int]] = {}
        """Job id and phase of each process that was started, with its pid and start time."""
        self.ended: list[tuple[int, int, int]] = []
        """Pid, start time and wait status of processes that were reaped or about to be."""
        self.inherited: list[tuple[int, int, str]] | None = None
        """Pid, start time and job key (or "-") of the supervisor's youngest children.

        None if nobody has looked. Complete for those born since the last intended start.
        """

    @property
    def uncertain(self) -> dict[tuple[int, int], int]:
        """The intended starts of which it is not known whether they happened."""
        return {at: mark for at, mark in self.intended.items() if at not in self.started}


class Journal:
    """The memory, made by the supervisor and written by one keeper after the other."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _SIZE)
        self._end = 0

    def starting(self, job: Job) -> None:
        """Note that a process is about to be started for ``job``."""
        self._write("?", f"{job.id} {job.index} {ticks()}")

    def not_started(self, job: Job) -> None:
        """Note that it could not be started."""
        self._write("!", f"{job.id} {job.index}")

    def started(self, job: Job) -> None:
        """Note the process that was started for ``job``."""
        self._write("+", f"{job.id} {job.index} {job.pid} {job.pid_start}")

    def ended(self, job: Job, status: int) -> bool:
        """Note the wait status of a process that is not reaped yet; False if there is no room."""
        if self._end > _SIZE - _RESERVE:
            return False
        self._write("-", f"{job.pid} {job.pid_start} {status}")
        return True

    def inherited(self, children: list[tuple[int, int, str]]) -> None:
        """Note children of the supervisor, in place of a keeper that is dead."""
        for pid, start, key in children:
            self._write("c", f"{pid} {start} {key}")
        self._write("=", "")

    def clear(self) -> None:
        """Forget everything, since it is recorded now."""
        if self._end:
            self._memory[0] = 0
            self._end = 0

    def read(self) -> Records:
        """Return what was noted since the last commit, also by an earlier keeper."""
        records = Records()
        children: list[tuple[int, int, str]] = []
        for kind, *words in self._lines():
            if kind == "c":
                children.append((int(words[0]), int(words[1]), words[2]))
                continue
            numbers = [int(word) for word in words]
            if kind == "?":
                records.intended[numbers[0], numbers[1]] = numbers[2]
            elif kind == "!":
                records.intended.pop((numbers[0], numbers[1]), None)
            elif kind == "+":
                records.started[numbers[0], numbers[1]] = numbers[2], numbers[3]
            elif kind == "-":
                records.ended.append((numbers[0], numbers[1], numbers[2]))
            else:
                records.inherited = children
        return records

    def _lines(self) -> Iterator[list[str]]:
        """Yield the words of each line; afterwards what is written comes behind the last."""
        self._end = self._memory.find(b"\0")
        for line in self._memory[: self._end].decode("ascii").splitlines():
            yield line.split()

    def _write(self, kind: str, text: str) -> None:
        # The first byte comes last: whoever is killed before it has written nothing.
        end = self._end
        data = f" {text}\n\0".encode("ascii")
        self._memory[end + 1 : end + 1 + len(data)] = data
        self._memory[end] = ord(kind)
        self._end = end + len(data)
