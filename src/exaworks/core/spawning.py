"""Starting processes with posix_spawn: no shell, no fork, whatever the size of this process."""

from __future__ import annotations

import errno
import os
import signal
import stat
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "LaunchError",
    "NoRoom",
    "check_room",
    "encode_variables",
    "find_executable",
    "spawn",
    "system_bytes",
]

_TRANSIENT = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOBUFS)

# Python ignores some signals, and a shell's background command ignores SIGINT and SIGQUIT.
_DEFAULT_SIGNALS = [
    getattr(signal, name)
    for name in (
        "SIGHUP", "SIGINT", "SIGQUIT", "SIGPIPE", "SIGALRM", "SIGTERM", "SIGUSR1", "SIGUSR2",
        "SIGCHLD", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGXCPU", "SIGXFSZ",
    )
]  # fmt: skip


class LaunchError(Exception):
    """A process can never be started; ``exit_code`` is what a shell would report, if anything."""

    def __init__(self, message: str, exit_code: int | None = None) -> None:
        # A name that is not valid UTF-8 must not make the message impossible to store.
        super().__init__(message.encode("utf-8", "backslashreplace").decode())
        self.exit_code = exit_code


class NoRoom(Exception):
    """The system has no room for another process or file at the moment."""

    exit_code = None


def system_bytes(text: str) -> bytes:
    """Return the bytes that ``text`` stands for.

    Raises:
        ValueError: ``text`` holds a NUL character or a surrogate that stands for no byte.
    """
    data = text.encode("utf-8", "surrogateescape")
    if b"\0" in data:
        raise ValueError(f"{text!r} holds a NUL character")
    return data


def encode_variables(variables: Mapping[str, object]) -> dict[bytes, bytes]:
    """Return environment variables as bytes.

    Raises:
        ValueError: a name or value is impossible; the message names it.
    """
    encoded = {}
    for name, value in variables.items():
        if not name or "=" in name or not isinstance(value, str):
            raise ValueError(f"impossible environment variable {name!r}: {value!r}")
        encoded[system_bytes(name)] = system_bytes(value)
    return encoded


def check_room(error: OSError) -> None:
    """Raise :class:`NoRoom` if that is what an error means."""
    if error.errno in _TRANSIENT:
        raise NoRoom(error.strerror) from error


def find_executable(name: bytes, variables: dict[bytes, bytes]) -> bytes:
    """Return the path of an executable, looked up as execvp does in the job's own PATH."""
    if b"/" in name:
        return name
    denied = None
    for folder in variables.get(b"PATH", os.fsencode(os.defpath)).split(b":"):
        path = folder + b"/" + name if folder else b"./" + name
        try:
            found = os.stat(path)
        except OSError:
            continue
        if not stat.S_ISREG(found.st_mode):
            continue
        if os.access(path, os.X_OK):
            return path
        denied = path
    if denied:
        raise LaunchError(f"cannot execute {os.fsdecode(denied)}: Permission denied", 126)
    raise LaunchError(f"cannot find the executable {os.fsdecode(name)} in the PATH of the job", 127)


def spawn(
    path: bytes,
    argv: list[bytes],
    variables: dict[bytes, bytes],
    actions: list[tuple[int, int, int]],
) -> int:
    """Start a process that leads a session of its own; return its process id.

    Args:
        path: the executable; a script without a first line that names its interpreter is run by
            the shell, as execvp does it.
        argv: its arguments, with its name.
        variables: its environment.
        actions: what to do with descriptors, see :func:`os.posix_spawn`.

    Raises:
        LaunchError: it can never be started; the message names what is wrong.
        NoRoom: it cannot be started now.
    """
    busy = 5
    while True:
        try:
            return os.posix_spawn(
                path,
                argv,
                variables,
                file_actions=actions,
                setsid=True,
                setsigmask=(),
                setsigdef=_DEFAULT_SIGNALS,
            )
        except OSError as error:
            check_room(error)
            if error.errno == errno.ENOEXEC and path != b"/bin/sh":
                argv = [b"/bin/sh", path, *argv[1:]]
                path = b"/bin/sh"
                continue
            if error.errno == errno.ETXTBSY and busy:
                # Somebody else's child, not yet past its exec, still has the new file open.
                busy -= 1
                time.sleep(0.002)
                continue
            text = os.fsdecode(path)
            if error.errno == errno.ENOENT and os.path.exists(path):
                raise LaunchError(
                    f"cannot execute {text}: the interpreter its first line names does not exist",
                    127,
                ) from error
            code = 127 if error.errno in (errno.ENOENT, errno.ENOTDIR) else 126
            raise LaunchError(f"cannot execute {text}: {error.strerror}", code) from error
