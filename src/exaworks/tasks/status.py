"""What an engine that runs does, for other programs of its user on this machine.

Each engine listens at a Unix socket, ``<home>/engines/<host>/<id>.sock``. Who connects gets one
line of JSON and the end of the stream; as long as nobody does, nothing is done. The home folder may
be shared by machines, so each has a folder of its own there. The line is an object, the *snapshot*:

``id``, ``engine``
    the id of the engine, and what it is called, such as ``"local"``
``program``, ``pid``, ``user``, ``host``
    the program that has it, the number of its process, who runs it, and where
``started``, ``uptime``
    when the engine began, in seconds since the epoch, and for how many seconds it has run
``waiting``, ``running``, ``completed``, ``failed``, ``canceled``
    numbers of tasks; those that were handed to workers run
``nodes``
    a list of objects with ``name``; ``cores``, ``gpus`` and ``memory`` (bytes; 0: not counted);
    ``free_cores``, ``free_gpus`` (may be a fraction) and ``free_memory``; and ``remaining``, the
    seconds until the node will go, or ``null``
``source``
    where the nodes come from (:meth:`QueuedEngine.origin`): nothing, or such as ``executor``,
    ``job``, ``state`` and ``remaining`` (seconds), or ``source`` (in words)
``failures``
    the last tasks that failed, the newest last: objects with ``task``, ``title`` and ``message``
    (its first line)
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import socket
import stat
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from exaworks.tasks.future import TaskFuture
    from exaworks.tasks.queued import QueuedEngine

__all__ = ["SUFFIX", "Failed", "StatusPort", "failed", "short_address", "snapshot", "status_folder"]

logger = logging.getLogger(__name__)

SUFFIX = ".sock"
"""How the names of sockets end."""

_MOST_ADDRESS = 100
"""Bytes that a socket's address may have everywhere (108 on Linux, 104 on macOS)."""

_NODES_AT_A_TIME = 256

_PAUSE = 1.0
"""Seconds for which nobody is answered when the process may open no more files."""


class Failed:
    """A task that failed, as an engine remembers it.

    Attributes:
        task: its id.
        title: what people call it.
        why: a message, or the pickle of an exception and its traceback, as a worker has sent it.
    """

    __slots__ = ("task", "title", "why")

    def __init__(self, task: str, title: str, why: str | bytes) -> None:
        self.task = task
        self.title = title
        self.why = why

    def told(self) -> dict[str, str]:
        """It in a snapshot."""
        why = self.why if isinstance(self.why, str) else _last_words(self.why)
        return {"task": self.task, "title": self.title, "message": why.strip().partition("\n")[0]}


def failed(task: TaskFuture[Any], outcome: Any) -> Failed | None:
    """What to remember of a task that is about to fail, without what its exception refers to.

    Args:
        task: it.
        outcome: what it has come to.

    Returns:
        ``None`` if it has ended before.
    """
    from exaworks.tasks.local.outcome import Received

    record = task._task
    if record is None:
        return None
    if not isinstance(outcome, Received):
        why: str | bytes = str(outcome.exception())
    else:
        # It is not unpickled: that may import modules, and the engine waits. A large one stays out.
        why = "" if outcome._data is None or outcome._fd >= 0 else outcome._data
    return Failed(task.id, record.title, why)


def _last_words(pickled: bytes) -> str:
    """What the traceback in the answer of a worker says of the exception, without unpickling it."""
    import pickletools

    text = ""  # the traceback comes last
    with contextlib.suppress(ValueError):
        for _, argument, _ in pickletools.genops(pickled):
            if isinstance(argument, str):
                text = argument
    lines = text.rpartition("Traceback (most recent call last):\n")[2].splitlines()
    return next((line for line in lines if line[:1].strip()), "")


def snapshot(engine: QueuedEngine, id: str, started: float, uptime: float) -> Iterator[bytes]:
    """What an engine does, as JSON; see the module.

    Args:
        engine: it.
        id: its id when it began, which its socket is called by.
        started: when it began, in seconds since the epoch.
        uptime: seconds since then.

    Yields:
        parts of the line, each made quickly, also where there are thousands of nodes.
    """
    with engine.lock:
        waiting = engine.scheduler.waiting
        running = engine._unfinished - waiting
        counts = dict(engine.counts)
        failures = list(engine.failures)
        source = engine.origin()
        nodes = list(engine.scheduler._nodes.values())
    told = {
        "id": id,
        "engine": engine.name,
        "program": os.path.basename(sys.argv[0] if sys.argv else "") or "python",
        "pid": os.getpid(),
        "user": os.environ.get("USER") or str(os.getuid()),  # the database of users may be far
        "host": socket.gethostname(),
        "started": started,
        "uptime": uptime,
        "waiting": waiting,
        "running": running,
        **counts,
        "source": source,
        "failures": [each.told() for each in failures],
    }
    yield json.dumps(told, default=str).encode()[:-1] + b', "nodes": ['
    now = time.monotonic()
    for start in range(0, len(nodes), _NODES_AT_A_TIME):
        with engine.lock:
            some = [_node(node, now) for node in nodes[start : start + _NODES_AT_A_TIME]]
        yield (b", " if start else b"") + json.dumps(some).encode()[1:-1]
    yield b"]}\n"


