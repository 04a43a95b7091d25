"""What a worker has answered."""

from __future__ import annotations

import os
import threading
from typing import Any

from exaworks.core.workers.wire import RAISED, contents, load
from exaworks.tasks.errors import RemoteTraceback, SerializationError

__all__ = ["Received"]

_claim = threading.Lock()


class Received:
    """The outcome of a call, unpickled when somebody asks for it, once."""

    __slots__ = ("_data", "_fd", "_loaded", "_lock", "failed")

    def __init__(self, kind: int, data: bytes, fd: int) -> None:
        """Take over what came, and the descriptor of its file if there is one (else -1)."""
        self.failed = kind == RAISED
        self._data: bytes | None = data
        self._fd = fd
        self._loaded: Any = None
        self._lock: Any = None

    def value(self) -> Any:
        """What the function returned.

        Raises:
            SerializationError: it cannot be unpickled here.
        """
        value, problem = self._load()
        if problem is not None:
            raise problem
        return value

    def exception(self) -> BaseException:
        """What the function raised."""
        pair, problem = self._load()
        if problem is not None:
            return problem
        exception: BaseException = pair[0]
        if exception.__cause__ is None:
            exception.__cause__ = RemoteTraceback(pair[1])
        return exception

    def take(self) -> tuple[bytes, bytes | None]:
        """It as it came, and the bytes of its file, to send it on; it cannot be loaded any more."""
        assert self._data is not None
        fd, self._fd = self._fd, -1
        if fd < 0:
            return self._data, None
        try:
            return self._data, contents(fd)
        finally:
            os.close(fd)

    def _load(self) -> tuple[Any, SerializationError | None]:
        if self._data is not None:
            with _claim:
                lock = self._lock = self._lock or threading.RLock()
            with lock:
                if self._data is not None:
                    self._loaded = self._really_load(self._data)
                    self._data = None
        return self._loaded  # type: ignore[no-any-return]

    def _really_load(self, data: bytes) -> tuple[Any, SerializationError | None]:
        fd, self._fd = self._fd, -1
        try:
            return load(data, fd), None
        except Exception as problem:
            what = "the exception" if self.failed else "the result"
            error = SerializationError(
                f"{what} of the task cannot be unpickled here ({type(problem).__name__}: {problem})"
            )
            error.__cause__ = problem
            return None, error

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
