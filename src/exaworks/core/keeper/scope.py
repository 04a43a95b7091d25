"""Where a keeper lives: one folder for each user, host and, inside one, batch job."""

from __future__ import annotations

import os
import re
import socket
import stat
import sys

from .processes import pid_namespace
from .protocol import VERSION, KeeperError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

SOCKET = "keeper.sock"
LOCK = "keeper.lock"
LOG = "keeper.log"
DATABASE = "keeper.db"
NAMESPACE = "pid-namespace"
JOB_LOGS = "log"

_MAX_ADDRESS = 100
"""Bytes that a socket's address may have everywhere (108 on Linux, 104 on macOS)."""

# Each names the batch job, or what is torn down together with it, that we run in.
_BATCH_VARIABLES = (
    ("SLURM_JOB_ID", "SLURM_STEP_ID"),
    ("PBS_JOBID",),
    ("LSB_JOBID", "LSB_JOBINDEX"),
    ("OAR_JOB_ID",),
    ("COBALT_JOBID",),
    ("FLUX_JOB_ID",),
)


def batch_job(environ: Mapping[str, str]) -> str:
    """Return the id of the batch job that ``environ`` belongs to, "" outside of one.

    A keeper that was started inside a batch job dies with it, so it must not serve others.
    """
    names = [names for names in _BATCH_VARIABLES if environ.get(names[0])]
    if not names and environ.get("JOB_ID") and ("SGE_ROOT" in environ or "SGE_TASK_ID" in environ):
        names = [("JOB_ID", "SGE_TASK_ID")]
    parts = [environ.get(name, "") for group in names[:1] for name in group]
    text = "-".join(part for part in parts if part not in ("", "undefined"))
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-")


def scope_folder(home: str | None, environ: Mapping[str, str]) -> str:
    """Return the path of the scope folder: ``<home>/local/<host>[.<batch job>].v<version>``.

    ``home`` is EXAWORKS_HOME, or ``~/.exaworks``, when it is None.
    """
    if home is None:
        home = environ.get("EXAWORKS_HOME") or os.path.expanduser("~/.exaworks")
    host = re.sub(r"[^A-Za-z0-9._-]+", "-", socket.gethostname()).lstrip(".") or "localhost"
    job = batch_job(environ)
    name = f"{host}.{job}" if job else host
    return os.path.join(os.path.abspath(home), "local", f"{name}.v{VERSION}")


def namespace_folder(folder: str) -> str:
    """Return the scope folder for another PID namespace on the same host name as ``folder``'s."""
    return f"{folder}.{''.join(filter(str.isdigit, pid_namespace()))}"


def recorded_namespace(folder: str) -> str | None:
    """Return the PID namespace of the keeper that was started last in ``folder``."""
    try:
        with open(os.path.join(folder, NAMESPACE)) as file:
            return file.read()
    except OSError:
        return None


def make_folder(folder: str) -> None:
    """Create the scope folder, for its user alone.

    Raises:
        KeeperError: not possible, or it belongs to somebody else.
    """
    try:
        os.makedirs(os.path.dirname(folder), mode=0o700, exist_ok=True)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        found = os.lstat(folder)
    except OSError as error:
        raise KeeperError(
            f"cannot make the folder {folder} of the keeper of local jobs: {error.strerror}; "
            "set EXAWORKS_HOME to a folder on a disk where you can write"
        ) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise KeeperError(
            f"the folder {folder} of the keeper of local jobs belongs to user {found.st_uid}, "
            f"not to you ({os.getuid()}); set EXAWORKS_HOME to a folder of your own"
        )
    if stat.S_IMODE(found.st_mode) != 0o700:
        os.chmod(folder, 0o700)


class SocketAddress:
    """A context in which the socket of ``folder`` has an address that is short enough."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._fd = -1

    def __enter__(self) -> str:
        path = os.path.join(self._folder, SOCKET)
        if len(os.fsencode(path)) <= _MAX_ADDRESS:
            return path
        if not sys.platform.startswith("linux"):
            raise KeeperError(
                f"the path {path} is too long for a socket; "
                f"set EXAWORKS_HOME to a folder with a path shorter by "
                f"{len(os.fsencode(path)) - _MAX_ADDRESS} bytes"
            )
        self._fd = os.open(self._folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        return f"/proc/self/fd/{self._fd}/{SOCKET}"

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
