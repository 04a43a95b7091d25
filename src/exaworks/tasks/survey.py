"""Looking at the engines that run on this machine, in whatever program of this user."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import time
from typing import Any, NamedTuple

from exaworks.tasks.status import SUFFIX, short_address, status_folder

__all__ = ["Survey", "survey"]

_CHUNK = 1 << 16


class Survey(NamedTuple):
    """What the engines of this machine do.

    Attributes:
        snapshots: of those that have answered, the oldest engine first.
        silent: the ids of the others, whose programs are stopped or very busy.
    """

    snapshots: list[dict[str, Any]]
    silent: list[str]


def survey(timeout: float, id: str | None = None) -> Survey:
    """Look at the engines of this user on this machine; remove the sockets of those that died.

    Args:
        timeout: seconds that they have to answer, together.
        id: look only at this one.

    Raises:
        OSError: the folder of the sockets cannot be read.
    """
    limit = time.monotonic() + timeout
    found: list[dict[str, Any]] = []
    silent: list[str] = []
    asked: dict[socket.socket, tuple[str, bytearray]] = {}
    with contextlib.ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        for name in _ids(id):
            connection = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            connection.setblocking(False)
            try:
                _connect(connection, os.path.join(status_folder(), name + SUFFIX))
            except BlockingIOError:  # too many wait for its answer already
                silent.append(name)
            except OSError:  # there is no engine any more
                pass
            else:
                asked[connection] = (name, bytearray())
                selector.register(connection, selectors.EVENT_READ)
        while asked and (left := limit - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                ready: Any = key.fileobj
                if _receive(ready, asked[ready][1]):
                    selector.unregister(ready)
                    with contextlib.suppress(ValueError):  # it has ended meanwhile
                        found.append(json.loads(asked.pop(ready)[1]))
        silent += [name for name, _ in asked.values()]
    return Survey(sorted(found, key=lambda each: (each["started"], each["id"])), sorted(silent))


def _ids(only: str | None) -> list[str]:
    try:
        names = os.listdir(status_folder())
    except FileNotFoundError:
        return []
    found = [name[: -len(SUFFIX)] for name in names if name.endswith(SUFFIX)]
    return [name for name in found if only in (None, name)]


def _connect(connection: socket.socket, path: str) -> None:
    """Connect; remove what a program has left that was killed."""
    try:
        with short_address(path) as address:
            connection.connect(address)
    except ConnectionRefusedError:
        os.unlink(path)
        raise


def _receive(connection: socket.socket, data: bytearray) -> bool:
    """Take in what has come; whether that was all."""
    try:
        more = connection.recv(_CHUNK)
    except BlockingIOError:
        return False
    except OSError:
        return True
    data += more
    return not more
