"""Finding the keeper of this user and host, or starting it, from any program and any thread.

The program gets no lasting child: a short-lived shell, waited for at once, leaves the supervisor
behind in its own session. Of all that try at the same time, the one that locks the lock file
starts the supervisor, which inherits the lock.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from . import scope
from .processes import pid_namespace
from .protocol import VERSION, Decoder, KeeperError, encode
from .server import peer_uid

DEFAULT_IDLE = 60.0

_CODE = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from exaworks.core.keeper.supervisor import main; main(sys.argv[2:])"
)
_SOURCES = str(Path(__file__).resolve().parents[3])


def connect(home: Path | None = None, timeout: float = 10.0) -> socket.socket:
    """Return a blocking socket to the keeper, which is started if it does not run.

    ``home`` takes the place of EXAWORKS_HOME (default ``~/.exaworks``); ``timeout`` is in seconds.
    A keeper that is started here leaves after EXAWORKS_KEEPER_IDLE seconds (60) without jobs and
    clients.

    Raises:
        KeeperError: its folder cannot be made or used, or it does not answer in time.
    """
    try:
        return _connect(home, timeout)
    except OSError as error:
        raise KeeperError(f"cannot reach the keeper of local jobs: {error}") from error


def _connect(home: Path | None, timeout: float) -> socket.socket:
    folder = scope.scope_folder(None if home is None else os.fspath(home), os.environ)
    deadline = time.monotonic() + timeout
    pause = 0.002
    while True:
        scope.make_folder(folder)
        connection = _try_connect(folder, deadline)
        if connection is not None:
            return connection
        folder = _start_if_absent(folder)
        if time.monotonic() > deadline:
            raise KeeperError(
                f"the keeper of local jobs did not answer within {timeout:g} s"
                f"{_last_words(folder)}; its log is {os.path.join(folder, scope.LOG)}"
            )
        time.sleep(pause)
        pause = min(2 * pause, 0.02)


def _try_connect(folder: str, deadline: float) -> socket.socket | None:
    """Return a greeted connection, None if nobody is there (yet, or any more)."""
    recorded = scope.recorded_namespace(folder)
    if recorded is not None and recorded != pid_namespace():
        return None
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with scope.SocketAddress(folder) as address:
            connection.settimeout(max(0.01, deadline - time.monotonic()))
            connection.connect(address)
        _greet(connection, folder)
        connection.settimeout(None)
    except (ConnectionError, FileNotFoundError, TimeoutError, BlockingIOError):
        connection.close()
        return None
    except OSError as error:
        connection.close()
        raise KeeperError(f"cannot connect to the keeper in {folder}: {error}") from error
    except BaseException:
        connection.close()
        raise
    return connection


def _greet(connection: socket.socket, folder: str) -> None:
    uid = peer_uid(connection)
    if uid not in (None, os.getuid()):
        raise KeeperError(
            f"the keeper in {folder} runs as user {uid}, not as you ({os.getuid()}); "
            "set EXAWORKS_HOME to a folder of your own"
        )
    connection.sendall(encode({"op": "hello", "n": 0, "version": VERSION}))
    decoder = Decoder()
    replies: list[Any] = []
    while not replies:
        data = connection.recv(4096)
        if not data:
            raise ConnectionResetError(errno.ECONNRESET, "the keeper is leaving")
        replies = decoder.feed(data)
    error = replies[0].get("error")
    if error:
        raise KeeperError(error["message"], error["code"])


def _start_if_absent(folder: str) -> str:
    """Start the supervisor unless somebody has; return the folder that we are to use."""
    fd = os.open(os.path.join(folder, scope.LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            recorded = scope.recorded_namespace(folder)
            if recorded is not None and recorded != pid_namespace():
                return scope.namespace_folder(folder)
            return folder
        except OSError as error:
            raise KeeperError(
                f"cannot lock files in {folder}: {error.strerror}; "
                "set EXAWORKS_HOME to a folder on a disk with locks"
            ) from error
        _start(folder, fd)
        return folder
    finally:
        os.close(fd)


def _start(folder: str, lock: int) -> None:
    with open(os.path.join(folder, scope.NAMESPACE), "w") as file:
        file.write(pid_namespace())
    python = sys.executable or shutil.which("python3")
    if not python:
        raise KeeperError("cannot start the keeper of local jobs: no Python executable is known")
    idle = os.environ.get("EXAWORKS_KEEPER_IDLE") or str(DEFAULT_IDLE)
    try:
        float(idle)
    except ValueError:
        raise KeeperError(
            f"EXAWORKS_KEEPER_IDLE must be a number of seconds, not {idle!r}", "invalid"
        ) from None
    variables = {"PATH": os.defpath}
    # Without these a Python from a module system may not find its own libraries.
    for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"):
        if name in os.environ:
            variables[name] = os.environ[name]
    log = os.open(os.path.join(folder, scope.LOG), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        shell = subprocess.Popen(
            ["/bin/sh", "-c", '"$@" &', "sh", python, "-I", "-S", "-X", "utf8", "-c", _CODE,
             _SOURCES, folder, str(lock), idle],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=variables,
            pass_fds=(lock,),
            start_new_session=True,
        )  # fmt: skip
        shell.wait()
    except OSError as error:
        raise KeeperError(f"cannot start the keeper of local jobs: {error}") from error
    finally:
        os.close(log)


def _last_words(folder: str) -> str:
    """Return the last line of the keeper's log, for an error message."""
    with contextlib.suppress(OSError), open(os.path.join(folder, scope.LOG), "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - 2000))
        lines = file.read().decode("utf-8", "replace").strip().splitlines()
        if lines:
            return f" (last line of its log: {json.dumps(lines[-1])})"
    return ""
