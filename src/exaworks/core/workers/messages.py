"""Messages between a program and the processes that it has forked."""

from __future__ import annotations

import pickle
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any

__all__ = ["Messages"]

_LENGTH = struct.Struct("<I")
_CHUNK = 1 << 18


class Messages:
    """Messages through a stream socket that does not block."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._in = bytearray()
        self._out = bytearray()

    @property
    def unsent(self) -> bool:
        """Whether something could not be sent yet."""
        return bool(self._out)

    def put(self, messages: list[Any]) -> None:
        """Send, as far as there is room; the rest is kept for :meth:`flush`."""
        data = pickle.dumps(messages, 5)
        self._out += _LENGTH.pack(len(data)) + data
        self.flush()

    def flush(self) -> None:
        """Send what was kept."""
        try:
            while self._out:
                del self._out[: self._connection.send(self._out)]
        except BlockingIOError:
            pass
        except OSError:  # nobody is there any more
            self._out.clear()

    def get(self) -> list[Any] | None:
        """The messages that have come; ``None``: there will be no more."""
        try:
            data = self._connection.recv(_CHUNK)
        except BlockingIOError:
            return []
        except OSError:
            return None
        if not data:
            return None
        self._in += data
        found: list[Any] = []
        at = 0
        while len(self._in) - at >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._in, at)
            end = at + _LENGTH.size + length
            if end > len(self._in):
                break
            found += pickle.loads(memoryview(self._in)[at + _LENGTH.size : end].tobytes())
            at = end
        del self._in[:at]
        return found
