"""Messages between an engine and its agents, over TCP.

Both sides know a secret. Each proves that to the other before anything is unpickled, and every
message carries a keyed digest over its number and its bytes (BLAKE2, RFC 7693), so that nobody who
does not know the secret can say anything, change anything or say it twice. Nothing is encrypted.

The engine sends :data:`MAGIC` and a nonce; the agent a nonce and the proof that it knows the
secret; the engine its proof. A message is its length, its digest, and a pickled list.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import pickle
import secrets
import socket
import struct
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

__all__ = ["MAGIC", "NONCE", "PROOF", "Channel", "ChannelError", "Handshake", "connect"]

MAGIC = b"EXAWORKS-TASKS-1"
NONCE = 32
PROOF = 32

_HEAD = struct.Struct("<Q16s")
_NUMBER = struct.Struct("<Q")
_CHUNK = 1 << 18
_PAUSE = 0.2
_JOIN = 1 << 16


class ChannelError(Exception):
    """What has come is not from who it should be."""


class Handshake:
    """The proofs of both sides, and the keys of the messages that follow."""

    def __init__(self, secret: bytes, engine_nonce: bytes, agent_nonce: bytes) -> None:
        self._secret = secret
        self._nonces = engine_nonce + agent_nonce

    def _derive(self, purpose: bytes) -> bytes:
        return hmac.digest(self._secret, purpose + self._nonces, "sha256")

    def agent_proof(self) -> bytes:
        """What the agent must send."""
        return self._derive(b"agent")

    def engine_proof(self) -> bytes:
        """What the engine must send."""
        return self._derive(b"engine")

    def channel(self, connection: socket.socket, engine: bool) -> Channel:
        """The channel that follows, for the one side or the other."""
        keys = self._derive(b"from engine"), self._derive(b"from agent")
        return Channel(connection, *(keys if engine else reversed(keys)))

    @staticmethod
    def nonce() -> bytes:
        """A number used once."""
        return secrets.token_bytes(NONCE)


class Channel:
    """Messages through a stream socket that does not block."""

    def __init__(self, connection: socket.socket, send_key: bytes, receive_key: bytes) -> None:
        connection.setblocking(False)
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.connection = connection
        self._keys = send_key, receive_key
        self._sent = self._received = 0
        self._in = bytearray()
        self._out: deque[memoryview] = deque()

    @property
    def unsent(self) -> bool:
        """Whether something could not be sent yet."""
        return bool(self._out)

    def put(self, messages: list[Any]) -> None:
        """Send, as far as there is room; the rest is kept for :meth:`flush`."""
        data = pickle.dumps(messages, 5)
        head = _HEAD.pack(len(data), _digest(self._keys[0], self._sent, data))
        self._sent += 1
        if len(data) < _JOIN:
            self._out.append(memoryview(head + data))
        else:
            self._out += (memoryview(head), memoryview(data))
        self.flush()

    def flush(self) -> None:
        """Send what was kept."""
        try:
            while self._out:
                first = self._out[0]
                sent = self.connection.send(first)
                if sent < len(first):
                    self._out[0] = first[sent:]
                else:
                    self._out.popleft()
        except BlockingIOError:
            pass
        except OSError:  # nobody is there any more, as the reader will find out
            self._out.clear()

    def get(self) -> list[Any] | None:
        """The messages that have come; ``None``: there will be no more.

        Raises:
            ChannelError: one is not from the other side.
        """
        try:
            data = self.connection.recv(_CHUNK)
        except BlockingIOError:
            return []
        except OSError:
            return None
        if not data:
            return None
        self._in += data
        found: list[Any] = []
        at, size = 0, len(self._in)
        with memoryview(self._in) as whole:
            while size - at >= _HEAD.size:
                length, digest = _HEAD.unpack_from(whole, at)
                end = at + _HEAD.size + length
                if end > size:
                    break
                with whole[at + _HEAD.size : end] as part:
                    wanted = _digest(self._keys[1], self._received, part)
                    if not hmac.compare_digest(digest, wanted):
                        raise ChannelError("a message has a wrong digest")
                    self._received += 1
                    found += pickle.loads(part)
                at = end
        del self._in[:at]
        return found

    def close(self) -> None:
        """Give up the connection."""
        self._out.clear()
        self.connection.close()


def _digest(key: bytes, number: int, data: bytes | memoryview) -> bytes:
    state = hashlib.blake2b(_NUMBER.pack(number), digest_size=16, key=key)
    state.update(data)
    return state.digest()


def connect(settings: Mapping[str, Any]) -> Channel:
    """The channel to whoever listens, for an agent.

    Args:
        settings: ``addresses``, pairs of host and port of which one is the right one; ``secret``,
            as hexadecimal digits; ``patience``, for how many seconds to try.

    Raises:
        OSError: it cannot be reached; the message tells what was tried.
    """
    secret = bytes.fromhex(settings["secret"])
    limit = time.monotonic() + settings["patience"]
    problems: dict[str, str] = {}
    while True:
        for host, port in settings["addresses"]:
            try:
                return _try(host, port, secret)
            except (OSError, ChannelError) as problem:
                problems[f"{host}:{port}"] = str(problem)
        if time.monotonic() > limit:
            told = "; ".join(f"{where}: {problem}" for where, problem in problems.items())
            raise OSError(f"from {socket.gethostname()}: {told}")
        time.sleep(_PAUSE)


def _try(host: str, port: int, secret: bytes) -> Channel:
    connection = socket.create_connection((host, port), timeout=10)
    try:
        greeting = _receive(connection, len(MAGIC) + NONCE)
        if not greeting.startswith(MAGIC):
            raise ChannelError("somebody else, or another version of exaworks, is there")
        nonce = Handshake.nonce()
        shake = Handshake(secret, greeting[len(MAGIC) :], nonce)
        connection.sendall(nonce + shake.agent_proof())
        if not hmac.compare_digest(_receive(connection, PROOF), shake.engine_proof()):
            raise ChannelError("who is there does not know the secret")
    except BaseException:
        connection.close()
        raise
    return shake.channel(connection, engine=False)


def _receive(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise ChannelError("it has closed the connection")
        data += more
    return data
