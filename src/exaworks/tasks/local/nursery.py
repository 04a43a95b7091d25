"""The program's side of the nursery that forks workers."""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import exaworks
from exaworks.core.workers.nursery import COMMAND

__all__ = ["NurseryLink"]

_MAX_MESSAGE = 1 << 16


class NurseryLink:
    """Starts a nursery and talks with it. Not thread-safe."""

    def __init__(self) -> None:
        """Start it.

        Raises:
            OSError: there is no room for another process.
        """
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        package = os.path.dirname(os.path.dirname(os.path.abspath(exaworks.__file__)))
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", COMMAND, package, str(theirs.fileno()), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._send(("path", [os.path.abspath(folder) for folder in sys.path]))

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def fileno(self) -> int:
        """The descriptor that its messages come through."""
        return self._socket.fileno()

    def worker(self, number: int, connection: int, tokens: int) -> None:
        """Ask for a worker that serves these descriptors."""
        self._send(("worker", number), [connection, tokens])

    def commander(self, number: int, connection: int, notes: int, folder: str) -> None:
        """Ask for a process that runs commands, and keeps output in that folder."""
        self._send(("commander", number, folder), [connection, notes])

    def _send(self, message: Any, fds: list[int] | None = None) -> None:
        with contextlib.suppress(OSError):  # it is gone, as its reader will find out
            socket.send_fds(self._socket, [pickle.dumps(message)], fds or [])

    def read(self, handle: Callable[[Any], None]) -> bool:
        """Hand over all messages that are there; false: it is gone."""
        while True:
            try:
                data = self._socket.recv(_MAX_MESSAGE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if not data:
                return False
            handle(pickle.loads(data))

    def close(self) -> None:
        """Let it end all workers, and wait for that."""
        self._socket.close()
        self._process.wait()
