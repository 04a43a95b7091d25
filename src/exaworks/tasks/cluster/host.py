"""A process of its own for another system: one that forks, keeps threads, or outlives its program.

The process ends what it has started as soon as its standard input ends, and so does all when the
program is killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import exaworks
from exaworks.core.workers.wire import Packed, pack
from exaworks.tasks.cluster.boot import Boot
from exaworks.tasks.cluster.source import Source
from exaworks.tasks.errors import EngineFailed

__all__ = ["Host", "HostSource", "Orders", "serve"]

_COMMAND = (
    "import sys; sys.path[:0] = [sys.argv.pop(1)]; "
    "from exaworks.tasks.cluster.host import serve; serve()"
)
_SECONDS_TO_END = 60.0
_TAIL = 2000

Order = tuple[int, list[str], dict[str, str], int]
"""The number of a source, its agent, its variables, and how many agents it wants."""


class Orders:
    """What the program wants of the process: sources to start, one after the other."""

    def __init__(self) -> None:
        self._out = sys.stdout.buffer
        self._lock = threading.Lock()

    def __iter__(self) -> Orders:
        return self

    def __next__(self) -> Order:
        line = sys.stdin.buffer.readline()
        if not line.endswith(b"\n"):
            raise StopIteration
        number, words, environment, count = json.loads(line)
        return number, words, environment, count

    def failed(self, number: int, why: str) -> None:
        """Tell that a source has ended; number 0: all have."""
        with self._lock, contextlib.suppress(OSError):
            self._out.write(json.dumps([number, why]).encode() + b"\n")
            self._out.flush()


def serve() -> None:
    """Be such a process."""
    size = int(sys.stdin.buffer.readline())
    run, values = pickle.loads(sys.stdin.buffer.read(size))
    orders = Orders()
    sys.stdout = sys.stderr  # what other systems print does not get in between
    try:
        run(orders, **values)
    except BaseException as problem:
        orders.failed(0, f"{type(problem).__name__}: {problem}")
        raise


class Host:
    """The program's side of the process."""

    def __init__(self, title: str, run: Callable[..., None], **values: Any) -> None:
        """Start it.

        Args:
            title: what to call the other system.
            run: what it is to do: a function of a module, called with :class:`Orders` and values.
            values: those values.

        Raises:
            EngineFailed: it cannot be started.
        """
        self.title = title
        self._sources: dict[int, Callable[[str], None]] = {}
        self._lock = threading.Lock()
        self._why: str | None = None
        self._count = 0
        package = os.path.dirname(os.path.dirname(os.path.abspath(exaworks.__file__)))
        payload = pack((run, values), "the arguments")
        if isinstance(payload, Packed):
            raise EngineFailed(f"{title}: its settings are too large")
        self._log: bytes = b""
        # Such systems look for programs of theirs in PATH, also if no environment is activated.
        path = f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        self._process = subprocess.Popen(
            [sys.executable, "-c", _COMMAND, package],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env={**os.environ, "PATH": path},
        )
        assert self._process.stdin is not None
        self._process.stdin.write(b"%d\n" % len(payload) + payload)
        self._process.stdin.flush()
        self._complaints = threading.Thread(target=self._collect, daemon=True)
        self._complaints.start()
        threading.Thread(target=self._listen, daemon=True).start()

    def _collect(self) -> None:
        assert self._process.stderr is not None
        while data := os.read(self._process.stderr.fileno(), 1 << 16):
            self._log = (self._log + data)[-_TAIL:]

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            number, why = json.loads(line)
            if number == 0:
                self._why = why
            else:
                self._tell(number, why)
        code = self._process.wait()
        self._complaints.join(1.0)
        log = self._log.decode("utf-8", "replace").strip()
        why = self._why or f"its process has exited with code {code}: {log}"
        with self._lock:
            self._why = why
            numbers = list(self._sources)
        for number in numbers:
            self._tell(number, why)

    def _tell(self, number: int, why: str) -> None:
        with self._lock:
            failed = self._sources.pop(number, None)
        if failed is not None:
            failed(why)

    def order(self, boot: Boot, count: int, settings: dict[str, Any]) -> None:
        """Ask for so many agents.

        Raises:
            EngineFailed: the process has ended.
        """
        environment = boot.environment(**settings)
        with self._lock:
            if self._why is not None:
                raise EngineFailed(f"{self.title}: {self._why}")
            self._count += 1
            number = self._count
            self._sources[number] = boot.failed
            assert self._process.stdin is not None
            line = json.dumps([number, boot.words(), environment, count]).encode() + b"\n"
            try:
                self._process.stdin.write(line)
                self._process.stdin.flush()
            except OSError as problem:
                raise EngineFailed(f"{self.title}: {problem}") from problem

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def close(self) -> None:
        """Let it end everything, and wait for that."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class HostSource(Source):
    """Agents that such a process starts."""

    def __init__(self, host: Host, nodes: int, owned: bool, **settings: Any) -> None:
        """Begin nothing yet.

        Args:
            host: the process.
            nodes: how many agents it is asked for.
            owned: it ends with this source.
            settings: what agents are told.
        """
        self._host = host
        self._owned = owned
        self._settings = settings
        self.expected = nodes
        self.title = host.title

    def start(self, boot: Boot) -> None:
        """See :meth:`Source.start`."""
        self._host.order(boot, self.expected, self._settings)

    def stop(self) -> None:
        """See :meth:`Source.stop`."""
        if self._owned:
            self._host.close()
