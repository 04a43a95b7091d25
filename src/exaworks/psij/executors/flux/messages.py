"""Messages of Flux as bytes: requests to a broker, and what it answers. No I/O.

Sources: Flux RFC 3 (message frames and the local connector), RFC 6 (RPC, match tags), RFC 22
(text that ends with NUL). Where the implementation differs from RFC 3 it is followed: the length
before a message does not count the eight bytes of the header, and the magic number is in the byte
order of the host (seen with Flux 0.88).
"""

from __future__ import annotations

import errno as errnos
import json
import os
import struct
from dataclasses import dataclass
from typing import Any

__all__ = [
    "NO_DATA",
    "Decoder",
    "FluxError",
    "ProtocolError",
    "Response",
    "decode",
    "encode_request",
]

_MAGIC = struct.pack("=I", 0xFFEE0012)
_PROTO = struct.Struct(">BBBBIIII")
_PROTO_MAGIC, _PROTO_VERSION = 0x8E, 1
_REQUEST, _RESPONSE = 0x01, 0x02
_TOPIC, _PAYLOAD, _NO_RESPONSE, _ROUTE, _STREAMING = 0x01, 0x02, 0x04, 0x08, 0x40
_UNKNOWN_USER, _ANY_NODE = 0xFFFFFFFF, 0xFFFFFFFF
_LONG_FRAME = 0xFF
_MAX_MESSAGE = 1 << 30

_encode_json = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


class ProtocolError(Exception):
    """The bytes are not what a broker sends."""


class FluxError(Exception):
    """A broker answered a request with an error.

    Attributes:
        errno: the number of the error (of Linux).
        message: the broker's words.
    """

    def __init__(self, errno: int, message: str) -> None:
        super().__init__(message)
        self.errno = errno
        self.message = message

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True)
class Response:
    """An answer to a request.

    Attributes:
        matchtag: the number that the request had.
        topic: the method that was asked.
        payload: the JSON object in it; ``None`` if there is none.
        error: the error that it is, if it is one. A stream of answers ends with the error
            ``ENODATA``.
    """

    matchtag: int
    topic: str
    payload: dict[str, Any] | None
    error: FluxError | None = None


def _frame(data: bytes) -> bytes:
    if len(data) < _LONG_FRAME:
        return bytes((len(data),)) + data
    return struct.pack(">BI", _LONG_FRAME, len(data)) + data


def encode_request(
    topic: str,
    payload: dict[str, Any],
    matchtag: int,
    streaming: bool = False,
    no_response: bool = False,
) -> bytes:
    """A request, ready to be written to the socket.

    Args:
        topic: service and method, such as ``job-manager.raise``.
        payload: a JSON object.
        matchtag: a number for the answer, unique among the open requests of the connection.
        streaming: whether several answers are expected.
        no_response: whether no answer is wanted.

    Raises:
        UnicodeEncodeError: the payload has text that is not valid Unicode.
    """
    flags = _TOPIC | _PAYLOAD | _ROUTE
    flags |= (_STREAMING if streaming else 0) | (_NO_RESPONSE if no_response else 0)
    proto = _PROTO.pack(
        _PROTO_MAGIC, _PROTO_VERSION, _REQUEST, flags, _UNKNOWN_USER, 0, _ANY_NODE, matchtag
    )
    text = _encode_json(payload).encode("utf-8") + b"\0"
    # No routes yet: only the empty frame that ends their list.
    message = b"\0" + _frame(topic.encode()) + _frame(text) + _frame(proto)
    return _MAGIC + struct.pack(">I", len(message)) + message


def _frames(message: bytes) -> list[bytes]:
    frames, at = [], 0
    while at < len(message):
        length, at = message[at], at + 1
        if length == _LONG_FRAME:
            if at + 4 > len(message):
                raise ProtocolError("a frame has no length")
            length, at = int.from_bytes(message[at : at + 4], "big"), at + 4
        if at + length > len(message):
            raise ProtocolError("a frame is longer than its message")
        frames.append(message[at : at + length])
        at += length
    return frames


def decode(message: bytes) -> Response | None:
    """Read a message without its header.

    Returns:
        the answer; ``None`` if it is another type of message (such as an event).

    Raises:
        ProtocolError: it is no message of Flux.
    """
    frames = _frames(message)
    if not frames or len(frames[-1]) != _PROTO.size:
        raise ProtocolError("a message has no protocol frame")
    magic, version, kind, flags, _, _, errnum, matchtag = _PROTO.unpack(frames.pop())
    if magic != _PROTO_MAGIC or version != _PROTO_VERSION:
        raise ProtocolError(f"magic {magic:#x}, version {version} is no known protocol of Flux")
    if kind != _RESPONSE:
        return None
    try:
        if flags & _ROUTE:
            del frames[: frames.index(b"") + 1]
        topic = frames.pop(0).decode() if flags & _TOPIC else ""
        text = frames.pop(0) if flags & _PAYLOAD else b""
        text = text[:-1] if text.endswith(b"\0") else text
        if errnum:
            words = text.decode("utf-8", "replace") or os.strerror(errnum)
            return Response(matchtag, topic, None, FluxError(errnum, words))
        payload = json.loads(text.decode("utf-8", "surrogateescape")) if text else None
    except (ValueError, IndexError) as problem:
        raise ProtocolError(f"a message cannot be read: {problem}") from problem
    if payload is not None and not isinstance(payload, dict):
        raise ProtocolError(f"the payload of {topic} is no JSON object")
    return Response(matchtag, topic, payload)


class Decoder:
    """Takes the bytes that a broker sends, in pieces of any size."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._welcomed = False

    @property
    def welcomed(self) -> bool:
        """Whether the broker has let us in."""
        return self._welcomed

    def feed(self, data: bytes) -> list[Response]:
        """Take more bytes.

        Returns:
            the answers that are complete now.

        Raises:
            FluxError: the broker did not let us in; its first byte is the number of the error.
            ProtocolError: that is no broker of Flux.
        """
        self._data += data
        if not self._welcomed and self._data:
            if self._data[0]:
                number = self._data[0]
                raise FluxError(number, os.strerror(number))
            self._welcomed = True
            del self._data[0]
        responses, at = [], 0
        while len(self._data) - at >= 8:
            if self._data[at : at + 4] != _MAGIC:
                raise ProtocolError("a message does not begin with Flux's magic number")
            length = int.from_bytes(self._data[at + 4 : at + 8], "big")
            if length > _MAX_MESSAGE:
                raise ProtocolError(f"a message of {length} bytes is too long")
            end = at + 8 + length
            if len(self._data) < end:
                break
            response = decode(bytes(self._data[at + 8 : end]))
            if response is not None:
                responses.append(response)
            at = end
        del self._data[:at]
        return responses


NO_DATA = errnos.ENODATA
"""The error that ends a stream of answers."""
