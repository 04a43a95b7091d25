"""A process that runs calls of Python functions, one after the other; see the package."""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import signal
import socket
import time
import traceback
from collections import deque
from types import CoroutineType

from .errors import RemoteError
from .wire import (
    BEGUN,
    CALL_HEADER,
    FUNCTION,
    RAISED,
    RESULT_HEADER,
    RETURNED,
    SEGMENT,
    SETTINGS,
    TELL,
    TOKEN,
    Inbox,
    Packed,
    load,
    pack,
    send,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

__all__ = ["Worker"]


class Worker:
    """Runs what comes through a socket when a token for it comes through a pipe.

    SIGINT raises :class:`KeyboardInterrupt` in the call that runs, and does nothing between calls.
    """

    def __init__(self, connection: socket.socket, tokens: int) -> None:
        """Take over a blocking stream socket, and the reading end of a pipe."""
        self._connection = connection
        self._tokens = tokens
        self._inbox = Inbox(connection)
        self._frames: deque[tuple[int, int, int, int, bytes, int]] = deque()
        self._functions: dict[int, Any] = {}
        self._in_call = False
        self._loop: Any = None

    def run(self) -> None:
        """Do that until nobody can send tokens any more."""
        signal.signal(signal.SIGINT, self._interrupt)
        read, tokens = os.read, self._tokens
        with contextlib.suppress(ConnectionError):
            while True:
                try:
                    token = read(tokens, TOKEN.size)
                except BlockingIOError:  # the program shares the pipe's flags where it has to
                    select.select([tokens], [], [])
                    continue
                if not token:
                    return
                self._perform(*TOKEN.unpack(token))

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._in_call:
            self._in_call = False
            raise KeyboardInterrupt

    def _perform(self, token: int) -> None:
        name = ""
        begun = ended = time.time()
        try:
            flags, key, payload, fd = self._take(token)
            function = self._function(key)
            name = getattr(function, "__qualname__", repr(function))
            args, kwargs = load(payload, fd)
            begun = time.time()
            if flags & TELL:
                self._connection.sendall(RESULT_HEADER.pack(BEGUN, 0, token, 0, begun, begun))
            try:
                self._in_call = True
                value = function(*args, **kwargs)
                if type(value) is CoroutineType:
                    value = self._run(value)
            finally:
                self._in_call = False
                ended = time.time()
            kind, answer = RETURNED, pack(value, f"the result of {name}")
            del args, kwargs, value
        except ConnectionError:
            raise
        except BaseException as problem:
            kind, answer = RAISED, _pack_exception(problem)
            problem.__traceback__ = None
        if isinstance(answer, Packed):
            head = RESULT_HEADER.pack(kind, SEGMENT, token, len(answer.data), begun, ended)
            send(self._connection, head + answer.data, [answer.fd])
            answer.close()
        else:
            head = RESULT_HEADER.pack(kind, 0, token, len(answer), begun, ended)
            self._connection.sendall(head + answer)

    def _run(self, coroutine: Any) -> Any:
        """Run an async function in an event loop that stays for the next one."""
        import asyncio

        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self._loop)
        task = self._loop.create_task(coroutine)
        try:
            return self._loop.run_until_complete(task)
        finally:
            if not task.done():
                task.cancel()
                with contextlib.suppress(BaseException):
                    self._loop.run_until_complete(task)

    def _take(self, token: int) -> tuple[int, int, bytes, int]:
        """The call that a token belongs to; those before it were taken back."""
        frames = self._frames
        while True:
            while frames:
                kind, number, flags, key, payload, fd = frames.popleft()
                if kind == SETTINGS:
                    _apply(pickle.loads(payload))
                elif number == token:
                    return flags, key, payload, fd
                elif fd >= 0:
                    os.close(fd)
            self._receive()

    def _receive(self) -> None:
        if not self._inbox.receive():
            raise ConnectionResetError
        data, at = self._inbox.data, 0
        header = CALL_HEADER.size
        while len(data) - at >= header:
            kind, flags, token, key, length = CALL_HEADER.unpack_from(data, at)
            end = at + header + length
            if end > len(data):
                break
            payload = bytes(data[at + header : end])
            fd = self._inbox.fds.popleft() if flags & SEGMENT else -1
            at = end
            if kind == FUNCTION:
                self._functions[key] = _Unloaded(payload, fd)
            else:
                self._frames.append((kind, token, flags, key, payload, fd))
        del data[:at]

    def _function(self, key: int) -> Any:
        function = self._functions[key]
        if type(function) is _Unloaded:
            function = self._functions[key] = function.load()
        return function


class _Unloaded:
    """A function as it came. It is loaded by the first call, which gets the blame if that fails."""

    def __init__(self, payload: bytes, fd: int) -> None:
        self._payload = payload
        self._fd = fd

    def load(self) -> Any:
        fd = os.dup(self._fd) if self._fd >= 0 else -1
        return load(self._payload, fd)


def _apply(settings: dict[str, Any]) -> None:
    """Bind this process to CPUs, and change variables of its environment (``None``: remove)."""
    cpus = settings.get("cpus")
    if cpus and hasattr(os, "sched_setaffinity"):
        with contextlib.suppress(OSError):  # a CPU that this process may not use
            os.sched_setaffinity(0, cpus)
    for name, value in settings.get("environment", {}).items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _pack_exception(problem: BaseException) -> bytes | Packed:
    """An exception with its traceback; a stand-in if it cannot be sent."""
    steps = problem.__traceback__.tb_next if problem.__traceback__ else None
    text = "".join(
        traceback.format_exception(type(problem), problem, steps or problem.__traceback__)
    )
    try:
        packed = pack((problem, text), f"the exception {type(problem).__qualname__}")
        # Many exceptions can be pickled, but not loaded again.
        load(packed.data, os.dup(packed.fd)) if isinstance(packed, Packed) else load(packed)
    except Exception:
        stand_in = RemoteError(type(problem).__qualname__, _text(problem))
        return pack((stand_in, text), "an exception")
    return packed


def _text(problem: BaseException) -> str:
    try:
        return str(problem)
    except Exception:
        return "(its text cannot be had)"


def import_everything() -> None:
    """Import what a worker may need, so that those forked from here have it already."""
    with contextlib.suppress(ImportError):
        import cloudpickle  # type: ignore[import-untyped]  # noqa: F401
