"""The program's side of one worker."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import threading
import time
from collections import deque
from typing import Any

from exaworks.core.reactor import Reactor, Timer
from exaworks.core.workers.wire import (
    BEGUN,
    CALL,
    CALL_HEADER,
    FUNCTION,
    RESULT_HEADER,
    SEGMENT,
    SETTINGS,
    TELL,
    TOKEN,
    Inbox,
    Packed,
)
from exaworks.tasks.calls import Call, Function
from exaworks.tasks.future import TaskFuture
from exaworks.tasks.scheduler import Placement

__all__ = ["MOST_AHEAD", "Answer", "WorkerLink"]

MOST_AHEAD = 200
"""Calls that a worker may have at a time."""

_TOKENS = 1 << 32
_ALL = 1 << 16

Answer = tuple[TaskFuture[Any], int, bytes, int, float, float]
"""A future, RETURNED, RAISED or BEGUN, the pickled object, its file or -1, begin and end."""


class WorkerLink:
    """Sends calls to a worker ahead of time, takes them back, and reads its answers.

    Calls run in the order in which they were sent. Not thread-safe.
    """

    def __init__(self, number: int, reactor: Reactor, lock: threading.RLock) -> None:
        """Make the socket and the pipe; the worker itself is still to be forked."""
        self.number = number
        self.pid: int | None = None
        self.calls: deque[tuple[int, TaskFuture[Any]]] = deque()
        self.placement: Placement | None = None
        self.priority = 0
        self.kind = ""
        self.gpus: tuple[str, ...] | None = None
        self.last_heard = time.monotonic()
        self.kill_timer: Timer | None = None
        self.made = time.monotonic()
        self.served = False
        self._reactor = reactor
        self._lock = lock
        self._token = 0
        self._known: set[int] = set()
        self._settings: dict[str, Any] | None = None
        self._out: deque[tuple[bytes | memoryview, tuple[int, ...]]] = deque()
        self._socket, self.worker_socket = socket.socketpair()
        self.worker_tokens, self._tokens = os.pipe()
        self._socket.setblocking(False)
        self._taking = _open_again(self.worker_tokens)
        self._inbox = Inbox(self._socket)

    def fileno(self) -> int:
        """The descriptor that answers come through."""
        return self._socket.fileno()

    def handed_over(self) -> None:
        """The worker's ends are with the nursery."""
        self.worker_socket.close()
        os.close(self.worker_tokens)

    # To the worker

    def send(self, futures: list[TaskFuture[Any]], settings: dict[str, Any] | None) -> None:
        """Send calls, and let them run.

        Args:
            futures: the futures of calls.
            settings: what they may use, if that may differ from the last time.
        """
        parts: list[bytes] = []
        tokens = bytearray()
        if settings is not None and settings != self._settings:
            self._settings = settings
            data = pickle.dumps(settings)
            parts.append(CALL_HEADER.pack(SETTINGS, 0, 0, 0, len(data)) + data)
        for future in futures:
            call: Call = future._task
            function = call.function
            if function.key not in self._known:
                self._known.add(function.key)
                self._add(parts, FUNCTION, 0, function, function.packed, 0)
            token = self._token
            self._token = (token + 1) % _TOKENS
            payload = call.payload
            tell = 0 if call.options.time_limit is None else TELL
            if type(payload) is bytes:
                parts.append(CALL_HEADER.pack(CALL, tell, token, function.key, len(payload)))
                parts.append(payload)
            else:
                self._add(parts, CALL, token, function, payload, tell)
            self.calls.append((token, future))
            tokens += TOKEN.pack(token)
        if parts:
            self._put(b"".join(parts), ())
        os.write(self._tokens, tokens)

    def _add(
        self,
        parts: list[bytes],
        kind: int,
        token: int,
        function: Function,
        what: Any,
        flags: int,
    ) -> None:
        if isinstance(what, Packed):
            if parts:
                self._put(b"".join(parts), ())
                parts.clear()
            head = CALL_HEADER.pack(kind, SEGMENT | flags, token, function.key, len(what.data))
            self._put(head + what.data, (os.dup(what.fd),))
        else:
            parts.append(CALL_HEADER.pack(kind, flags, token, function.key, len(what)))
            parts.append(what)

    def _put(self, data: bytes, fds: tuple[int, ...]) -> None:
        if self._out:
            self._out.append((data, fds))
            return
        left = self._try(data, fds)
        if left is not None:
            self._out.append(left)
            self._reactor.call_soon(self._watch_for_room)

    def _try(
        self, data: bytes | memoryview, fds: tuple[int, ...]
    ) -> tuple[bytes | memoryview, tuple[int, ...]] | None:
        """Send as much as there is room for; what is left."""
        try:
            if fds:
                sent = socket.send_fds(self._socket, [data], list(fds))
            else:
                sent = self._socket.send(data)
        except BlockingIOError:
            return data, fds
        except OSError:  # the worker is gone; the nursery will tell
            sent = len(data)
        for fd in fds:
            os.close(fd)
        return (memoryview(data)[sent:], ()) if sent < len(data) else None

    def _watch_for_room(self) -> None:
        if self._socket.fileno() >= 0:
            self._reactor.add_writer(self._socket.fileno(), self.flush)

    def flush(self) -> None:
        """Send what there was no room for."""
        with self._lock:  # nobody may add to it while this one finds that nothing is left
            while self._out:
                left = self._try(*self._out[0])
                if left is not None:
                    self._out[0] = left
                    return
                self._out.popleft()
            if self._socket.fileno() >= 0:
                self._reactor.remove_writer(self._socket.fileno())

    def take_back(self) -> list[TaskFuture[Any]]:
        """Take calls back that have not begun: the next ones, in order; they will not run."""
        try:
            data = os.read(self._taking, _ALL)
        except BlockingIOError:
            return []
        taken = {token for (token,) in TOKEN.iter_unpack(data)}
        back = [future for token, future in self.calls if token in taken]
        if back:
            self.calls = deque(each for each in self.calls if each[0] not in taken)
        return back

    def interrupt(self) -> None:
        """Raise KeyboardInterrupt in the call that runs."""
        self._kill(signal.SIGINT, group=False)

    def kill(self) -> None:
        """End the worker, and what it has started."""
        self._kill(signal.SIGKILL, group=True)

    def _kill(self, number: int, group: bool) -> None:
        if self.pid is not None:
            with contextlib.suppress(OSError):
                (os.killpg if group else os.kill)(self.pid, number)

    # From the worker

    def read(self) -> tuple[list[Answer], bool]:
        """The answers that are there, and whether more can come."""
        alive = True
        try:
            alive = self._inbox.receive()
        except BlockingIOError:
            return [], True
        except OSError:
            alive = False
        data, at = self._inbox.data, 0
        header = RESULT_HEADER.size
        answers: list[Answer] = []
        unpack = RESULT_HEADER.unpack_from
        calls = self.calls
        size = len(data)
        while size - at >= header:
            kind, flags, token, length, begun, ended = unpack(data, at)
            end = at + header + length
            if end > size:
                break
            payload = bytes(data[at + header : end])
            fd = self._inbox.fds.popleft() if flags & SEGMENT else -1
            at = end
            expected, future = calls[0] if kind == BEGUN else calls.popleft()
            assert token == expected, (token, expected)
            answers.append((future, kind, payload, fd, begun, ended))
        if at:
            del data[:at]
            self.last_heard = time.monotonic()
            self.served = True
        return answers, alive

    def close(self) -> None:
        """Give up the descriptors; the worker ends when it has nothing more to do."""
        if self.kill_timer is not None:
            self.kill_timer.cancel()
        for _, fds in self._out:
            for fd in fds:
                os.close(fd)
        self._out.clear()
        self._inbox.close()
        self._socket.close()
        for fd in (self._tokens, self._taking):
            os.close(fd)


def _open_again(fd: int) -> int:
    """The reading end of a pipe once more, such that reading it never blocks."""
    try:
        # Not a duplicate, which would share its flags with the worker's.
        return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        os.set_blocking(fd, False)
        return os.dup(fd)
