"""One connection to a broker: its socket, or ``ssh`` with ``flux relay``, on the reactor."""

from __future__ import annotations

import contextlib
import errno as errnos
import os
import socket
import subprocess
from collections import deque
from collections.abc import Callable

from exaworks.core.reactor import Reactor
from exaworks.psij.executors.flux.address import Address
from exaworks.psij.executors.flux.messages import Decoder, FluxError, ProtocolError, Response

__all__ = ["Connection", "ConnectionFailed"]

_WELCOME_TIMEOUT = 30.0
_READ = 1 << 18
_KILL_AFTER = 5.0
_GONE_WORDS = ("No such file or directory", "Connection refused")
_NOBODY_LISTENS = (errnos.ENOENT, errnos.ECONNREFUSED)
_SSH_FAILED = 255


class ConnectionFailed(Exception):
    """There is no connection, or no more.

    Attributes:
        gone: whether nobody listens at the address: the instance is not there.
        refused: whether the broker is there but does not let us in.
    """

    def __init__(self, message: str, gone: bool = False, refused: bool = False) -> None:
        super().__init__(message)
        self.gone = gone
        self.refused = refused


class Connection:
    """All methods are to be called in the reactor's thread."""

    def __init__(
        self,
        address: Address,
        welcomed: Callable[[], None],
        answered: Callable[[Response], None],
        ended: Callable[[ConnectionFailed], None],
    ) -> None:
        """Connect.

        Args:
            address: where to.
            welcomed: called when the broker has let us in.
            answered: called with each answer.
            ended: called once if the connection fails or ends, not after :meth:`close`.

        Raises:
            ConnectionFailed: that cannot even be begun.
        """
        self._address = address
        self._welcomed = welcomed
        self._answered = answered
        self._ended = ended
        self._decoder = Decoder()
        self._out: deque[bytes] = deque()
        self._part = memoryview(b"")
        self._blocked = self._closed = False
        self._relay: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = self._open()
        self._socket.setblocking(False)
        reactor = Reactor.get()
        reactor.add_reader(self._socket.fileno(), self._read)
        self._timer = reactor.call_later(_WELCOME_TIMEOUT, self._not_welcomed)

    def _open(self) -> socket.socket:
        if self._address.command is not None:
            return self._open_relay(self._address.command)
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.setblocking(False)
            connection.connect(self._address.path)
        except OSError as problem:
            connection.close()
            number = problem.errno
            raise ConnectionFailed(
                f"cannot connect to a Flux broker at {self._address.uri}: "
                f"{problem.strerror or problem}",
                number in _NOBODY_LISTENS,
                number in (errnos.EACCES, errnos.EPERM),
            ) from problem
        return connection

    def _open_relay(self, command: tuple[str, ...]) -> socket.socket:
        ours, theirs = socket.socketpair()
        try:
            # In a session of its own: a Ctrl-C at the terminal is not for it.
            self._relay = subprocess.Popen(
                command,
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as problem:
            ours.close()
            raise ConnectionFailed(f"cannot run {command[0]}: {problem}") from problem
        finally:
            theirs.close()
        assert self._relay.stderr is not None
        os.set_blocking(self._relay.stderr.fileno(), False)
        return ours

    def send(self, data: bytes) -> None:
        """Write a message, now or as soon as the broker takes it."""
        self._out.append(data)
        if self._decoder.welcomed and not self._blocked:
            self._write()

    def close(self) -> None:
        """End the connection."""
        connection, self._socket, self._closed = self._socket, None, True
        if connection is None:
            return
        self._timer.cancel()
        reactor = Reactor.get()
        reactor.remove_reader(connection.fileno())
        reactor.remove_writer(connection.fileno())
        connection.close()
        if self._relay is not None:
            _reap(self._relay)

    def abandon(self) -> None:
        """Close this process's copies of the descriptors, after a fork."""
        if self._socket is not None:
            self._socket.close()
        if self._relay is not None:
            if self._relay.stderr is not None:
                self._relay.stderr.close()
            self._relay.returncode = 0  # it is the parent's child

    def _not_welcomed(self) -> None:
        self._fail(
            ConnectionFailed(
                f"{self._address.uri} did not answer within {_WELCOME_TIMEOUT:g} s"
                + self._relay_words()
            )
        )

    def _write(self) -> None:
        connection = self._socket
        if connection is None:
            return
        while self._part or self._out:
            if not self._part:
                self._part = memoryview(self._out.popleft())
            try:
                sent = connection.send(self._part)
            except BlockingIOError:
                if not self._blocked:
                    Reactor.get().add_writer(connection.fileno(), self._write)
                    self._blocked = True
                return
            except OSError:  # the reader sees it too, and what the broker said before
                self._out.clear()
                self._part = memoryview(b"")
                break
            self._part = self._part[sent:]
        if self._blocked:
            Reactor.get().remove_writer(connection.fileno())
            self._blocked = False

    def _read(self) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(_READ)
            was_welcomed = self._decoder.welcomed
            responses = self._decoder.feed(data)
        except BlockingIOError:
            return
        except FluxError as problem:
            self._fail(
                ConnectionFailed(
                    f"the Flux broker at {self._address.uri} lets only its owner in"
                    if problem.errno == errnos.EPERM
                    else f"the Flux broker at {self._address.uri}: {problem}",
                    refused=True,
                )
            )
            return
        except ProtocolError as problem:
            words = self._relay_words() or f": {problem}"
            self._fail(
                ConnectionFailed(f"{self._address.uri} does not answer as a Flux broker{words}")
            )
            return
        except OSError as problem:
            self._fail(ConnectionFailed(f"{self._address.uri}: {problem.strerror or problem}"))
            return
        if not data:
            self._fail(self._end_of_file())
            return
        if self._decoder.welcomed and not was_welcomed:
            self._timer.cancel()
            self._welcomed()
            if not self._blocked:
                self._write()
        for response in responses:
            if self._closed:
                return
            self._answered(response)

    def _end_of_file(self) -> ConnectionFailed:
        if self._relay is None:
            return ConnectionFailed(f"the Flux broker at {self._address.uri} ended the connection")
        words = self._relay_words()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._relay.wait(0.2)  # it has closed its streams, so that it is about to end
        gone = self._relay.returncode not in (None, _SSH_FAILED) and any(
            word in words for word in _GONE_WORDS
        )
        return ConnectionFailed(f"the connection to {self._address.uri} ended{words}", gone)

    def _relay_words(self) -> str:
        if self._relay is None or self._relay.stderr is None:
            return ""
        with contextlib.suppress(OSError):
            data = os.read(self._relay.stderr.fileno(), 4096)
            return f": {data.decode('utf-8', 'replace').strip()}" if data.strip() else ""
        return ""

    def _fail(self, failure: ConnectionFailed) -> None:
        if self._socket is not None:
            self.close()
            self._ended(failure)


def _reap(relay: subprocess.Popen[bytes]) -> None:
    """End a process and take note of its end, without waiting for it."""
    if relay.stderr is not None:
        relay.stderr.close()
    if relay.poll() is None:
        relay.terminate()
        _look_again(relay, 0.1)


def _look_again(relay: subprocess.Popen[bytes], delay: float) -> None:
    def look() -> None:
        if relay.poll() is None:
            if delay > _KILL_AFTER:
                relay.kill()
            _look_again(relay, min(2 * delay, 2 * _KILL_AFTER))

    Reactor.get().call_later(delay, look)
