"""This side: a task that has our terminal, or our standard streams."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import queue
import secrets
import select
import signal
import sys
import termios
import tty
from typing import Any

import exaworks
from exaworks.core.reactor import Reactor
from exaworks.tasks.cluster.channel import Channel
from exaworks.tasks.cluster.door import Door, addresses_of_this_machine
from exaworks.tasks.engine import Engine
from exaworks.tasks.errors import TaskFailed
from exaworks.tasks.future import TaskFuture
from exaworks.tasks.spec import TaskSpec
from exaworks.tasks.terminal.relay import SETTINGS

__all__ = ["Terminal"]

_COMMAND = (
    "import sys; sys.path[:0] = [sys.argv.pop(1)]; "
    "from exaworks.tasks.terminal.relay import main; sys.exit(main(sys.argv[1:]))"
)
_CHUNK = 1 << 16
_LOOK = 0.2
_SECONDS_TO_CONNECT = 60.0


class Terminal:
    """Runs one command in an engine as if it ran here."""

    def __init__(self, engine: Engine, address: str | None, python: str | None = None) -> None:
        """Prepare.

        Args:
            engine: where the command is to run.
            address: where to listen for it, as for :class:`Allocation`.
            python: the interpreter on the nodes; ``None``: the path of this one.
        """
        self._engine = engine
        self._python = python or sys.executable
        self._reactor = Reactor()
        self._secret = secrets.token_bytes(32)
        self._channels: queue.SimpleQueue[Channel] = queue.SimpleQueue()
        self._door = Door(self._reactor, self._secret, address, self._channels.put)
        self._reactor.start()
        hosts = [address] if address is not None else addresses_of_this_machine()
        self._addresses = [(host, self._door.port) for host in hosts]
        self._is_terminal = os.isatty(0) and os.isatty(1)

    def run(self, words: list[str], **fields: Any) -> int:
        """Run a command, and pass on what is said here and there until it ends.

        Args:
            words: the command.
            fields: further ones of its :class:`TaskSpec`.

        Returns:
            its exit code; 128 + n if signal n has ended it.

        Raises:
            TaskFailed: it could not be started.
            TaskError: its node was lost.
        """
        package = os.path.dirname(os.path.dirname(os.path.abspath(exaworks.__file__)))
        settings = {
            "addresses": self._addresses,
            "secret": self._secret.hex(),
            "patience": _SECONDS_TO_CONNECT,
            "size": list(_size()) if self._is_terminal else None,
        }
        environment = {SETTINGS: base64.b64encode(json.dumps(settings).encode()).decode()}
        spec = TaskSpec(
            [self._python, "-c", _COMMAND, package, *words],
            name=os.path.basename(words[0]),
            environment={**environment, **fields.pop("environment", {})},
            check=False,
            **fields,
        )
        task = self._engine.launch(spec)
        try:
            return self._serve(task)
        finally:
            task.cancel()
            self._reactor.call_soon(self._door.close)
            self._reactor.stop()

    def _serve(self, task: TaskFuture[Any]) -> int:
        channel = self._wait_for(task)
        try:
            with _raw(self._is_terminal), _signals(channel, self._is_terminal):
                code = self._pass_on(channel)
        finally:
            channel.close()
        if code is None:  # the connection broke: the task tells why
            result = task.result()
            raise TaskFailed(f"{task.id} {result}", result)
        return code

    def _wait_for(self, task: TaskFuture[Any]) -> Channel:
        while True:
            try:
                return self._channels.get(timeout=_LOOK)
            except queue.Empty:
                if task.done():
                    result = task.result()
                    said = result.stderr.decode("utf-8", "replace").strip()
                    raise TaskFailed(f"{task.id} {result}: {said}", result) from None

    def _pass_on(self, channel: Channel) -> int | None:
        connection = channel.connection.fileno()
        inputs = [0]
        while True:
            readable = [connection, *(() if channel.unsent else inputs)]
            ready, _, _ = select.select(readable, [connection] * channel.unsent, [], _LOOK)
            channel.flush()
            if 0 in ready:
                try:
                    data = os.read(0, _CHUNK)
                except OSError:  # we are in the background, or the terminal is gone
                    data = b""
                channel.put([("in", data)] if data else [("eof",)])
                if not data:
                    inputs = []
            if connection in ready:
                messages = channel.get()
                if messages is None:
                    return None
                for kind, *rest in messages:
                    if kind == "exit":
                        status: int = rest[0]
                        return status if status >= 0 else 128 - status
                    if kind == "failed":
                        raise TaskFailed(rest[0], exit_code=rest[1])
                    _write_all(1 if kind == "out" else 2, rest[0])


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _size() -> tuple[int, int]:
    columns, rows = os.get_terminal_size(1)
    return rows, columns


@contextlib.contextmanager
def _raw(wanted: bool) -> Any:
    """Let our terminal pass every key on."""
    if not wanted:
        yield
        return
    before = termios.tcgetattr(0)
    tty.setraw(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _signals(channel: Channel, is_terminal: bool) -> Any:
    """Pass signals on, and changes of the size of the terminal."""

    def resized(number: int, frame: object) -> None:
        channel.put([("size", *_size())])

    def passed_on(number: int, frame: object) -> None:
        channel.put([("signal", number)])

    handlers: dict[int, Any] = {signal.SIGTERM: passed_on, signal.SIGINT: passed_on}
    if is_terminal:
        handlers[signal.SIGWINCH] = resized
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