def _node(node: Any, now: float) -> dict[str, Any]:
    # Scheduler.free() makes lists of cores, which takes long.
    return {
        "name": node.has.name,
        "cores": len(node.has.cores),
        "free_cores": len(node.cores),
        "gpus": len(node.has.gpus),
        "free_gpus": round(sum(node.gpus.values()), 3),
        "memory": node.has.memory,
        "free_memory": node.memory,
        "remaining": None if node.end == float("inf") else max(0.0, node.end - now),
    }


# The engine's side


class StatusPort:
    """Lets others look at an engine. All but the constructor runs in the thread of its reactor."""

    def __init__(self, engine: QueuedEngine) -> None:
        self._engine = engine
        self._id = engine.id
        self._started, self._begun = time.time(), time.monotonic()
        self._listener: socket.socket | None = None
        self._clients: dict[socket.socket, _Answer] = {}
        self._path = ""

    def open(self) -> None:
        """Listen, if that is possible."""
        try:
            folder = status_folder()
            _make_folder(folder)
            self._listener = _listen(folder, self._id)
        except OSError as problem:
            logger.debug("nobody can look at %s: %s", self._id, problem)
            return
        self._path = os.path.join(folder, self._id + SUFFIX)
        _open_ports[id(self)] = self
        self._engine.reactor.add_reader(self._listener.fileno(), self._accept)

    def close(self) -> None:
        """Remove the socket."""
        if self._listener is None:
            return
        with contextlib.suppress(OSError):
            os.unlink(self._path)
        self._engine.reactor.remove_reader(self._listener.fileno())
        for client in list(self._clients):
            self._drop(client)
        self.forget()

    def forget(self) -> None:
        """Close what is open; the socket's name stays."""
        _open_ports.pop(id(self), None)
        for each in (self._listener, *self._clients):
            if each is not None:
                each.close()
        self._listener = None
        self._clients.clear()

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            client, _ = self._listener.accept()
        except OSError as problem:
            if problem.errno in (errno.EMFILE, errno.ENFILE):
                # The client stays in the queue and would wake us again and again.
                self._engine.reactor.remove_reader(self._listener.fileno())
                self._engine.reactor.call_later(_PAUSE, self._resume)
            return
        client.setblocking(False)
        uptime = time.monotonic() - self._begun
        parts = snapshot(self._engine, self._id, self._started, uptime)
        self._clients[client] = _Answer(client, parts)
        self._engine.reactor.add_writer(client.fileno(), lambda: self._send(client))

    def _resume(self) -> None:
        if self._listener is not None:
            self._engine.reactor.add_reader(self._listener.fileno(), self._accept)

    def _send(self, client: socket.socket) -> None:
        more = False
        try:
            more = self._clients[client].send()
        finally:
            if not more:
                self._drop(client)

    def _drop(self, client: socket.socket) -> None:
        self._engine.reactor.remove_writer(client.fileno())
        del self._clients[client]
        client.close()


class _Answer:
    """What somebody who looks is sent."""

    def __init__(self, client: socket.socket, parts: Iterator[bytes]) -> None:
        self._client = client
        self._parts = parts
        self._unsent = memoryview(b"")

    def send(self) -> bool:
        """Send some; false: that was all, or nobody reads it any more."""
        if not self._unsent:
            self._unsent = memoryview(next(self._parts, b""))
        try:
            sent = self._client.send(self._unsent)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self._unsent = self._unsent[sent:]
        return sent > 0


_open_ports: dict[int, StatusPort] = {}


def _forget_after_fork() -> None:
    """A child has no engines: who connects is not to wait for an answer from it."""
    for port in list(_open_ports.values()):
        port.forget()


os.register_at_fork(after_in_child=_forget_after_fork)


def status_folder() -> str:
    """Where the sockets of this machine are.

    Raises:
        OSError: there is no home folder.
    """
    # As core.config.home() has it, without pathlib, whose import takes longer than all of this.
    home = os.environ.get("EXAWORKS_HOME") or os.path.expanduser("~/.exaworks")
    if home.startswith("~"):
        raise FileNotFoundError(errno.ENOENT, "there is no home folder; set EXAWORKS_HOME", home)
    host = socket.gethostname().replace("/", "-") or "localhost"
    return os.path.join(os.path.abspath(home), "engines", host)


def _make_folder(folder: str) -> None:
    for each in (os.path.dirname(folder), folder):
        os.makedirs(each, mode=0o700, exist_ok=True)
        found = os.lstat(each)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise PermissionError(errno.EACCES, "this is no folder of this user", each)
        if stat.S_IMODE(found.st_mode) != 0o700:
            os.chmod(each, 0o700)


def _listen(folder: str, id: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # It gets its name when it listens: one that does not is taken for a remnant, and removed.
        hidden = os.path.join(folder, f".{id}")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(hidden)
        with short_address(hidden) as address:
            listener.bind(address)
        listener.listen(64)
        os.rename(hidden, os.path.join(folder, f"{id}{SUFFIX}"))
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


@contextlib.contextmanager
def short_address(path: str) -> Iterator[str]:
    """An address of a socket that is short enough."""
    if len(os.fsencode(path)) <= _MOST_ADDRESS or not sys.platform.startswith("linux"):
        yield path
        return
    fd = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{os.path.basename(path)}"
    finally:
        os.close(fd)
