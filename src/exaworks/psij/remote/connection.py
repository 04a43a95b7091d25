"""One connection to another machine, made by the system's OpenSSH and used by many commands.

OpenSSH keeps the connection open for some time (``ControlPersist``), also for other programs of
the same user. All that the user has configured holds: aliases, keys, agents, jump hosts, checks of
host keys. A master that the user has opened already (after typing a one-time password, say) is
used. Sources: ssh(1) and ssh_config(5) of OpenSSH 9.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, ClassVar

from exaworks.psij.remote import shell
from exaworks.psij.remote.address import Address

__all__ = ["Connection", "ConnectionFailed"]

logger = logging.getLogger(__name__)

PERSIST = 120
"""Seconds for which a connection stays open that nobody uses."""

_CONNECT_TIMEOUT = 30
_MOST_AT_A_TIME = 6  # sshd allows 10 on one connection (MaxSessions), and others may use it too
_MOST_TRANSFERS = 3  # so that commands have room beside them
_SLOT_PATIENCE = 120.0
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
_MOST_NOISE = 65536
_NO_CONNECTION = 255
_BUSY = b"Session open refused by peer"

_OPTIONS = (
    "ServerAliveInterval=10",
    "ServerAliveCountMax=3",
    "ClearAllForwardings=yes",
    "ForwardX11=no",
    "RemoteCommand=none",
    "RequestTTY=no",
    "LogLevel=ERROR",
)

_FINAL = re.compile(
    r"HOST IDENTIFICATION HAS CHANGED|Host key verification failed|Permission denied|"
    r"Could not resolve hostname(?!.*Temporary failure)|Bad configuration|"
    r"Too many authentication failures|host key is known",
    re.IGNORECASE | re.DOTALL,
)


class ConnectionFailed(ConnectionError):
    """The other machine cannot be reached.

    Attributes:
        transient: whether it may be reachable later without anybody doing something about it.
    """

    def __init__(self, message: str, transient: bool) -> None:
        super().__init__(message)
        self.transient = transient


def _socket_folder() -> Path:
    """A folder for sockets that only this user can enter, with a short path."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and len(runtime) < 40 and os.path.isdir(runtime):
        folder = Path(runtime) / "exaworks-ssh"
    else:
        folder = Path(tempfile.gettempdir()) / f"exaworks-ssh-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if status.st_uid != os.getuid() or status.st_mode & 0o077 or folder.is_symlink():
        raise ConnectionFailed(
            f"{folder} is not a folder that only you can enter: remove it, or set XDG_RUNTIME_DIR",
            transient=False,
        )
    return folder


def _explain(address: Address, text: str) -> ConnectionFailed:
    """What ssh said, for people."""
    said = " ".join(text.split()) or "ssh ended without a word"
    if "HOST IDENTIFICATION HAS CHANGED" in text:
        line = re.search(r"Offending .* key in (\S+)", text)
        where = f" (see {line[1]})" if line else ""
        name = re.search(r"Host key for (\S+) has changed", text)
        said = (
            "its host key is not the one that is known: somebody may be listening, or the machine "
            f"was set up anew{where}. Nothing was sent. Ask the site, and then remove the old key "
            f"with: ssh-keygen -R '{name[1] if name else address.host}'"
        )
    elif "Host key verification failed" in text:
        said = f"its host key is not known yet: connect once with 'ssh {address}' and check it"
    elif "Permission denied" in text:
        said = (
            f"{said}. Open a connection yourself with 'ssh {address}' (if that asks for a "
            "password, set ControlMaster and ControlPath for this host in ~/.ssh/config and stay "
            "logged in), or set up a key and its agent"
        )
    return ConnectionFailed(
        f"cannot connect to {address}: {said}", transient=_FINAL.search(text) is None
    )


