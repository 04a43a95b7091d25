"""Ending jobs: signals to all processes of a job, however they have hidden."""

from __future__ import annotations

import signal

from .core import KILL, TERM, Core
from .job import Job
from .processes import LINUX, Snapshot, send, send_group


class _Hunt:
    """What has been seen of a job whose processes are being ended."""

    __slots__ = ("asked", "groups", "sessions")

    def __init__(self, root: int) -> None:
        self.sessions = {root}
        self.groups = {root}
        self.asked: set[tuple[int, int]] = set()


class Endings:
    """Serves the wishes ``signals`` and ``groups`` of the core."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._hunts: dict[int, _Hunt] = {}

    def serve(self, now: float) -> None:
        """Send the signals that the core wants, with one look at all processes for all of them."""
        core = self._core
        if not core.signals and not core.groups:
            return
        signals, core.signals = core.signals, []
        groups, core.groups = core.groups, []
        snapshot = Snapshot()
        second: Snapshot | None = None
        for job, number in signals:
            if job.kill:
                alive = self._send(snapshot, job, number)
                if not alive and job.root_gone:
                    # One look may miss who forks all the time; it takes two to call it the end.
                    second = second or Snapshot()
                    alive = self._send(second, job, number)
                core.tree(now, job, alive)
            if not job.kill:
                self._hunts.pop(job.id, None)
        for group, key in groups:
            self.end_group(group, key, KILL, snapshot)

    def end_group(
        self, group: int, key: str, number: int, snapshot: Snapshot | None = None
    ) -> bool:
        """Send a signal to what belongs to job ``key`` in a group; return whether there was any."""
        if not LINUX:
            return send_group(group, number)
        snapshot = snapshot or Snapshot()
        marked = {process.pid for process in snapshot.marked.get(key, ())}
        members = snapshot.groups.get(group, ())
        return send([process for process in members if process.pid in marked], number)

    def _send(self, snapshot: Snapshot, job: Job, number: int) -> bool:
        if job.pid is None:
            return False
        if not LINUX:
            return send_group(job.pid, number)
        hunt = self._hunts.get(job.id)
        if hunt is None:
            hunt = self._hunts[job.id] = _Hunt(job.pid)
        root = None if job.root_gone else job.pid
        found = snapshot.tree(job.key, root, hunt.asked, hunt.sessions)
        asked = [process for process in found if (process.pid, process.start) in hunt.asked]
        new = [process for process in found if (process.pid, process.start) not in hunt.asked]
        hunt.asked.update((process.pid, process.start) for process in new)
        if number == TERM:
            there = send(asked, 0)
            if send(new, TERM):
                send(new, signal.SIGCONT)
                there = True
            return there
        # A group is killed as one, so that a member which forks meanwhile does not escape; also
        # one of which nothing is seen, since a look at /proc misses whoever is born during it.
        inside = {process.pid for process in found}
        hunt.groups.update(process.group for process in found)
        for group in hunt.groups:
            if all(member.pid in inside for member in snapshot.groups.get(group, ())):
                send_group(group, number)
        return send(found, number)
