"""Where agents come in."""

from __future__ import annotations

import contextlib
import hmac
import logging
import socket
from collections.abc import Callable
from functools import partial

from exaworks.core.reactor import Reactor
from exaworks.tasks.cluster.channel import MAGIC, NONCE, PROOF, Channel, Handshake

__all__ = ["Door", "addresses_of_this_machine"]

logger = logging.getLogger(__name__)

_BACKLOG = 1024
_SECONDS_TO_PROVE = 30.0
_PAUSE = 0.5


class _Guest:
    """Somebody who has not proved yet that he is an agent."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.nonce = Handshake.nonce()
        self.said = b""


class Door:
    """Listens, and lets in who knows the secret; works in the reactor's thread."""

    def __init__(
        self,
        reactor: Reactor,
        secret: bytes,
        address: str | None,
        welcome: Callable[[Channel], None],
    ) -> None:
        """Listen.

        Args:
            reactor: whose thread serves it.
            secret: what guests must know.
            address: where to listen, a name or number of this machine; ``None``: everywhere.
            welcome: called with the channel to each agent.

        Raises:
            OSError: one cannot listen there.
        """
        self._reactor = reactor
        self._secret = secret
        self._welcome = welcome
        self._guests: dict[int, _Guest] = {}
        family = socket.AF_INET
        if address is not None:
            family = socket.getaddrinfo(address, 0, type=socket.SOCK_STREAM)[0][0]
        self._socket = socket.create_server((address or "", 0), family=family, backlog=_BACKLOG)
        self._socket.setblocking(False)
        self.port: int = self._socket.getsockname()[1]
        """The port."""
        reactor.call_soon(self._listen)

    def _listen(self) -> None:
        if self._socket.fileno() >= 0:
            self._reactor.add_reader(self._socket.fileno(), self._knock)

    def _knock(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except BlockingIOError:
                return
            except OSError:  # there is no descriptor for him, for now
                self._reactor.remove_reader(self._socket.fileno())
                self._reactor.call_later(_PAUSE, self._listen)
                return
            connection.setblocking(False)
            guest = _Guest(connection)
            self._guests[connection.fileno()] = guest
            with contextlib.suppress(OSError):
                connection.send(MAGIC + guest.nonce)
            self._reactor.add_reader(connection.fileno(), partial(self._speaks, guest))
            self._reactor.call_later(_SECONDS_TO_PROVE, partial(self._too_late, guest))

    def _too_late(self, guest: _Guest) -> None:
        if guest.connection.fileno() in self._guests:
            self._send_away(guest)

    def _send_away(self, guest: _Guest) -> None:
        self._leave(guest)
        guest.connection.close()

    def _leave(self, guest: _Guest) -> None:
        self._reactor.remove_reader(guest.connection.fileno())
        self._guests.pop(guest.connection.fileno(), None)

    def _speaks(self, guest: _Guest) -> None:
        try:
            data = guest.connection.recv(NONCE + PROOF - len(guest.said))
        except BlockingIOError:
            return
        except OSError:
            data = b""
        guest.said += data
        if not data:
            self._send_away(guest)
        elif len(guest.said) == NONCE + PROOF:
            shake = Handshake(self._secret, guest.nonce, guest.said[:NONCE])
            if not hmac.compare_digest(guest.said[NONCE:], shake.agent_proof()):
                logger.warning("somebody who does not know the secret wanted to be an agent")
                self._send_away(guest)
                return
            self._leave(guest)
            with contextlib.suppress(OSError):
                guest.connection.send(shake.engine_proof())
            self._welcome(shake.channel(guest.connection, engine=True))

    def close(self) -> None:
        """Let nobody in any more."""
        for guest in list(self._guests.values()):
            self._send_away(guest)
        self._reactor.remove_reader(self._socket.fileno())
        self._socket.close()


def addresses_of_this_machine() -> list[str]:
    """The addresses that other machines may reach this one at, the likeliest first."""
    found: dict[str, None] = {}
    # The one that packets to elsewhere would be sent from (TEST-NET-1, RFC 5737; none is sent).
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        found[probe.getsockname()[0]] = None
    name = socket.gethostname()
    with contextlib.suppress(OSError):
        found.update(dict.fromkeys(str(each[4][0]) for each in socket.getaddrinfo(name, 0)))
    found[name] = None
    found["127.0.0.1"] = None
    return list(found)
