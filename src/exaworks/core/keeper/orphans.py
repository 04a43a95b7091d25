"""Jobs whose process is not our child, since an earlier keeper started it: how do they end?

While the supervisor lives, it tells through a pipe. If it was killed too, the processes belong to
init; then the kernel tells through a pidfd that one has ended and, if it is new enough, how.
"""

from __future__ import annotations

import os
import select

from .job import Job
from .journal import Journal
from .processes import Process, exit_status, inspect, started_at

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MAX_PIDFDS = 200
"""Descriptors spent on orphans of init; more orphans than that are looked at now and then."""
LOOK_EVERY = 1.0


class Supervision:
    """What each keeper gets from its supervisor."""

    __slots__ = ("journal", "pid", "pipe", "reported")

    def __init__(self, pid: int, pipe: int, reported: Iterable[bytes], journal: Journal) -> None:
        """Put it together.

        ``pipe`` is what it tells the ends of orphans through, ``reported`` what it has told
        earlier keepers, and ``journal`` the memory that it holds for us.
        """
        self.pid = pid
        self.pipe = pipe
        self.reported = reported
        self.journal = journal


class Orphans:
    """Watches adopted processes and calls ``ended(job, status or None, cpu, maxrss)``."""

    def __init__(
        self,
        supervision: Supervision,
        poll: select.poll,
        ended: Callable[[Job, int | None, float, int], None],
    ) -> None:
        self._pipe = supervision.pipe
        self._supervisor = supervision.pid
        self._poll = poll
        self._ended = ended
        self._partial = b""
        self._expected: dict[int, list[Job]] = {}
        self._pidfds: dict[int, Job] = {}
        self._unwatched: dict[int, Job] = {}
        self._look_at = 0.0
        poll.register(self._pipe, select.POLLIN)

    def watch(self, job: Job, process: Process | None) -> None:
        """Watch the process of ``job``; None if it has ended and the supervisor knows how."""
        if job.pid is None:
            return
        if process is None or (process.parent == self._supervisor and self._pipe >= 0):
            self._expected.setdefault(job.pid, []).append(job)
        else:
            self._watch_pidfd(job)

    def ended(self, pid: int, start: int, status: int, cpu: float = 0.0, rss: int = 0) -> None:
        """Take in how a process ended, if it is one that is waited for."""
        for job in self._expected.get(pid, ()):
            if started_at(start, job.pid_start):
                self._forget(job)
                self._ended(job, status, cpu, rss)
                return

    def next_look(self) -> float | None:
        """Return when :meth:`look` is due, None for never."""
        return self._look_at if self._unwatched else None

    def look(self, now: float) -> None:
        """Look, if it is time, after the processes for which no descriptor was to be had."""
        if not self._unwatched or now < self._look_at:
            return
        self._look_at = now + LOOK_EVERY
        for job in list(self._unwatched.values()):
            process = inspect(job.pid or 0)
            if process is None or not started_at(process.start, job.pid_start):
                del self._unwatched[job.id]
                self._ended(job, None, 0.0, 0)
            elif process.dead:
                del self._unwatched[job.id]
                self._ended(job, process.status, 0.0, 0)
            elif len(self._pidfds) < MAX_PIDFDS:
                del self._unwatched[job.id]
                self._watch_pidfd(job)

    def serve(self, fd: int) -> None:
        """Serve a descriptor that the poll object reported."""
        if fd == self._pipe:
            self._read_pipe()
            return
        job = self._pidfds.pop(fd, None)
        if job is None or job.pid is None:
            return
        status = exit_status(fd, job.pid)
        self._poll.unregister(fd)
        os.close(fd)
        self._ended(job, status, 0.0, 0)

    def _forget(self, job: Job) -> None:
        jobs = self._expected.get(job.pid or 0, [])
        if job in jobs:
            jobs.remove(job)
            if not jobs:
                del self._expected[job.pid or 0]

    def _watch_pidfd(self, job: Job) -> None:
        pid = job.pid or 0
        fd = -1
        if len(self._pidfds) < MAX_PIDFDS and hasattr(os, "pidfd_open"):
            try:
                fd = os.pidfd_open(pid)
            except OSError:
                fd = -1
        process = inspect(pid)
        if fd < 0 or process is None or not started_at(process.start, job.pid_start):
            if fd >= 0:
                os.close(fd)
            self._unwatched[job.id] = job
            return
        self._pidfds[fd] = job
        self._poll.register(fd, select.POLLIN)

    def _read_pipe(self) -> None:
        try:
            data = os.read(self._pipe, 1 << 16)
        except BlockingIOError:
            return
        if not data:
            # The supervisor is gone; what it would have told is now up to the kernel.
            self._poll.unregister(self._pipe)
            os.close(self._pipe)
            self._pipe = -1
            expected, self._expected = self._expected, {}
            for jobs in expected.values():
                for job in jobs:
                    self._watch_pidfd(job)
            return
        *lines, self._partial = (self._partial + data).split(b"\n")
        self.take(lines)

    def take(self, lines: Iterable[bytes]) -> None:
        """Take in what the supervisor told: pid, start, wait status, CPU seconds, peak memory."""
        for line in lines:
            pid, start, status, cpu, rss = line.split()
            self.ended(int(pid), int(start), int(status), float(cpu), int(rss))
