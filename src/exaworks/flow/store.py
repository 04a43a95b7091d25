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
_LARGEST = 900_000_000
"""Bytes of a result; SQLite takes a little more (https://www.sqlite.org/limits.html)."""
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
        self._using = threading.RLock()
        """Guards the connection."""
        self._connection: sqlite3.Connection | None = None
        self._more = threading.Condition()
        """Guards the rest."""
        self._queue: list[_Item] = []
        self._writer: threading.Thread | None = None
        self._closed = False
        if os.path.exists(self.path) and not os.path.isfile(self.path):
            raise OSError(f"{self.path} is no file: name a file for results")
        try:
            self._open()
        except sqlite3.DatabaseError as problem:
            if not _is_damage(problem):
                raise OSError(f"{self.path} cannot be used for results: {problem}") from problem
            self._mend(problem)

    def get(self, key: bytes) -> Found | None:
        """The result with that key; ``None``: there is none that could be used."""
        try:
            with self._using:
                query = "SELECT value FROM results WHERE key = ?"
                row = self._open().execute(query, (key,)).fetchone()
        except (sqlite3.Error, OSError) as problem:
            self._cannot("be read", problem)
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
        if len(data) > _LARGEST:
            logger.warning("the result of %s is too large to be kept (%d bytes)", name, len(data))
            then()
            return
        with self._more:
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
        with self._using:
            count: int = self._open().execute("SELECT count(*) FROM results").fetchone()[0]
        return count

    def close(self) -> None:
        """Write what is still to be written, and close the file."""
        with self._more:
            self._closed = True
            self._more.notify_all()
            writer = self._writer
        if writer is not None and writer is not threading.current_thread():
            writer.join()
        self._shut()

    def _write(self) -> None:
        while True:
            with self._more:
                while not self._queue:
                    if self._closed:
                        return
                    self._more.wait()
                items, self._queue = self._queue, []
            if not self._write_all(items):
                for item in items:  # perhaps it was one of them
                    self._write_all([item], last=True)
            for item in items:
                try:
                    item.then()
                except BaseException:
                    logger.exception("what was to be done after a result was kept has failed")

    def _write_all(self, items: list[_Item], last: bool = False) -> bool:
        try:
            with self._using, self._open() as connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany(_PUT, [item.row for item in items])
        except Exception as problem:
            self._cannot("take a result; it would be computed again", problem, quiet=not last)
            return False
        return True

    def _cannot(self, what: str, problem: Exception, quiet: bool = False) -> None:
        """Something has gone wrong: mend the file if it is damaged."""
        if isinstance(problem, sqlite3.DatabaseError) and _is_damage(problem):
            try:
                self._mend(problem)
            except (sqlite3.Error, OSError) as another:
                logger.warning("%s is damaged, and cannot be set aside: %s", self.path, another)
        elif not quiet:
            logger.warning("%s cannot %s: %s", self.path, what, problem)

    def _open(self) -> sqlite3.Connection:
        """The connection; it is guarded."""
        if self._connection is not None:
            return self._connection
        connection = sqlite3.connect(
            self.path, timeout=_BUSY, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            (layout,) = connection.execute("PRAGMA user_version").fetchone()
            if layout not in (0, _LAYOUT):
                raise OSError(
                    f"{self.path} was made by another version of ExaWorks (layout {layout}, not "
                    f"{_LAYOUT}): name another file for results"
                )
            if layout == 0:
                connection.execute(_CREATE)
                connection.execute(f"PRAGMA user_version = {_LAYOUT}")
            connection.execute("SELECT key FROM results LIMIT 1").fetchone()
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _shut(self) -> None:
        with self._using:
            if self._connection is not None:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.close()
                self._connection = None

    # Damage

    def _mend(self, problem: Exception) -> None:
        """Set the file aside, and begin anew with what can be read of it."""
        with self._using:
            self._shut()
            aside = f"{self.path}.damaged-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
            for ending in ("", "-wal", "-shm"):
                with contextlib.suppress(FileNotFoundError):
                    os.rename(self.path + ending, aside + ending)
            rows = _salvage(aside)
            logger.warning(
                "%s is damaged (%s); it was set aside as %s, and %d results were saved from it",
                self.path, problem, aside, len(rows),
            )  # fmt: skip
            with self._open() as connection:
                connection.executemany(_PUT, rows)


def _is_damage(problem: sqlite3.DatabaseError) -> bool:
    """Whether the file is no good; else it is, for instance, busy, or the disk is full."""
    return type(problem) is sqlite3.DatabaseError or "malformed" in str(problem)


def _salvage(path: str) -> list[tuple[Any, ...]]:
    """The results of a damaged file that can be read: in small ranges of keys, from both ends."""
    rows: dict[bytes, tuple[Any, ...]] = {}
    with contextlib.suppress(sqlite3.Error):
        connection = sqlite3.connect(path, timeout=1, isolation_level=None)
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
