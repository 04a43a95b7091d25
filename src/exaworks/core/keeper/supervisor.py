"""The keeper's parent: restarts it when it was killed and inherits the orphans of its jobs.

Linux gives the processes whose parent died to the nearest "subreaper", which is this process. So
when the keeper is killed, its running jobs become children of the supervisor, and their exit
statuses are not lost: the supervisor hands the status of every orphan to the keeper through a pipe
that outlives the keeper, and remembers it for the next one if this keeper is killed, too.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from collections import deque

from . import daemon
from .journal import Journal
from .log import log, log_exception
from .orphans import Supervision
from .processes import LINUX, inspect, marker, name_process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

_PR_SET_CHILD_SUBREAPER = 36

QUICK = 10.0
"""A keeper that lives shorter than this many seconds is started again only after a pause."""
MAX_PAUSE = 30.0
MAX_QUICK_CRASHES = 10
_REMEMBERED = 8192
"""Lines kept for the next keeper: more than the pipe holds and a keeper reads before it commits."""
_MAX_YOUNG = 200


def main(arguments: list[str]) -> None:
    """Supervise the keeper of a scope folder until that has nothing more to do.

    ``arguments``: the scope folder, the number of the descriptor that holds its lock, and the
    seconds that the keeper stays without anything to do.
    """
    folder, lock, idle = arguments
    os.umask(0o077)
    os.set_inheritable(int(lock), False)
    name_process("exaworks-superv")
    Supervisor(folder, float(idle)).run()


class Supervisor:
    """Runs keepers, one after the other, until one ends by itself."""

    def __init__(self, folder: str, idle: float) -> None:
        self._folder = folder
        self._idle = idle
        self._reader, self._writer = os.pipe()
        self._journal = Journal()
        self._reported: deque[bytes] = deque(maxlen=_REMEMBERED)
        self._inherits = False
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._keeper = 0
        self._began = 0.0
        self._crashes = 0

    def run(self) -> None:
        """Do it; returns when the keeper has ended by itself or cannot be kept running."""
        self._inherits = become_subreaper()  # before there is anything to inherit
        self._start()
        signal.signal(signal.SIGTERM, self._stop)
        while self._keeper and not LINUX:
            self._keeper_ended(os.waitpid(self._keeper, 0)[1])
        while self._keeper:
            # Look without reaping: the keeper's end is served before that of any orphan, since
            # it takes a keeper to empty the pipe.
            waiting = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
            if waiting is None or self._look_after_keeper():
                continue
            ended = inspect(waiting.si_pid)
            started = ended.start if ended else 0
            pid, status, usage = os.wait4(waiting.si_pid, 0)
            cpu = usage.ru_utime + usage.ru_stime
            self._forward(f"{pid} {started} {status} {cpu:.6f} {usage.ru_maxrss}\n".encode())

    def _start(self) -> None:
        supervisor = os.getpid()
        sys.stderr.flush()
        self._began = time.monotonic()
        self._keeper = os.fork()
        if self._keeper == 0:
            code = 1
            try:
                os.close(self._writer)
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                supervision = Supervision(supervisor, self._reader, self._reported, self._journal)
                code = daemon.main(self._folder, self._idle, supervision)
            except BaseException:
                log_exception()
            finally:
                os._exit(code)

    def _look_after_keeper(self) -> bool:
        """Reap the keeper if it has ended; return whether it had."""
        pid, status = os.waitpid(self._keeper, os.WNOHANG)
        if pid:
            self._keeper_ended(status)
        return bool(pid)

    def _keeper_ended(self, status: int) -> None:
        """Start the next keeper if this one did not end of itself."""
        code = os.waitstatus_to_exitcode(status)
        if code in (daemon.DONE, daemon.CANNOT_START):
            self._keeper = 0
            return
        self._note_inherited()
        quick = time.monotonic() - self._began < QUICK
        self._crashes = self._crashes + 1 if quick else 0
        if self._crashes >= MAX_QUICK_CRASHES:
            log(f"the keeper ended {self._crashes} times at once; giving up")
            self._keeper = 0
            return
        log(f"the keeper ended unexpectedly ({code}); starting it again")
        if self._crashes > 1:
            time.sleep(min(MAX_PAUSE, 0.1 * 2**self._crashes))
        # All of it is remembered, and half a line would be of no use to the next keeper.
        with contextlib.suppress(BlockingIOError):
            os.read(self._reader, 1 << 20)
        self._start()

    def _note_inherited(self) -> None:
        """Note our youngest children, if the dead keeper did not say whether it started a job.

        None of its children has been reaped since it died: that is served first.
        """
        records = self._journal.read()
        begun = min(records.uncertain.values(), default=None)
        if records.inherited is None and self._inherits and begun is not None:
            children = young_children(begun)
            if len(children) <= _MAX_YOUNG:
                self._journal.inherited(children)

    def _forward(self, line: bytes) -> None:
        self._reported.append(line)
        while True:
            try:
                os.write(self._writer, line)
                return
            except BlockingIOError:
                select.select([], [self._writer], [], 0.2)
                if self._look_after_keeper() and not self._keeper:
                    return

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self._keeper:
            os.kill(self._keeper, number)


def young_children(born: int) -> list[tuple[int, int, str]]:
    """Return our children born at ``born`` ticks or later: pid, start, job key ("-": not known)."""
    me = os.getpid()
    found = []
    for name in os.listdir("/proc"):
        process = inspect(int(name)) if name.isdigit() else None
        if process is not None and process.parent == me and process.start >= born:
            key = None if process.dead else marker(process.pid)
            found.append((process.pid, process.start, key or "-"))
    return found


def become_subreaper() -> bool:
    """Let orphaned descendants become our children (Linux; elsewhere they go to init)."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        import ctypes

        return bool(ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
    except (ImportError, OSError, AttributeError) as error:
        log(f"cannot inherit orphans: {error}; if the keeper is killed, exit statuses are lost")
        return False
