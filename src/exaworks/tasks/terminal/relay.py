"""The side of the node: starts a command, and passes on what it says and is told.

To it go ``("in", bytes)``, ``("eof",)``, ``("size", rows, columns)`` and ``("signal", number)``.
From it come ``("out", bytes)``, ``("err", bytes)``, ``("exit", code)`` and
``("failed", message, what a shell would return)``.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from typing import Any

from exaworks.tasks.cluster.channel import Channel, ChannelError, connect

__all__ = ["SETTINGS", "main", "set_size"]

SETTINGS = "EXAWORKS_TERMINAL"
"""The variable that tells where to connect to: JSON in Base64."""

_CHUNK = 1 << 16
_SECONDS_TO_END = 5.0


class _Command:
    """The command, with a terminal or with pipes."""

    def __init__(self, words: list[str], size: list[int] | None) -> None:
        self.ends: dict[int, str] = {}
        if size is None:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            assert self._process.stderr is not None
            self.stdin = self._process.stdin.fileno()
            self.ends[self._process.stdout.fileno()] = "out"
            self.ends[self._process.stderr.fileno()] = "err"
            os.set_blocking(self.stdin, False)
            return
        self.stdin, theirs = pty.openpty()
        set_size(self.stdin, *size)
        self._process = subprocess.Popen(
            # A session with this terminal as the one that controls it.
            [sys.executable, "-c", _TAKE_TERMINAL, *words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self.ends[self.stdin] = "out"

    @property
    def status(self) -> int | None:
        """Its exit code, or a signal as a negative number; ``None``: it runs."""
        return self._process.poll()

    def close_input(self) -> None:
        """It will be told nothing more. (A terminal has no such thing; it is told by a key.)"""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()

    def signal(self, number: int) -> None:
        """Send a signal to its processes."""
        with contextlib.suppress(OSError):
            os.killpg(self._process.pid, number)

    def end(self) -> None:
        """End it."""
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGKILL):
            self.signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_SECONDS_TO_END)
                return


_TAKE_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
try:
    os.execvp(sys.argv[1], sys.argv[1:])
except OSError as problem:
    print(f"cannot execute {sys.argv[1]}: {problem.strerror}", file=sys.stderr)
    sys.exit(127 if isinstance(problem, (FileNotFoundError, NotADirectoryError)) else 126)
"""


def set_size(fd: int, rows: int, columns: int) -> None:
    """Tell a terminal how large it is."""
    with contextlib.suppress(OSError):
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


class _Relay:
    def __init__(self, channel: Channel, command: _Command) -> None:
        self._channel = channel
        self._command = command
        self._input = bytearray()
        self._eof = False
        self._there = True

    def run(self) -> int:
        """Pass on until the command has ended and all that it said was sent."""
        ends = self._command.ends
        connection = self._channel.connection.fileno()
        while ends and self._there:
            # What cannot be sent is not read: so a command waits whose output nobody takes.
            readable = [connection, *(() if self._channel.unsent else ends)]
            writable = [connection] * self._channel.unsent
            if self._input:
                writable.append(self._command.stdin)
            ready, room, _ = select.select(readable, writable, [], 1.0)
            if connection in room:
                self._channel.flush()
            if self._input and self._command.stdin in room:
                self._write()
            if connection in ready:
                self._take()
            for fd in ready:
                if fd in ends:
                    self._pass_on(fd)
            if not ready and self._command.status is not None and not self._channel.unsent:
                break  # a child in the background still has the streams
        if not self._there:
            self._command.end()
            return 1
        while self._command.status is None:
            time.sleep(0.01)
        status = self._command.status
        self._channel.put([("exit", status)])
        while self._channel.unsent:
            select.select([], [connection], [], 1.0)
            self._channel.flush()
        return status if status >= 0 else 128 - status

    def _pass_on(self, fd: int) -> None:
        try:
            data = os.read(fd, _CHUNK)
        except OSError:  # the other end of a terminal was closed (EIO)
            data = b""
        if data:
            self._channel.put([(self._command.ends[fd], data)])
        else:
            del self._command.ends[fd]

    def _take(self) -> None:
        try:
            messages = self._channel.get()
        except ChannelError:
            messages = None
        if messages is None:
            self._there = False
            return
        for kind, *rest in messages:
            if kind == "in":
                self._input += rest[0]
            elif kind == "eof":
                self._eof = True
            elif kind == "size":
                set_size(self._command.stdin, *rest)
            else:
                self._command.signal(rest[0])
        self._write()

    def _write(self) -> None:
        try:
            while self._input:
                del self._input[: os.write(self._command.stdin, self._input[:_CHUNK])]
        except BlockingIOError:
            return
        except OSError:  # it reads no more
            self._input.clear()
        if self._eof and not self._input:
            self._eof = False
            self._command.close_input()


def main(words: list[str]) -> int:
    """Run a command for a terminal elsewhere; returns its exit code."""
    settings: dict[str, Any] = json.loads(base64.b64decode(os.environ.pop(SETTINGS)))
    channel = connect(settings)
    try:
        command = _Command(words, settings["size"])
    except OSError as problem:
        code = 127 if problem.errno in (errno.ENOENT, errno.ENOTDIR) else 126
        channel.put([("failed", f"cannot execute {words[0]}: {problem.strerror}", code)])
        return code
    return _Relay(channel, command).run()
