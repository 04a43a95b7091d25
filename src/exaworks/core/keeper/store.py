"""The keeper's records in SQLite: one accessor, one commit for each turn of its loop."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time

from .job import ENDED, Job
from .log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

SCHEMA = 1
KEEP_DAYS = 30

_SCHEMA_SQL = """
CREATE TABLE jobs (
  id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, spec TEXT, env TEXT,
  states TEXT, meta TEXT, duration REAL, grace REAL, pool TEXT NOT NULL, "limit" INTEGER,
  submitted REAL NOT NULL,
  state TEXT NOT NULL, stage INTEGER NOT NULL, "index" INTEGER NOT NULL, held INTEGER NOT NULL,
  canceled INTEGER NOT NULL, kill INTEGER NOT NULL, pid INTEGER, pid_start INTEGER NOT NULL,
  started REAL, active REAL, ended REAL, exit_code INTEGER, signal INTEGER, reason TEXT,
  message TEXT, cpu REAL NOT NULL, maxrss INTEGER NOT NULL);
CREATE INDEX live ON jobs(id) WHERE stage < 3;
CREATE TABLE envs (id TEXT PRIMARY KEY, context TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""

_FIXED = (
    "id", "key", "spec", "env", "states", "meta", "duration", "grace", "pool", "limit", "submitted",
)  # fmt: skip
_MOVING = (
    "state", "stage", "index", "held", "canceled", "kill", "pid", "pid_start", "started", "active",
    "ended", "exit_code", "signal", "reason", "message", "cpu", "maxrss",
)  # fmt: skip
_SHOWN = (
    "id", "key", "state", "held", "pool", "pid", "submitted", "started", "active", "ended",
    "exit_code", "signal", "reason", "message", "cpu", "maxrss", "meta",
)  # fmt: skip


def _names(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


_INSERT = (
    f"INSERT INTO jobs ({_names(_FIXED + _MOVING)}) "
    f"VALUES ({', '.join('?' * len(_FIXED + _MOVING))})"
)
_SET = ", ".join(f'"{name}" = ?' for name in _MOVING)
_UPDATE = f"UPDATE jobs SET {_SET} WHERE id = ?"
_END = f"UPDATE jobs SET {_SET}, spec = NULL, env = NULL, states = NULL WHERE id = ?"


_ALL = _FIXED + _MOVING


def _fixed(job: Job) -> tuple[Any, ...]:
    return (
        job.id, job.key, job.spec, job.env, ",".join(job.states), job.meta, job.duration, job.grace,
        job.pool, job.limit, job.submitted,
    )  # fmt: skip


def _moving(job: Job) -> tuple[Any, ...]:
    return (
        job.state, job.stage, job.index, job.held, job.canceled, job.kill, job.pid, job.pid_start,
        job.started, job.active, job.ended, job.exit_code, job.signal, job.reason, job.message,
        job.cpu, job.maxrss,
    )  # fmt: skip


class StoreUnavailable(Exception):
    """Nothing can be written at the moment (disk full, quota); nothing that was is lost."""


class Store:
    """The database of one scope folder.

    ``dirty`` are the changed records, to be filled by the owner; new ones are announced with
    :meth:`add`. :meth:`commit` makes all of them durable in one transaction. If that is not
    possible they stay pending, so that trying again is all that is needed.
    """

    def __init__(self, path: str, dirty: dict[int, Job]) -> None:
        """Open or create the database.

        Raises:
            sqlite3.OperationalError: it cannot be used; it is locked, or of another version.
            sqlite3.DatabaseError: it is damaged.
        """
        crashed = os.path.exists(f"{path}-wal")
        self._db = sqlite3.connect(path, isolation_level=None)
        execute = self._db.execute
        execute("PRAGMA locking_mode = EXCLUSIVE")
        execute("PRAGMA journal_mode = WAL")
        execute("PRAGMA synchronous = NORMAL")
        execute("PRAGMA journal_size_limit = 8388608")
        (version,) = execute("PRAGMA user_version").fetchone()
        if version == 0:
            self._db.executescript(f"BEGIN; {_SCHEMA_SQL} PRAGMA user_version = {SCHEMA}; COMMIT;")
        elif version != SCHEMA:
            raise sqlite3.OperationalError(f"{path} is of version {version}, not {SCHEMA}")
        elif crashed:
            (verdict,) = execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise sqlite3.DatabaseError(verdict)
        row = execute("SELECT seq FROM sqlite_sequence WHERE name = 'jobs'").fetchone()
        self.last_id: int = row[0] if row else 0
        self._dirty = dirty
        self._new: dict[int, Job] = {}
        self._new_envs: dict[str, str] = {}
        self._written: tuple[dict[int, Job], dict[str, str], dict[int, Job]] = ({}, {}, {})
        self._open = False

    def close(self) -> None:
        """Close the database, which also folds the write-ahead log into it."""
        self._db.close()

    def sweep(self, now: float, envs: Iterable[str] = ()) -> None:
        """Forget jobs that ended :data:`KEEP_DAYS` ago and environments that no job needs.

        To be called with nothing pending; ``envs`` are kept.

        Raises:
            StoreUnavailable: not possible now.
        """
        limit = now - KEEP_DAYS * 86400.0
        kept = list(envs)
        try:
            # The first job that is too young ends the search: ids follow the time of submission.
            self._db.execute(
                "DELETE FROM jobs WHERE stage = ? AND ended < ? AND id < ifnull("
                "(SELECT id FROM jobs WHERE submitted >= ? ORDER BY id LIMIT 1), ?)",
                (ENDED, limit, limit, 1 << 62),
            )
            self._db.execute(
                "DELETE FROM envs WHERE id NOT IN (SELECT env FROM jobs WHERE stage < 3) "
                f"AND id NOT IN ({', '.join('?' * len(kept))})",
                kept,
            )
        except sqlite3.OperationalError as error:
            raise StoreUnavailable(str(error)) from error

    def add(self, job: Job) -> None:
        """Give ``job`` the next id and write it with the next commit."""
        self.last_id += 1
        job.id = self.last_id
        self._new[job.id] = job

    def add_env(self, name: str, context: str) -> None:
        """Write an environment context with the next commit."""
        self._new_envs[name] = context

    @property
    def pending(self) -> bool:
        """Whether :meth:`commit` has something to do."""
        return bool(self._dirty or self._new or self._new_envs or self._open)

    def flush(self) -> None:
        """Write what is pending, not yet durably, so that the reading methods see it.

        Raises:
            StoreUnavailable: not possible now.
        """
        new, envs, dirty = self._new, self._new_envs, self._dirty
        if not (new or envs or dirty):
            return
        try:
            if not self._open:
                self._db.execute("BEGIN")
                self._open = True
            if envs:
                self._db.executemany("INSERT OR IGNORE INTO envs VALUES (?, ?)", envs.items())
            if new:
                self._db.executemany(_INSERT, [_fixed(j) + _moving(j) for j in new.values()])
            going = []
            over = []
            for job in dirty.values():
                if job.stage == ENDED:
                    over.append((*_moving(job), job.id))
                elif job.id not in new:
                    going.append((*_moving(job), job.id))
            if going:
                self._db.executemany(_UPDATE, going)
            if over:
                self._db.executemany(_END, over)
        except sqlite3.OperationalError as error:
            self._undo()
            raise StoreUnavailable(str(error)) from error
        written_new, written_envs, written_dirty = self._written
        written_new.update(new)
        written_envs.update(envs)
        written_dirty.update(dirty)
        new.clear()
        envs.clear()
        dirty.clear()

    def commit(self) -> None:
        """Make what is pending durable.

        Raises:
            StoreUnavailable: not possible now.
        """
        self.flush()
        if not self._open:
            return
        try:
            self._db.execute("COMMIT")
        except sqlite3.OperationalError as error:
            self._undo()
            raise StoreUnavailable(str(error)) from error
        self._open = False
        self._written = ({}, {}, {})

    def _undo(self) -> None:
        """Roll back, and make pending again what the transaction held."""
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")
        self._open = False
        new, envs, dirty = self._written
        self._new = {**new, **self._new}
        self._new_envs = {**envs, **self._new_envs}
        self._dirty.update(dirty)
        self._written = ({}, {}, {})

    # -- reading ----------------------------------------------------------------------------

    def live(self) -> list[Job]:
        """Return the jobs that are not over, in the order of submission."""
        rows = self._db.execute(f"SELECT {_names(_ALL)} FROM jobs WHERE stage < 3 ORDER BY id")
        return [_job(dict(zip(_ALL, row, strict=True))) for row in rows]

    def env(self, name: str) -> Any:
        """Return the environment context ``name``, None if it is unknown."""
        row = self._db.execute("SELECT context FROM envs WHERE id = ?", (name,)).fetchone()
        return json.loads(row[0]) if row else None

    def ids(self, keys: list[str]) -> dict[str, int]:
        """Return the ids of those of ``keys`` that are known."""
        found: dict[str, int] = {}
        for part in _parts(keys):
            marks = ",".join("?" * len(part))
            found.update(self._db.execute(f"SELECT key, id FROM jobs WHERE key IN ({marks})", part))
        return found

    def snapshots(self, ids: list[int], meta: bool = True) -> dict[int, dict[str, Any]]:
        """Return what is known of those of ``ids`` that are known, with or without their meta."""
        return {row[0]: _snapshot(row) for row in self._rows(ids, meta)}

    def page(self, ids: list[int], meta: bool, size: int) -> tuple[list[dict[str, Any]], list[int]]:
        """Return snapshots of about ``size`` bytes, at least one, and the ids to ask for next."""
        rows = self._rows(ids, meta)
        found = _fitting(rows, size)
        if next(rows, None) is None:
            return found, []
        seen = {snapshot["id"] for snapshot in found}
        return found, [number for number in ids if number not in seen]

    def _rows(self, ids: list[int], meta: bool) -> Iterator[tuple[Any, ...]]:
        for part in _parts(ids):
            marks = ",".join("?" * len(part))
            yield from self._db.execute(
                f"SELECT {_shown(meta)} FROM jobs WHERE id IN ({marks})", part
            )

    def newest(
        self, live: bool, before: int | None, limit: int, meta: bool, size: int
    ) -> list[dict[str, Any]]:
        """Return jobs, newest first, of ids below ``before``.

        At least one if there is one; else up to ``limit``, and of about ``size`` bytes.
        """
        where = "stage < 3 AND id < ?" if live else "id < ?"
        rows = self._db.execute(
            f"SELECT {_shown(meta)} FROM jobs WHERE {where} ORDER BY id DESC LIMIT ?",
            (before if before is not None else 1 << 62, limit),
        )
        return _fitting(rows, size)

    def fact(self, name: str) -> str | None:
        """Return a remembered fact about the keeper itself."""
        row = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return row[0] if row else None

    def remember(self, name: str, value: str) -> None:
        """Remember a fact about the keeper itself, at once."""
        self._db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))


