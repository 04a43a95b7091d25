"""What client and keeper say to each other: frames of JSON over a Unix stream socket.

A frame is a 4-byte big-endian length followed by that many bytes of JSON (ASCII only, so that
names which are not valid UTF-8 survive as lone surrogates, see :func:`wire`). A request is an
object with ``op`` and ``n``; its reply carries the same ``n`` and, when it failed, an ``error``.
Frames without ``n`` are events.
"""

from __future__ import annotations

import json
import struct
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERSION = 1
"""Version of the protocol; part of the name of the scope folder."""

MAX_FRAME = 64 * 1024 * 1024
"""Longest frame in bytes that either side accepts."""

MARKER = "EXAWORKS_JOB_KEY"
"""Environment variable that every process of a job inherits; its value is the job's key."""

QUEUED = "QUEUED"
STAGE_IN = "STAGE_IN"
ACTIVE = "ACTIVE"
STAGE_OUT = "STAGE_OUT"
CLEANUP = "CLEANUP"
COMPLETED = "COMPLETED"
FAILED = "FAILED"
CANCELED = "CANCELED"

PHASES = (STAGE_IN, ACTIVE, STAGE_OUT, CLEANUP)
FINAL = (COMPLETED, FAILED, CANCELED)

_LENGTH = struct.Struct(">I")


class KeeperError(Exception):
    """The keeper cannot be reached, refused a request, or does not speak our version.

    ``code`` names the kind for programs: ``unavailable``, ``version``, ``invalid``,
    ``unknown_env`` or ``busy``.
    """

    def __init__(self, message: str, code: str = "unavailable") -> None:
        super().__init__(message)
        self.code = code


def wire(text: str) -> str:
    """Return ``text``, a name or argument for the system, in the form the keeper expects.

    The keeper turns text into bytes as UTF-8 with ``surrogateescape``. In a program that runs
    under another file system encoding the same bytes are another text.
    """
    if sys.getfilesystemencoding() == "utf-8":
        return text
    return text.encode(sys.getfilesystemencoding(), "surrogateescape").decode(
        "utf-8", "surrogateescape"
    )


def env_id(variables: dict[str, str], umask: int | None, affinity: list[int] | None) -> str:
    """Return the identity of an environment context: a hash of all that it holds.

    Clients must use it, since contexts are shared by all of them.
    """
    import hashlib  # not needed, and slow to load, on the daemon's side

    text = json.dumps([variables, umask, affinity], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:32]


def encode(message: Any) -> bytes:
    """Return the frame of ``message``.

    Raises:
        KeeperError: the frame would be longer than :data:`MAX_FRAME`.
    """
    return frame(json.dumps(message, separators=(",", ":")))


def frame(text: str) -> bytes:
    """Return the frame of a message that is JSON already, in ASCII.

    Raises:
        KeeperError: the frame would be longer than :data:`MAX_FRAME`.
    """
    body = text.encode("ascii")
    if len(body) > MAX_FRAME:
        raise KeeperError(
            f"a message of {len(body)} bytes is longer than the {MAX_FRAME} allowed; "
            "send it in parts",
            "invalid",
        )
    return _LENGTH.pack(len(body)) + body


class Decoder:
    """Cuts a stream of bytes into messages, however the bytes arrive."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Any]:
        """Return the messages that ``data`` completes, in order.

        Raises:
            KeeperError: what arrived is no frame of this protocol.
        """
        buffer = self._buffer
        buffer += data
        messages = []
        at = 0
        try:
            while len(buffer) - at >= 4:
                (length,) = _LENGTH.unpack_from(buffer, at)
                if length > MAX_FRAME:
                    raise KeeperError(f"a frame of {length} bytes is too long", "invalid")
                if len(buffer) - at - 4 < length:
                    break
                at += 4 + length
                try:
                    messages.append(json.loads(buffer[at - length : at]))
                except (ValueError, RecursionError) as error:
                    raise KeeperError(f"a frame is not JSON: {error}", "invalid") from None
        finally:
            del buffer[:at]
        return messages
