"""Recorded exchanges with a broker, and a broker that repeats them."""

from __future__ import annotations

import json
import re
import socket
import threading
from pathlib import Path
from typing import NamedTuple

DATA = Path(__file__).parent / "data"


class Line(NamedTuple):
    sender: str
    data: bytes


def session() -> list[Line]:
    lines = map(json.loads, (DATA / "session.jsonl").read_text().splitlines())
    return [Line(line["from"], bytes.fromhex(line["hex"])) for line in lines]


def topic(message: bytes) -> str:
    """The topic of a request, which follows the empty frame after the header."""
    return message[10 : 10 + message[9]].decode()


def matchtag(message: bytes) -> int:
    return int.from_bytes(message[-4:], "big")


class ReplayBroker:
    """Listens on a socket, and answers each request as the real broker did in the recording.

    Attributes:
        requests: what clients have asked.
        problem: what went otherwise than in the recording.
    """

    def __init__(self, path: Path) -> None:
        self.uri = f"local://{path}"
        self.requests: list[bytes] = []
        self.problem: str | None = None
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Wait for the end of the recording."""
        self._thread.join(10)
        assert not self._thread.is_alive(), "not everything was asked that is in the recording"
        self._listener.close()

    def _run(self) -> None:
        client, _ = self._listener.accept()
        client.settimeout(10)
        tags: dict[int, int] = {}
        with client:
            for line in session():
                if line.sender == "broker":
                    tag = tags.get(matchtag(line.data), 0).to_bytes(4, "big")
                    client.sendall(line.data if len(line.data) == 1 else line.data[:-4] + tag)
                    continue
                asked = self._receive(client)
                self.requests.append(asked)
                if topic(asked) != topic(line.data):
                    self.problem = f"{topic(asked)} instead of {topic(line.data)}"
                    return
                tags[matchtag(line.data)] = matchtag(asked)

    def _receive(self, client: socket.socket) -> bytes:
        head = self._exactly(client, 8)
        return head + self._exactly(client, int.from_bytes(head[4:], "big"))

    def _exactly(self, client: socket.socket, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = client.recv(count - len(data))
            assert part, "the client has gone"
            data += part
        return data


def payload_text(message: bytes) -> str:
    """The JSON in a recorded request."""
    found = re.search(rb"\{.*\}", message, re.DOTALL)
    assert found is not None
    return found[0].decode()
