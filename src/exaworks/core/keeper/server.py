"""The keeper's side of its connections: buffers, replies, and who watches which job."""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from collections import deque

from .protocol import Decoder, KeeperError, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_UNREAD = 32 * 1024 * 1024
"""Bytes of events that a client may leave unread before it is dropped; it may connect again."""

MAX_UNSENT = 4 * 1024 * 1024
"""Bytes of replies and events beyond which no more requests of a client are served."""

_CHUNK = 1 << 18
_CHUNKS = 16


def peer_uid(connection: socket.socket) -> int | None:
    """Return the user at the other end of a Unix socket, None where the system does not tell."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, option, 12))
    return int(uid)


class Connection:
    """One client."""

    __slots__ = (
        "_asked_for", "_decoder", "events", "gone", "greeted", "out", "polled", "requests",
        "socket", "watching",
    )  # fmt: skip

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.greeted = False
        self.gone = False
        self.requests: deque[Any] = deque()
        self.watching: set[int] = set()
        self.events: list[list[Any]] = []
        self.out = bytearray()
        self.polled = 0
        self._asked_for = 0
        self._decoder = Decoder()

    def read(self) -> None:
        """Take in the requests that have arrived; note if the client is gone or talks nonsense."""
        try:
            for _ in range(_CHUNKS):
                data = self.socket.recv(_CHUNK)
                if not data:
                    self.gone = True
                    return
                self.requests += self._decoder.feed(data)
        except (BlockingIOError, InterruptedError):
            return
        except (OSError, KeeperError):
            self.gone = True

    @property
    def ready(self) -> bool:
        """Whether a request is there to be served and there is room for the reply."""
        return bool(self.requests) and len(self.out) < MAX_UNSENT

    def reply(self, message: dict[str, Any]) -> None:
        """Queue a reply, after the events that came before it."""
        self._gather()
        frame = encode(message)
        self.out += frame
        self._asked_for += len(frame)

    def write(self) -> bool:
        """Send what the client takes without blocking; return False if it is to be dropped."""
        self._gather()
        while self.out:
            try:
                sent = self.socket.send(self.out[:_CHUNK])
            except (BlockingIOError, InterruptedError):
                return len(self.out) - self._asked_for <= MAX_UNREAD
            except OSError:
                return False
            del self.out[:sent]
        self._asked_for = 0
        return True

    def _gather(self) -> None:
        if self.events:
            self.out += encode({"events": self.events})
            self.events = []


class Listener:
    """The listening socket of a scope folder."""

    def __init__(self, path: str) -> None:
        """Bind to ``path``, in place of what an earlier keeper has left there."""
        if os.path.lexists(path):
            os.unlink(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.bind(path)
        os.chmod(path, 0o600)
        self.socket.listen(256)
        self.socket.setblocking(False)

    def accept(self) -> Connection | None:
        """Return the next client of our own user, None if there is none for now."""
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    # The client stays in the queue and would wake us again and again.
                    time.sleep(0.05)
                return None
            if peer_uid(connection) in (None, os.getuid()):
                connection.setblocking(False)
                return Connection(connection)
            connection.close()

    def close(self) -> None:
        """Stop listening; the socket's name stays behind."""
        self.socket.close()


class Watchers:
    """Which clients want the events of which jobs."""

    def __init__(self) -> None:
        self._of: dict[int, list[Connection]] = {}

    def add(self, number: int, connection: Connection) -> None:
        """Let ``connection`` have the events of live job ``number``."""
        if number not in connection.watching:
            connection.watching.add(number)
            self._of.setdefault(number, []).append(connection)

    def remove(self, number: int, connection: Connection) -> None:
        """Undo :meth:`add`."""
        if number in connection.watching:
            connection.watching.discard(number)
            others = self._of[number]
            others.remove(connection)
            if not others:
                del self._of[number]

    def forget(self, connection: Connection) -> None:
        """Remove a client altogether."""
        for number in list(connection.watching):
            self.remove(number, connection)

    def tell(self, number: int, event: list[Any], last: bool) -> None:
        """Queue ``event`` of job ``number``; after the ``last`` one nobody watches it any more."""
        for connection in self._of.get(number, ()):
            connection.events.append(event)
            if last:
                connection.watching.discard(number)
        if last:
            self._of.pop(number, None)
