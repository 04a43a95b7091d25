"""The keeper process: the loop that serves clients, processes, timers and records.

Each turn reads what has happened, lets the core decide, writes all changed records in one commit,
only then tells the clients, and only then starts the next few processes, whose records already
say that they are being started.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import select
import signal
import socket
import sqlite3
import time

from exaworks.core.spawning import LaunchError, NoRoom

from . import scope
from .core import Core
from .endings import Endings
from .job import RUNNING, Job
from .joblogs import JobLogs
from .log import log
from .orphans import Orphans, Supervision
from .processes import LINUX, name_process, reap_child, send_group, ticks
from .protocol import ACTIVE, FINAL, STAGE_IN
from .recovery import identity, recover
from .requests import Requests
from .server import Connection, Listener, Watchers
from .spawn import Spawner
from .store import StoreUnavailable, open_store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

DONE = 0
CANNOT_START = 3

BATCH = 16
"""Processes started in one turn, so that clients and endings are served in between."""
STORE_RETRY = 1.0
SWEEP_EVERY = 3600.0
FIRST_CLIENT = 2.0
"""Seconds that a new keeper waits for its first client, on top of its idle time."""
_RSS_UNIT = 1024 if LINUX else 1


def main(folder: str, idle: float, supervision: Supervision) -> int:
    """Be the keeper of the scope folder ``folder``; return the exit code.

    ``idle`` are the seconds to stay with nothing to do.
    """
    name_process("exaworks-keeper")
    try:
        daemon = Daemon(folder, idle, supervision)
    except (OSError, sqlite3.OperationalError) as error:
        log(f"cannot start in {folder}: {error}")
        return CANNOT_START
    daemon.run()
    return DONE


class Daemon:
    """The keeper of one scope folder."""

    def __init__(self, folder: str, idle: float, supervision: Supervision) -> None:
        now = time.monotonic()
        self.folder = folder
        self.journal = supervision.journal
        self.idle = idle
        self.supervisor = supervision.pid
        self.core = Core()
        self.store, jobs = open_store(os.path.join(folder, scope.DATABASE), self.core.dirty)
        self.watchers = Watchers()
        self.endings = Endings(self.core)
        self.logs = JobLogs(os.path.join(folder, scope.JOB_LOGS))
        self.logs.sweep(time.time())
        self.spawner = Spawner(self.logs)
        self.requests = Requests(self)
        self.connections: dict[int, Connection] = {}
        self._backlog: dict[int, Connection] = {}
        self._by_pid: dict[int, Job] = {}
        self._stopping = False
        # Whoever has it started is not here yet.
        self._busy_since = now + FIRST_CLIENT
        self._retry_commit = 0.0
        self._sweep_at = now + SWEEP_EVERY
        self._poll = select.poll()

        self._wakeup, self._wakeup_writer = reader, writer = socket.socketpair()
        reader.setblocking(False)
        writer.setblocking(False)
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _ignore)
        signal.signal(signal.SIGTERM, self._stop)
        self._poll.register(reader.fileno(), select.POLLIN)
        self.orphans = Orphans(supervision, self._poll, self._orphan_ended)

        with scope.SocketAddress(folder) as address:
            self._listener = Listener(address)
        self._poll.register(self._listener.socket.fileno(), select.POLLIN)

        self._take_over(jobs, supervision, now)
        if jobs:
            log(f"{len(jobs)} jobs taken over, {len(self.core.jobs)} of them still live")
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)

    def _take_over(self, jobs: list[Job], supervision: Supervision, now: float) -> None:
        """Take over the recorded ``jobs`` with all that is known of them, and record that."""
        facts = identity(self.supervisor)
        same_machine = self.store.fact("machine") == facts["machine"]
        same_supervisor = same_machine and self.store.fact("supervisor") == facts["supervisor"]
        records = self.journal.read()
        for job, found in recover(self.core, jobs, now, records, same_machine, same_supervisor):
            self.orphans.watch(job, found)
        self.orphans.take(supervision.reported)
        for pid, start, status in records.ended:
            self.orphans.ended(pid, start, status)
        self._settle(now)
        self.store.commit()
        self.journal.clear()
        for name, value in facts.items():
            self.store.remember(name, value)

    def run(self) -> None:
        """Serve until there is nothing to do for a while, or SIGTERM."""
        core = self.core
        while not self._stopping:
            for fd, events in self._poll.poll(self._timeout()):
                self._serve(fd, events)
            backlog, self._backlog = self._backlog, {}
            for connection in backlog.values():
                self._serve_requests(connection)
            now = time.monotonic()
            self._reap(now)
            self.orphans.look(now)
            core.tick(now)
            self._settle(now)
            batch = core.startable(now, BATCH) if now >= self._retry_commit else []
            mark = ticks()
            for job in batch:
                job.pid_start = mark
            if self._commit(now):
                self._flush()
                self._sweep(now)
                if batch:
                    self._launch(batch)
            else:
                for job in reversed(batch):
                    core.deferred(now, job)
            if self._leave(now):
                break
        now = time.monotonic()
        self._reap(now)
        self._settle(now)
        with contextlib.suppress(StoreUnavailable):
            self.store.commit()
        self._flush()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.folder, scope.SOCKET))
        self._listener.close()
        self.store.close()

    # -- the parts of a turn ----------------------------------------------------------------

    def _timeout(self) -> float:
        """Return the milliseconds to wait for something to happen."""
        now = time.monotonic()
        if now < self._retry_commit:
            return 1000.0 * (self._retry_commit - now)
        if self.store.pending or self.core.can_start(now):
            return 0.0
        if any(connection.ready for connection in self._backlog.values()):
            return 0.0
        due = [self.core.next_timer(), self.orphans.next_look(), self._sweep_at]
        if not (self.connections or self.core.jobs or self.core.pending_groups):
            due.append(self._busy_since + self.idle)
        soonest = min(when for when in due if when is not None)
        return max(0.0, 1000.0 * (soonest - now)) + 0.5

    def _serve(self, fd: int, events: int) -> None:
        connection = self.connections.get(fd)
        if connection is not None:
            if events & ~select.POLLOUT:
                connection.read()
                self._serve_requests(connection)
        elif fd == self._wakeup.fileno():
            with contextlib.suppress(BlockingIOError):
                self._wakeup.recv(4096)
        elif fd == self._listener.socket.fileno():
            self._accept()
        else:
            self.orphans.serve(fd)

    def _serve_requests(self, connection: Connection) -> None:
        while connection.ready:
            self.requests.serve(connection, connection.requests.popleft())
        if connection.gone and not connection.requests:
            self._drop(connection)
        elif connection.requests:
            self._backlog[connection.socket.fileno()] = connection

    def _accept(self) -> bool:
        any_came = False
        while (connection := self._listener.accept()) is not None:
            any_came = True
            fd = connection.socket.fileno()
            self.connections[fd] = connection
            connection.polled = select.POLLIN
            self._poll.register(fd, select.POLLIN)
        return any_came

    def _drop(self, connection: Connection) -> None:
        fd = connection.socket.fileno()
        self._poll.unregister(fd)
        del self.connections[fd]
        self._backlog.pop(fd, None)
        self.watchers.forget(connection)
        connection.socket.close()
        self._busy_since = time.monotonic()

    def _reap(self, now: float) -> None:
        """Take in the processes that have ended, each noted in the journal before it is reaped."""
        while (ended := reap_child(self._note_end)) is not None:
            pid, status, usage = ended
            job = self._by_pid.pop(pid, None)
            if job is not None:
                # A process's peak begins with that of the keeper it was spawned by.
                rss = usage.ru_maxrss
                if rss <= resource.getrusage(resource.RUSAGE_SELF).ru_maxrss:
                    rss = 0
                left = not job.kill and send_group(pid, signal.SIGTERM)
                self._ended(now, job, status, usage.ru_utime + usage.ru_stime, rss, left)

    def _note_end(self, pid: int, status: int) -> bool:
        job = self._by_pid.get(pid)
        return job is None or self.journal.ended(job, status)

    def _orphan_ended(self, job: Job, status: int | None, cpu: float, rss: int) -> None:
        now = time.monotonic()
        if job.id not in self.core.jobs or job.stage != RUNNING:
            return
        if status is None:
            self.core.lost(now, job, "its exit status was lost with the keeper that started it")
        else:
            # It may have been reaped long ago, and its number have passed to another group.
            group = job.pid or 0
            left = not job.kill and send_group(group, 0)
            left = left and self.endings.end_group(group, job.key, signal.SIGTERM)
            self._ended(now, job, status, cpu, rss, left)

    def _ended(self, now: float, job: Job, status: int, cpu: float, rss: int, left: bool) -> None:
        job.cpu += cpu
        job.maxrss = max(job.maxrss, rss * _RSS_UNIT)
        message = None
        if status and job.phase_writes_log:
            message = self.logs.tail(job.key)
        self.core.exited(now, job, status, message, left)

    def _settle(self, now: float) -> None:
        """Do what the core wants, until it wants nothing more."""
        core = self.core
        while core.signals or core.groups or core.changed:
            self.endings.serve(now)
            changed, core.changed = core.changed, []
            if changed:
                self._tell(changed)

    def settle(self) -> None:
        """Bring the records up to date, for a request that reads them.

        Raises:
            StoreUnavailable: not possible now.
        """
        self._settle(time.monotonic())
        self.store.flush()

    def _tell(self, changed: list[tuple[Job, str]]) -> None:
        now = time.time()
        for job, state in changed:
            if state in FINAL:
                job.ended = now
                detail: dict[str, Any] | None = {
                    "exit_code": job.exit_code,
                    "signal": job.signal,
                    "reason": job.reason,
                    "message": job.message,
                    "cpu": job.cpu,
                    "maxrss": job.maxrss or None,
                }
                if not job.failed and job.may_have_log:
                    self.logs.drop(job.key)
            else:
                detail = None
                if state == ACTIVE:
                    job.active = now
            self.watchers.tell(job.id, [job.id, state, now, detail], state in FINAL)

    def _commit(self, now: float) -> bool:
        if now < self._retry_commit:
            return False
        try:
            self.store.commit()
        except StoreUnavailable as error:
            log(f"cannot write {scope.DATABASE} in {self.folder}: {error}; nothing is started")
            self._retry_commit = now + STORE_RETRY
            return False
        self.journal.clear()
        return True

    def _sweep(self, now: float) -> None:
        """Forget, now and then, what nobody needs any more."""
        if now >= self._sweep_at:
            self._sweep_at = now + SWEEP_EVERY
            self.logs.sweep(time.time())
            with contextlib.suppress(StoreUnavailable):
                self.store.sweep(time.time(), self.requests.cached())

    def _flush(self) -> None:
        for fd, connection in list(self.connections.items()):
            if not connection.write():
                self._drop(connection)
                continue
            wanted = 0 if connection.requests or connection.gone else select.POLLIN
            if connection.out:
                wanted |= select.POLLOUT
            if wanted != connection.polled:
                connection.polled = wanted
                self._poll.modify(fd, wanted)

    def _launch(self, batch: list[Job]) -> None:
        core, spawner = self.core, self.spawner
        for at, job in enumerate(batch):
            outcome = None
            if job.states[job.index] not in (STAGE_IN, ACTIVE):
                outcome = job.outcome
            try:
                environment = self.requests.environment(job.env)
                if environment is None:
                    raise LaunchError("its environment is no longer known to the keeper")
                self.journal.starting(job)
                pid, start = spawner.spawn(
                    job.key, json.loads(job.spec), job.index, environment, outcome
                )
            except NoRoom as error:
                self.journal.not_started(job)
                log(f"no room for another process: {error}; {len(batch) - at} jobs wait")
                now = time.monotonic()
                for later in reversed(batch[at:]):
                    core.deferred(now, later)
                break
            except LaunchError as error:
                self.journal.not_started(job)
                core.spawn_failed(job, error.exit_code, str(error))
            else:
                if job.started is None:
                    job.started = time.time()
                self._by_pid[pid] = job
                core.spawned(time.monotonic(), job, pid, start)
                self.journal.started(job)
        spawner.rest()
        self._settle(time.monotonic())

    def _leave(self, now: float) -> bool:
        """Whether there was nothing to do for long enough."""
        if self.connections or self.core.jobs or self.core.pending_groups:
            self._busy_since = now
            return False
        return now - self._busy_since >= self.idle and not self._accept()

    # -- the rest ---------------------------------------------------------------------------

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True

    def stop(self) -> None:
        """Leave after this turn."""
        self._stopping = True

    def statistics(self) -> dict[str, Any]:
        """Return what a client may want to know of this process."""
        jobs = self.core.jobs.values()
        return {
            "pid": os.getpid(),
            "supervisor": self.supervisor,
            "folder": self.folder,
            "live": len(jobs),
            "running": sum(job.stage == RUNNING for job in jobs),
        }


def _ignore(number: int, frame: FrameType | None) -> None:
    """Take SIGCHLD, so that the wake-up descriptor is written."""
