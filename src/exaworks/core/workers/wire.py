"""What a program and its workers send each other.

Frames are a header and a payload. Objects are pickled with protocol 5; their large buffers (such
as the data of NumPy arrays) and large pickles travel in an anonymous file in memory instead, whose
descriptor goes along with the frame. The receiver maps that file: it is not copied again, and it
is gone as soon as nobody uses it any more, even if everybody was killed.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import pickle
import socket
import struct
from collections import deque

from .culprit import culprit
from .errors import SerializationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

__all__ = [
    "BEGUN",
    "CALL",
    "CALL_HEADER",
    "FUNCTION",
    "INLINE_LIMIT",
    "MSG_CMSG_CLOEXEC",
    "RAISED",
    "RESULT_HEADER",
    "RETURNED",
    "SEGMENT",
    "SETTINGS",
    "TELL",
    "TOKEN",
    "Inbox",
    "Packed",
    "contents",
    "load",
    "pack",
    "segment_of",
    "send",
]

TOKEN = struct.Struct("<I")
"""What allows one call. Writing and reading it is atomic, since pipes are (pipe(7))."""

CALL_HEADER = struct.Struct("<BBxxIII")
"""Kind, flags, token, key of the function, length of the payload."""

RESULT_HEADER = struct.Struct("<BBxxIIdd")
"""Kind, flags, token, length of the payload; begin and end in seconds since the epoch."""

FUNCTION, CALL, SETTINGS = 1, 2, 3
"""Kinds of frames to a worker: a function to keep, a call, what the next call may use."""

RETURNED, RAISED, BEGUN = 1, 2, 3
"""Kinds of frames from a worker: the value of a call, the exception it raised, that it begins."""

SEGMENT, TELL = 1, 2
"""Flags: the object is in a file in memory that comes along; tell when the call begins."""

INLINE_LIMIT = 1 << 16
"""Bytes from which on an object, or one of its buffers, travels in a file in memory."""

_ALIGNMENT = 64
_FDS_ROOM = socket.CMSG_SPACE(4 * 64)
MSG_CMSG_CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
_CHUNK = 1 << 18
_SIZES = struct.Struct("<Q")


class Packed:
    """A pickled object: bytes, or a file in memory and the sizes of its parts."""

    __slots__ = ("data", "fd")

    def __init__(self, data: bytes, fd: int = -1) -> None:
        self.data = data
        self.fd = fd

    def close(self) -> None:
        """Give up the file."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __del__(self) -> None:
        self.close()


def _large(buffer: pickle.PickleBuffer, buffers: list[Any]) -> bool:
    """Whether to leave a buffer in the pickle; it goes to ``buffers`` if not."""
    try:
        view = buffer.raw()
    except BufferError:  # not contiguous
        return True
    if view.nbytes < INLINE_LIMIT:
        return True
    buffers.append(view)
    return False


def pack(value: Any, name: str) -> bytes | Packed:
    """Pickle an object; what no other process could import, by value.

    Args:
        value: the object.
        name: what to call it in a message.

    Returns:
        bytes, if it is small.

    Raises:
        SerializationError: it cannot be pickled.
        OSError: there is no room for it in memory.
    """
    buffers: list[memoryview] = []
    try:
        data = pickle.dumps(value, 5, buffer_callback=lambda each: _large(each, buffers))
    except Exception:
        data = b"__main__"
    # What belongs to __main__ here is unknown to every other process.
    if b"__main__" in data:
        buffers.clear()
        data = _pack_by_value(value, name, lambda each: _large(each, buffers))
    if not buffers and len(data) < INLINE_LIMIT:
        return data
    return _segment(data, buffers)


def _pack_by_value(value: Any, name: str, callback: Callable[[pickle.PickleBuffer], bool]) -> bytes:
    import cloudpickle  # type: ignore[import-untyped]  # takes 50 ms, and not everybody needs it

    try:
        data: bytes = cloudpickle.dumps(value, 5, buffer_callback=callback)
    except Exception as problem:
        part = culprit(value, name, cloudpickle.dumps)
        to_blame = f": {part} is to blame" if part else ""
        raise SerializationError(
            f"{name} cannot be pickled{to_blame} ({type(problem).__name__}: {problem})"
        ) from problem
    return data


def _segment(data: bytes, buffers: Sequence[memoryview]) -> Packed:
    parts: list[Any] = []
    for part in (data, *buffers):
        parts.append(part)
        parts.append(bytes(-len(part) % _ALIGNMENT))
    sizes = b"".join(_SIZES.pack(len(part)) for part in (data, *buffers))
    fd = os.memfd_create("exaworks", os.MFD_CLOEXEC)
    try:
        _write_all(fd, parts)
    except BaseException:
        os.close(fd)
        raise
    return Packed(sizes, fd)


def contents(fd: int) -> bytes:
    """The bytes of a file in memory, to send them to another machine."""
    return os.pread(fd, os.fstat(fd).st_size, 0)


def segment_of(data: bytes) -> int:
    """A file in memory with these bytes; its descriptor.

    Raises:
        OSError: there is no room for it.
    """
    fd = os.memfd_create("exaworks", os.MFD_CLOEXEC)
    try:
        _write_all(fd, [data])
    except BaseException:
        os.close(fd)
        raise
    return fd


def _write_all(fd: int, parts: Sequence[Any]) -> None:
    views = deque(memoryview(part).cast("B") for part in parts if len(part))
    while views:
        batch = [views[i] for i in range(min(len(views), 512))]
        written = os.writev(fd, batch)
        while written:
            first = views.popleft()
            if len(first) > written:
                views.appendleft(first[written:])
                break
            written -= len(first)


def load(data: bytes | memoryview, fd: int = -1) -> Any:
    """The object that was packed; takes the descriptor over.

    Raises:
        Exception: whatever unpickling raises.
    """
    if fd < 0:
        return pickle.loads(data)
    try:
        sizes = [size for (size,) in _SIZES.iter_unpack(data)]
        # Private: what the receiver writes into an array is its own.
        memory = mmap.mmap(fd, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    finally:
        os.close(fd)
    whole = memoryview(memory)
    views, at = [], 0
    for size in sizes:
        views.append(whole[at : at + size])
        at += size + -size % _ALIGNMENT
    return pickle.loads(views[0], buffers=views[1:])


def send(connection: socket.socket, data: bytes, fds: Sequence[int] = ()) -> None:
    """Send all of it, with descriptors, through a blocking socket."""
    if fds:
        sent = socket.send_fds(connection, [data], list(fds))
        data = data[sent:]
    if data:
        connection.sendall(data)


class Inbox:
    """The bytes and descriptors that have come through a socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.data = bytearray()
        self.fds: deque[int] = deque()

    def receive(self) -> bool:
        """Wait for more, unless the socket does not block; false: there is no more.

        Raises:
            BlockingIOError: nothing is there.
        """
        data, ancillary, _, _ = self._connection.recvmsg(_CHUNK, _FDS_ROOM, MSG_CMSG_CLOEXEC)
        for level, kind, fds in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                self.fds.extend(struct.unpack(f"{len(fds) // 4}i", fds))
        self.data += data
        return bool(data)

    def close(self) -> None:
        """Give up the descriptors that nobody has taken."""
        with contextlib.suppress(IndexError):
            while True:
                os.close(self.fds.popleft())