class Connection:
    """A connection to one machine. Methods block and may be called in any thread."""

    _all: ClassVar[dict[tuple[Address, tuple[str, ...]], Connection]] = {}
    _all_lock = threading.Lock()

    def __init__(self, address: Address, ssh_command: tuple[str, ...]) -> None:
        self.address = address
        self._ssh = ssh_command
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(_MOST_AT_A_TIME)
        self._transfers = threading.BoundedSemaphore(_MOST_TRANSFERS)
        self._control_path: str | None = None
        self._marker = f"exaworks-{os.urandom(8).hex()}"
        self._failure: ConnectionFailed | None = None
        self._failed_at = 0.0
        self._pause = _FIRST_PAUSE
        self._opened = False

    @classmethod
    def get(cls, address: Address, ssh_command: tuple[str, ...]) -> Connection:
        """The connection of this process to that machine."""
        with cls._all_lock:
            key = (address, ssh_command)
            if key not in cls._all:
                cls._all[key] = cls(address, ssh_command)
            return cls._all[key]

    @classmethod
    def _forget_after_fork(cls) -> None:
        cls._all_lock = threading.Lock()
        for connection in cls._all.values():
            connection._lock = threading.Lock()
            connection._slots = threading.BoundedSemaphore(_MOST_AT_A_TIME)
            connection._transfers = threading.BoundedSemaphore(_MOST_TRANSFERS)

    def execute(
        self,
        body: str,
        data: bytes | IO[bytes],
        timeout: float,
        setup: tuple[str, ...] = (),
        sink: IO[bytes] | None = None,
    ) -> shell.Reply:
        """Run shell text there.

        Args:
            body: the text.
            data: its standard input.
            timeout: seconds.
            setup: lines to run before.
            sink: a file for its output, which then is not in the reply; it is left at the
                beginning of what the text has printed.

        Returns:
            its output; without an exit code if the answer was lost on the way.

        Raises:
            ConnectionFailed: there is no connection, so it was not run.
            TimeoutError: it took too long.
        """
        text = shell.encode(shell.framed(self._marker, setup, body))
        if len(text) > shell.LONGEST:
            raise ConnectionFailed(
                f"a command for {self.address} is too long: {len(text)} bytes", transient=False
            )
        transfer = sink is not None or not isinstance(data, bytes)
        with self._slot(self._transfers if transfer else None):
            return self._execute(text, data, timeout, sink)

    @contextmanager
    def _slot(self, also: threading.BoundedSemaphore | None) -> Iterator[None]:
        """Have one of the places for commands on the connection."""
        taken = []
        try:
            for semaphore in filter(None, (also, self._slots)):
                if not semaphore.acquire(timeout=None if also else _SLOT_PATIENCE):
                    raise ConnectionFailed(
                        f"the connection to {self.address} is busy", transient=True
                    )
                taken.append(semaphore)
            yield
        finally:
            for semaphore in taken:
                semaphore.release()

    def _execute(
        self, text: str, data: bytes | IO[bytes], timeout: float, sink: IO[bytes] | None
    ) -> shell.Reply:
        deadline = time.monotonic() + timeout
        while True:
            path = self._open()
            code, out, err = self._run(self._words(path, text), data, deadline, sink)
            reply = shell.read_reply(self._marker, out, err)
            if sink is not None and reply.code is not None:
                sink.seek(len(out) - len(reply.out))
            if reply.code is not None:
                return reply
            if _BUSY in err and time.monotonic() + 1 < deadline:
                time.sleep(0.5)
                continue
            if code != _NO_CONNECTION and not reply.began:
                said = " ".join(os.fsdecode(reply.err).split())
                raise ConnectionFailed(
                    f"the set-up (remote_setup) on {self.address} failed with exit code {code}: "
                    f"{said or 'it says nothing'}",
                    transient=False,
                )
            with self._lock:
                self._control_path = None
            return reply

    def _options(self, path: str, *more: str) -> list[str]:
        port = ["-p", str(self.address.port)] if self.address.port is not None else []
        options = (f"ControlPath={path}", *_OPTIONS, *more)
        return [*self._ssh, *port, "-T", *(w for option in options for w in ("-o", option))]

    def _words(self, path: str, text: str) -> list[str]:
        # Without the master, ssh would make a connection of its own; this makes that fail.
        options = self._options(path, "ControlMaster=no", "BatchMode=yes", "ProxyCommand=false")
        return [*options, "--", self.address.destination, text]

    def _run(
        self, words: list[str], data: bytes | IO[bytes], deadline: float, sink: IO[bytes] | None
    ) -> tuple[int, bytes, bytes]:
        """Run ssh.

        Returns:
            its exit code, what it printed (of a sink, the beginning), and on standard error.
        """
        if not isinstance(data, bytes):
            data.seek(0)
        if sink is not None:
            sink.seek(0)
            sink.truncate()
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE if isinstance(data, bytes) else data,
                stdout=subprocess.PIPE if sink is None else sink,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as problem:
            raise ConnectionFailed(
                f"cannot start {words[0]}: {problem}. Install OpenSSH's client", transient=False
            ) from problem
        try:
            left = max(0.1, deadline - time.monotonic())
            out, err = process.communicate(data if isinstance(data, bytes) else None, left)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise TimeoutError from None
        except BaseException:
            process.kill()
            process.communicate()
            raise
        if sink is not None:
            sink.seek(0)
            out = sink.read(_MOST_NOISE)
        return process.returncode, out, err

    # -- the master

    def _open(self) -> str:
        """The socket of a master that is there."""
        with self._lock:
            if self._control_path is not None:
                return self._control_path
            if self._failure is not None:
                left = self._failed_at + self._pause - time.monotonic()
                if left > _FIRST_PAUSE:
                    raise self._failure
                time.sleep(max(0.0, left))
            try:
                self._control_path = self._find_master() or self._start_master()
            except ConnectionFailed as failure:
                if self._failure is not None:
                    self._pause = min(2 * self._pause, _LONGEST_PAUSE)
                self._failure, self._failed_at = failure, time.monotonic()
                raise
            if self._opened:
                logger.info("connected to %s again", self.address)
            self._opened, self._failure, self._pause = True, None, _FIRST_PAUSE
            return self._control_path

    def _tool(self, *words: str) -> subprocess.CompletedProcess[str]:
        port = ["-p", str(self.address.port)] if self.address.port is not None else []
        try:
            return subprocess.run(
                [*self._ssh, *port, *words, "--", self.address.destination],
                capture_output=True,
                stdin=subprocess.DEVNULL,
                text=True,
                errors="replace",
                timeout=_CONNECT_TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            raise ConnectionFailed(f"{self._ssh[0]} does not answer", transient=True) from late
        except OSError as problem:
            raise ConnectionFailed(
                f"cannot start {self._ssh[0]}: {problem}. Install OpenSSH's client", transient=False
            ) from problem

    def _alive(self, path: str) -> bool:
        return (
            os.path.exists(path)
            and not self._tool("-o", f"ControlPath={path}", "-O", "check").returncode
        )

    def _find_master(self) -> str | None:
        """The socket of a master that the user has opened."""
        settings = self._tool("-G")
        if settings.returncode:
            raise _explain(self.address, settings.stderr)
        for line in settings.stdout.splitlines():
            name, _, path = line.partition(" ")
            if name == "controlpath" and path != "none" and self._alive(os.path.expanduser(path)):
                return os.path.expanduser(path)
        return None

    def _start_master(self) -> str:
        key = repr((self._ssh, self.address)).encode()
        path = str(_socket_folder() / hashlib.sha256(key).hexdigest()[:16])
        with open(f"{path}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # other processes of the user may do the same
            try:
                if not self._alive(path):
                    if os.path.exists(path):
                        os.unlink(path)
                    self._connect(path)
            finally:  # a fork may have copied the descriptor
                fcntl.flock(lock, fcntl.LOCK_UN)
        return path

    def _connect(self, path: str) -> None:
        # Only a person who has just started something can be asked for a password.
        ask = (
            not self._opened
            and threading.current_thread() is threading.main_thread()
            and sys.stdin is not None
            and sys.stdin.isatty()
        )
        more = [] if ask else ["BatchMode=yes"]
        words = self._options(
            path,
            "ControlMaster=yes",
            f"ControlPersist={PERSIST}",
            f"ConnectTimeout={_CONNECT_TIMEOUT}",
            *more,
        )
        # The master inherits standard error and keeps it open, so it must not be a pipe.
        with tempfile.TemporaryFile() as err:
            try:
                process = subprocess.Popen(
                    [*words, "--", self.address.destination, "exit 0"],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=err,
                    start_new_session=not ask,
                )
                code = process.wait(None if ask else 2 * _CONNECT_TIMEOUT)
            except subprocess.TimeoutExpired as late:
                process.kill()
                process.wait()
                raise ConnectionFailed(
                    f"cannot connect to {self.address}: no answer", transient=True
                ) from late
            except OSError as problem:
                raise ConnectionFailed(
                    f"cannot start {words[0]}: {problem}. Install OpenSSH's client",
                    transient=False,
                ) from problem
            err.seek(0)
            said = err.read().decode("utf-8", "replace")
        if code or not os.path.exists(path):
            raise _explain(self.address, said)


os.register_at_fork(after_in_child=Connection._forget_after_fork)
