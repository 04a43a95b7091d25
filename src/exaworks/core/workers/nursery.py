"""The process that forks workers, tells how they ended, and ends them with their program."""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import select
import signal
import socket
import sys
import time

from . import worker
from .commands import Commander
from .processes import children, kill_orphans
from .wire import MSG_CMSG_CLOEXEC
from .worker import Worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["COMMAND", "main"]

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_MAX_MESSAGE = 1 << 16
_FDS_ROOM = socket.CMSG_SPACE(4 * 2)

COMMAND = (
    "import sys; sys.path[:0] = [sys.argv.pop(1)]; "
    "from exaworks.core.workers.nursery import main; main(sys.argv[1:])"
)
"""What an interpreter is told to run (``-c``), with the folder of this package as the argument,
then the descriptor of a socket (SOCK_SEQPACKET) and the process id of the program.

Messages to it are pickled, with descriptors: ``("path", [folder, ...])``, ``("worker", number)``
with a worker's socket and pipe, and ``("commander", number, folder)`` with the socket and notes of
one that runs commands. It answers ``("forked", number, pid)`` and, later,
``("ended", number, wait status, CPU seconds, peak resident KiB)``.
"""


def main(arguments: list[str]) -> None:
    """Serve the program until it goes."""
    descriptor, program = map(int, arguments)
    os.set_inheritable(descriptor, False)
    Nursery(socket.socket(fileno=descriptor), program).run()


class Nursery:
    """Has a single thread, since it forks."""

    def __init__(self, control: socket.socket, program: int) -> None:
        self._control = control
        self._pid = os.getpid()
        self._program = program
        self._children: dict[int, int] = {}
        self._commanders: set[int] = set()
        self._poll = select.poll()
        self._prctl = _prctl()

    def run(self) -> None:
        """Serve until the program is gone; then end everything."""
        self._prctl(_PR_SET_CHILD_SUBREAPER, 1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        wake_r, wake_w = os.pipe()
        for end in (wake_r, wake_w):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_w, warn_on_full_buffer=False)
        self._poll.register(self._control, select.POLLIN)
        self._poll.register(wake_r, select.POLLIN)
        # The socket may be held open by children of the program; this tells that it is gone itself.
        pidfd = _pidfd(self._program)
        if pidfd >= 0:
            self._poll.register(pidfd, select.POLLIN)
        worker.import_everything()
        gc.collect()
        gc.freeze()
        alive = os.getppid() == self._program
        while alive:
            for fd, _ in self._poll.poll():
                if fd == wake_r:
                    with contextlib.suppress(BlockingIOError):
                        os.read(wake_r, 4096)
                    self._reap()
                elif fd == pidfd or not self._serve():
                    alive = False
        self._end_all()

    def _serve(self) -> bool:
        try:
            data, ancillary, _, _ = self._control.recvmsg(_MAX_MESSAGE, _FDS_ROOM, MSG_CMSG_CLOEXEC)
        except ConnectionError:
            return False
        if not data:
            return False
        fds: list[int] = []
        for _, _, raw in ancillary:
            fds.extend(memoryview(raw).cast("i"))
        kind, value, *rest = pickle.loads(data)
        if kind == "path":
            sys.path[:] = value
        elif kind == "worker":
            self._fork(value, lambda: self._become_worker(*fds))
        else:
            self._fork(value, lambda: self._become_commander(fds[0], fds[1], rest[0]))
            self._commanders.add(value)
        for fd in fds:
            os.close(fd)
        return True

    def _fork(self, number: int, become: Callable[[], None]) -> None:
        try:
            pid = os.fork()
        except OSError as problem:
            self._tell(("failed", number, f"cannot fork: {problem.strerror}"))
            pid = -1
        if pid == 0:
            code = 1
            try:
                os.setsid()
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                self._control.close()
                become()
                code = 0
            except BaseException:
                sys.excepthook(*sys.exc_info())
            finally:
                with contextlib.suppress(BaseException):
                    sys.stdout.flush()
                    sys.stderr.flush()
                os._exit(code)
        if pid > 0:
            self._children[pid] = number
            self._tell(("forked", number, pid))

    def _become_worker(self, connection: int, tokens: int) -> None:
        self._prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != self._pid:
            return
        Worker(socket.socket(fileno=connection), tokens).run()

    def _become_commander(self, connection: int, notes: int, folder: str) -> None:
        self._prctl(_PR_SET_CHILD_SUBREAPER, 1)
        nursery = _pidfd(self._pid)
        if nursery < 0:  # the next best: then commands may outlive a nursery that is killed
            self._prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != self._pid:
            return
        Commander(socket.socket(fileno=connection), notes, nursery, folder).run()

    def _tell(self, message: tuple[Any, ...]) -> None:
        with contextlib.suppress(OSError):
            self._control.send(pickle.dumps(message))

    def _reap(self) -> None:
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            number = self._children.pop(pid, None)
            if number is None:  # a process that a call has left behind
                continue
            with contextlib.suppress(OSError):  # what it has started goes with it
                os.killpg(pid, signal.SIGKILL)
            if number in self._commanders:
                self._commanders.discard(number)
                kill_orphans(None, set(self._children), signal.SIGKILL)
            cpu = usage.ru_utime + usage.ru_stime
            self._tell(("ended", number, status, cpu, usage.ru_maxrss))

    def _end_all(self) -> None:
        """Kill the workers, and all that has become a child of this process as an orphan."""
        for pid in self._children:
            with contextlib.suppress(OSError):
                os.killpg(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while True:
                for pid in children(os.getpid()):
                    with contextlib.suppress(OSError):
                        os.kill(pid, signal.SIGKILL)
                if not os.waitpid(-1, os.WNOHANG)[0]:
                    time.sleep(0.002)


def _pidfd(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return -1


def _prctl() -> Any:
    if not sys.platform.startswith("linux"):
        return lambda *_: None
    import ctypes

    prctl = ctypes.CDLL(None).prctl
    return lambda option, value: prctl(option, value, 0, 0, 0)