def _parts(items: list[Any]) -> list[list[Any]]:
    return [items[at : at + 500] for at in range(0, len(items), 500)]


def _shown(meta: bool) -> str:
    return _names(_SHOWN) if meta else f"{_names(_SHOWN[:-1])}, NULL"


def _fitting(rows: Iterator[tuple[Any, ...]], size: int) -> list[dict[str, Any]]:
    """Take rows of about ``size`` bytes from ``rows``, at least one."""
    found = []
    for row in rows:
        snapshot = _snapshot(row)
        found.append(snapshot)
        size -= 500 + len(row[-1] or "") + len(snapshot["message"] or "")
        if size <= 0:
            break
    return found


def _snapshot(row: tuple[Any, ...]) -> dict[str, Any]:
    snapshot = dict(zip(_SHOWN, row, strict=True))
    snapshot["held"] = bool(snapshot["held"])
    if snapshot["meta"] is not None:
        snapshot["meta"] = json.loads(snapshot["meta"])
    return snapshot


def _job(row: dict[str, Any]) -> Job:
    row["states"] = tuple(row["states"].split(","))
    row["held"] = bool(row["held"])
    row["canceled"] = bool(row["canceled"])
    job = Job(row["key"], row["spec"], row["env"], row["states"])
    for name, value in row.items():
        setattr(job, name, value)
    return job


def open_store(path: str, dirty: dict[int, Job]) -> tuple[Store, list[Job]]:
    """Open the database, swept, and return it with its live jobs; set a damaged one aside.

    Raises:
        sqlite3.OperationalError: it cannot be used for another reason.
    """
    for _ in range(2):
        now = time.time()
        try:
            store = Store(path, dirty)
            with contextlib.suppress(StoreUnavailable):
                store.sweep(now)
            return store, store.live()
        except sqlite3.OperationalError:
            raise
        except (sqlite3.DatabaseError, ValueError, TypeError, AttributeError) as error:
            target = f"{path}.damaged-{int(now)}"
            for suffix in ("", "-wal", "-journal"):
                if os.path.exists(path + suffix):
                    os.replace(path + suffix, target + suffix)
            log(f"WARNING: the database {path} is damaged ({error}); it is now {target}")
    raise sqlite3.OperationalError(f"a new database in the place of {path} is damaged, too")
