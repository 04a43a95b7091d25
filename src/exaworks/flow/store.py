"""Results that outlive a program: a file of SQLite that several programs may use at a time.

A result is announced when it has been written, so that what a program has seen is there when it is
run again, however it ended. What has come to an end in the meantime is written together.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import cloudpickle  # type: ignore[import-untyped]

__all__ = ["Found", "ResultStore"]

logger = logging.getLogger("exaworks.flow")

_BUSY = 60.0
_LAYOUT = 1
_CREATE = """
CREATE TABLE IF NOT EXISTS results (
    key BLOB PRIMARY KEY, value BLOB NOT NULL, name TEXT NOT NULL, ended REAL NOT NULL,
    seconds REAL) WITHOUT ROWID
"""
_PUT = "INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?)"


class Found(NamedTuple):
    """A result that was kept."""

    value: Any


class _Item(NamedTuple):
    row: tuple[bytes, bytes, str, float, float | None]
    then: Callable[[], None]


class ResultStore:
    """Keeps results of calls by their keys. All methods may be called from any thread."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open a file, or make it. A damaged one is set aside, with what can be read copied.

        Args:
            path: the file; on a file system that knows locks, since several programs may use it.

        Raises:
            OSError: it cannot be made there.
        """
        self.path = os.path.abspath(path)
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        self._lock = threading.Lock()
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._queue: list[_Item] = []
        self._more = threading.Condition(self._lock)
        self._writer: threading.Thread | None = None
        self._writing = False
        self._closed = False
        self._generation = 0
        try:
            self._connection()
        except sqlite3.DatabaseError as problem:
            self._mend(problem, 0)
            self._connection()

    def get(self, key: bytes) -> Found | None:
        """The result with that key; ``None``: there is none that could be used."""
        generation = self._generation
        try:
            row = (
                self._connection()
                .execute("SELECT value FROM results WHERE key = ?", (key,))
                .fetchone()
            )
        except sqlite3.DatabaseError as problem:
            if _is_damage(problem):
                self._mend(problem, generation)
            else:
                logger.warning("%s cannot be read: %s", self.path, problem)
            return None
        if row is None:
            return None
        try:
            return Found(pickle.loads(row[0]))
        except Exception as problem:  # for instance, a class that is not there any more
            logger.warning("a result in %s is of no use: %s", self.path, problem)
            return None

    def put(
        self, key: bytes, value: Any, name: str, seconds: float | None, then: Callable[[], None]
    ) -> None:
        """Keep a result.

        Args:
            key: its key.
            value: the result.
            name: whose it is, for people.
            seconds: how long it took.
            then: called when it has been written, in a thread of the store; also if it could not
                be, of which there is a warning.
        """
        try:
            data = cloudpickle.dumps(value, 5)
        except Exception as problem:
            logger.warning("the result of %s cannot be kept: %s", name, problem)
            then()
            return
        with self._lock:
            if not self._closed:
                self._queue.append(_Item((key, data, name, time.time(), seconds), then))
                if self._writer is None:
                    self._writer = threading.Thread(
                        target=self._write, name="exaworks-results", daemon=True
                    )
                    self._writer.start()
                self._more.notify_all()
                return
        then()

    def __len__(self) -> int:
        count: int = self._connection().execute("SELECT count(*) FROM results").fetchone()[0]
        return count

    def close(self) -> None:
        """Write what is still to be written, and close the file."""
        with self._lock:
            self._closed = True
            self._more.notify_all()
            writer = self._writer
        if writer is not None and writer is not threading.current_thread():
            writer.join()
        with self._lock:
            connections, self._connections = self._connections, []
        for connection in connections:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def _write(self) -> None:
        while True:
            with self._lock:
                while not self._queue:
                    if self._closed:
                        return
                    self._more.wait()
                items, self._queue = self._queue, []
            self._write_all([item.row for item in items])
            for item in items:
                try:
                    item.then()
                except Exception:
                    logger.exception("what was to be done after a result was kept has failed")

    def _write_all(self, rows: list[tuple[Any, ...]]) -> None:
        for _ in range(2):
            generation = self._generation
            try:
                connection = self._connection()
                with connection:
                    connection.execute("BEGIN IMMEDIATE")
                    connection.executemany(_PUT, rows)
                return
            except sqlite3.DatabaseError as problem:
                if not _is_damage(problem):
                    logger.warning(
                        "%d results cannot be kept in %s: %s; they would be computed again",
                        len(rows), self.path, problem,
                    )  # fmt: skip
                    return
                self._mend(problem, generation)

    def _connection(self) -> sqlite3.Connection:
        """That of this thread."""
        known: tuple[int, sqlite3.Connection] | None = getattr(self._local, "connection", None)
        if known is not None and known[0] == self._generation:
            return known[1]
        generation = self._generation
        connection = sqlite3.connect(
            self.path, timeout=_BUSY, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            (layout,) = connection.execute("PRAGMA user_version").fetchone()
            if layout not in (0, _LAYOUT):
                raise sqlite3.DatabaseError(f"it has the layout {layout}, not {_LAYOUT}")
            if layout == 0:
                connection.execute(_CREATE)
                connection.execute(f"PRAGMA user_version = {_LAYOUT}")
            connection.execute("SELECT key FROM results LIMIT 1").fetchone()
        except BaseException:
            connection.close()
            raise
        with self._lock:
            self._connections.append(connection)
        self._local.connection = generation, connection
        return connection

    # Damage

    def _mend(self, problem: Exception, generation: int) -> None:
        """Set the file aside, and begin anew with what can be read of it."""
        with self._lock:
            if generation != self._generation:  # another thread has
                return
            self._generation += 1
            connections, self._connections = self._connections, []
            for each in connections:
                with contextlib.suppress(sqlite3.Error):
                    each.close()
            aside = f"{self.path}.damaged-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
            os.rename(self.path, aside)
            for ending in ("-wal", "-shm"):
                with contextlib.suppress(FileNotFoundError):
                    os.rename(self.path + ending, aside + ending)
        rows = _salvage(aside)
        logger.warning(
            "%s is damaged (%s); it was set aside as %s, and %d results were saved from it",
            self.path, problem, aside, len(rows),
        )  # fmt: skip
        connection = self._connection()
        with connection:
            connection.executemany(_PUT, rows)


def _is_damage(problem: sqlite3.DatabaseError) -> bool:
    """Whether the file is no good; else it is, for instance, busy, or the disk is full."""
    return type(problem) is sqlite3.DatabaseError or "malformed" in str(problem)


def _salvage(path: str) -> list[tuple[Any, ...]]:
    """The results of a damaged file that can be read: in small ranges of keys, from both ends."""
    rows: dict[bytes, tuple[Any, ...]] = {}
    with contextlib.suppress(sqlite3.Error):
        connection = sqlite3.connect(path, isolation_level=None)
        for first in range(256):
            end = bytes([first + 1]) if first < 255 else b"\xff" * 100
            for order in ("ASC", "DESC"):
                query = (
                    "SELECT key, value, name, ended, seconds FROM results "
                    f"WHERE key >= ? AND key < ? ORDER BY key {order}"
                )
                try:
                    for row in connection.execute(query, (bytes([first]), end)):
                        rows[row[0]] = row
                    break
                except sqlite3.Error:
                    continue
        connection.close()
    return list(rows.values())
