"""A socket in front of a broker's, which can be cut."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from pathlib import Path


class Proxy:
    """Passes bytes between clients and a broker.

    Attributes:
        mute: do not pass on what the broker says (requests still reach it).
        mute_after: become mute when a client says this.
        deaf: do not pass on what clients say.
    """

    def __init__(self, path: Path, target: str) -> None:
        self.path = path
        self.target = target
        self.mute = False
        self.mute_after: bytes | None = None
        self.deaf = False
        self._words = threading.Semaphore(0)
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._listener: socket.socket | None = None
        self._lock = threading.Lock()
        self.open()

    @property
    def uri(self) -> str:
        return f"local://{self.path}"

    def open(self) -> None:
        """Take connections."""
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.path))
        listener.listen()
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def close(self) -> None:
        """Take no more connections, and end those that there are."""
        listener, self._listener = self._listener, None
        if listener is not None:
            os.unlink(self.path)
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self.cut()

    def cut(self) -> None:
        """End all connections."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def wait_for_words(self, timeout: float) -> None:
        """Wait until a client has said something that was not passed on."""
        assert self._words.acquire(timeout=timeout)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            broker = socket.socket(socket.AF_UNIX)
            try:
                broker.connect(self.target.removeprefix("local://"))
            except OSError:
                client.close()
                continue
            with self._lock:
                self._pairs.append((client, broker))
            for ends in ((client, broker, True), (broker, client, False)):
                threading.Thread(target=self._pass_on, args=ends, daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, asks: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if asks and self.mute_after is not None and self.mute_after in data:
                    self.mute = True
                if asks and self.deaf:
                    self._words.release()
                elif asks or not self.mute:
                    target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
