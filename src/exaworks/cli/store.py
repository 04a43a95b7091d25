"""The jobs that were submitted from the command line, remembered in an SQLite file.

Several processes may use it at once, also from several machines on a shared file system:
transactions are short and wait for each other. There is no write-ahead log, whose shared memory
does not work over NFS (SQLite documentation, "Write-Ahead Logging").
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from exaworks.cli.errors import Problem
from exaworks.cli.record import FINAL, SUBMITTING, Record, display, this_place, this_process
from exaworks.core import config

if TYPE_CHECKING:
    from exaworks.psij import Job, JobStatus

__all__ = ["Store"]

logger = logging.getLogger(__name__)

BUSY_SECONDS: Final = 30.0
"""How long to wait for another process that writes."""

_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uuid TEXT NOT NULL UNIQUE,
    native_id TEXT,
    executor TEXT NOT NULL,
    url TEXT,
    work_directory TEXT,
    place TEXT NOT NULL,
    submitter TEXT NOT NULL,
    name TEXT NOT NULL,
    spec TEXT NOT NULL,
    submitted REAL NOT NULL,
    state TEXT NOT NULL,
    changed REAL NOT NULL,
    started REAL,
    ended REAL,
    exit_code INTEGER,
    reason TEXT,
    message TEXT,
    metadata TEXT NOT NULL DEFAULT '{}'
);
CREATE INDEX by_native_id ON jobs (native_id);
"""
_COLUMNS: Final = tuple(Record.__dataclass_fields__)
_SELECT: Final = f"SELECT {', '.join(_COLUMNS)} FROM jobs"
_NOT_FINAL: Final = f"state NOT IN {FINAL}"
_UPDATE: Final = (
    "UPDATE jobs SET state = ?, changed = ?, started = coalesce(started, ?), ended = ?, "
    f"exit_code = ?, reason = ?, message = ?, metadata = ? WHERE uuid = ? AND {_NOT_FINAL}"
)
_MOST_VARIABLES: Final = 500  # SQLite's own limit is 999 in old versions


class Store:
    """The remembered jobs.

    Raises:
        Problem: the file cannot be used.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """Open the store, and make it if there is none.

        Args:
            folder: where it is; ``None``: ``cli`` in the ExaWorks home folder.
        """
        self.folder = config.home() / "cli" if folder is None else folder
        self.path = self.folder / "jobs.db"
        self._output = self.folder / "output"
        with self._translated():
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                self._db = _open(self.path)
            except sqlite3.DatabaseError as problem:
                if not _is_damage(problem):
                    raise
                self._set_aside(problem)
                self._db = _open(self.path)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def output_folder(self, uuid: str) -> Path:
        """The folder for the output of a job. It is not made here."""
        return self._output / uuid

    def add(self, jobs: Sequence[Job], executor: str, url: str | None, work: str | None) -> None:
        """Remember jobs that are about to be handed over."""
        from exaworks.psij import JSONSerializer

        serializer = JSONSerializer()
        now, place, submitter = time.time(), this_place(), this_process()
        shared = (executor, url, work, place, submitter, now, SUBMITTING, now)
        rows = []
        for job in jobs:
            assert job.spec is not None
            name = display(job.spec.name or "")
            rows.append((*shared, job.id, name, serializer.dumps(job.spec)))
        with self._transaction() as db:
            db.executemany(
                "INSERT INTO jobs (executor, url, work_directory, place, submitter, submitted, "
                "state, changed, uuid, name, spec) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                rows,
            )

    def accepted(self, jobs: Iterable[Job]) -> None:
        """Remember the native ids and the statuses of jobs that were accepted."""
        jobs = list(jobs)
        with self._transaction() as db:
            db.executemany(
                "UPDATE jobs SET native_id = ? WHERE uuid = ?",
                [(job.native_id, job.id) for job in jobs],
            )
            db.executemany(_UPDATE, [(*_status_columns(job.status), job.id) for job in jobs])

    def found(self, native_ids: Mapping[str, str]) -> None:
        """Remember the native ids, by uuid, of jobs that an executor was asked for."""
        if not native_ids:
            return
        with self._transaction() as db:
            db.executemany(
                "UPDATE jobs SET native_id = ?, state = CASE state WHEN ? THEN 'QUEUED' "
                "ELSE state END WHERE uuid = ?",
                [(native_id, SUBMITTING, uuid) for uuid, native_id in native_ids.items()],
            )

    def update(self, changes: Iterable[tuple[str, JobStatus]]) -> None:
        """Remember statuses: pairs of uuid and status. An end that is known already stays."""
        rows = [(*_status_columns(status), uuid) for uuid, status in changes]
        if not rows:
            return
        with self._transaction() as db:
            db.executemany(_UPDATE, rows)

    def remove(self, uuids: Sequence[str]) -> None:
        """Forget jobs and delete the output that was kept for them."""
        with self._transaction() as db:
            db.executemany("DELETE FROM jobs WHERE uuid = ?", [(uuid,) for uuid in uuids])
        for uuid in uuids:
            shutil.rmtree(self.output_folder(uuid), ignore_errors=True)

    def get(self, uuids: Sequence[str]) -> list[Record]:
        """Jobs by uuid, in the order given; those that are not known are left out."""
        found: dict[str, Record] = {}
        for start in range(0, len(uuids), _MOST_VARIABLES):
            part = uuids[start : start + _MOST_VARIABLES]
            marks = ", ".join("?" * len(part))
            found.update((r.uuid, r) for r in self._query(f"WHERE uuid IN ({marks})", part))
        return [found[uuid] for uuid in uuids if uuid in found]

    def select(
        self,
        executor: str | None = None,
        name: str | None = None,
        limit: int | None = None,
        unfinished: bool = False,
    ) -> list[Record]:
        """Jobs, oldest first.

        Args:
            executor: only those of this executor.
            name: only those whose name matches this shell pattern.
            limit: only the newest so many.
            unfinished: only those whose end is not known.
        """
        where, values = _conditions(executor, name)
        if unfinished:
            where += f" AND {_NOT_FINAL}"
        return self._query(
            f"{where} ORDER BY id DESC LIMIT ?", [*values, -1 if limit is None else limit]
        )[::-1]

    def states(self, executor: str | None = None, name: str | None = None) -> Counter[str]:
        """How many jobs are in each state, of those :meth:`select` would find."""
        where, values = _conditions(executor, name)
        query = f"SELECT state, count(*) FROM jobs {where} GROUP BY state"
        with self._translated():
            return Counter(dict(self._db.execute(query, values).fetchall()))

    def find(self, text: str) -> list[Record]:
        """The jobs that ``text`` may mean; more than one if it is ambiguous.

        It may be a short number; or else a native id, also with its executor as in
        ``slurm:4711``; or else the beginning (four characters or more) of a uuid. Executors that
        count from 1 would make most short numbers ambiguous if these did not go first.
        """
        text = display(text)
        if text.isascii() and text.isdigit() and len(text) < 19:
            found = self._query("WHERE id = ?", (int(text),))
            if found:
                return found
        executor, _, native = text.partition(":")
        found = self._query(
            "WHERE native_id = ? OR (executor = ? AND native_id = ?) ORDER BY id",
            (text, executor, native),
        )
        if not found and len(text) >= 4:
            found = self._query(
                "WHERE substr(uuid, 1, ?) = ? ORDER BY id", (len(text), text.lower())
            )
        return found

    def _query(self, where: str, values: Sequence[object]) -> list[Record]:
        with self._translated():
            return [_record(row) for row in self._db.execute(f"{_SELECT} {where}", values)]

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._translated():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn errors of SQLite and the system into a :class:`Problem`."""
        try:
            yield
        except (sqlite3.Error, OSError) as problem:
            if isinstance(problem, sqlite3.DatabaseError) and _is_damage(problem):
                self._set_aside(problem)
                raise Problem(
                    f"The list of jobs {self.path} was damaged ({problem}).",
                    "It was set aside; give the command again to begin a new one.",
                ) from problem
            raise Problem(
                f"The list of jobs {self.path} cannot be used: {problem}",
                "Check the folder's permissions and free space, or set EXAWORKS_HOME to another.",
            ) from problem

    def _set_aside(self, problem: Exception) -> None:
        """Rename a damaged file, once, however many processes find it damaged."""
        with open(f"{self.path}.lock", "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if _is_sound(self.path):
                return
            aside = f"{self.path}.damaged-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
            os.replace(self.path, aside)
            with contextlib.suppress(FileNotFoundError):
                os.replace(f"{self.path}-journal", f"{aside}-journal")
        logger.warning(
            "the list of jobs %s is damaged (%s); it was set aside as %s. Jobs that run are not "
            "affected, but they are no longer listed here",
            self.path,
            problem,
            aside,
        )


def _is_damage(problem: sqlite3.DatabaseError) -> bool:
    # Its subclasses stand for a lock, a full disk, missing permission and other troubles.
    return type(problem) is sqlite3.DatabaseError


def _is_sound(path: Path) -> bool:
    try:
        db = sqlite3.connect(path, timeout=BUSY_SECONDS)
        with contextlib.closing(db):
            return bool(db.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok")
    except sqlite3.DatabaseError:
        return False


def _open(path: Path) -> sqlite3.Connection:
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # environments may hold secrets
    db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        if _version(db) == 0:
            db.execute("BEGIN IMMEDIATE")
            if _version(db) == 0:
                for statement in _SCHEMA.split(";"):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {_VERSION}")
            db.execute("COMMIT")
        if _version(db) != _VERSION:
            raise Problem(
                f"The list of jobs {path} was made by another version of exaworks.",
                "Use that version, or set EXAWORKS_HOME to another folder.",
            )
        db.execute("SELECT max(id) FROM jobs").fetchone()
    except BaseException:
        db.close()
        raise
    return db


def _version(db: sqlite3.Connection) -> int:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    return int(version)


def _conditions(executor: str | None, name: str | None) -> tuple[str, list[str]]:
    where, values = "WHERE 1", []
    if executor is not None:
        where += " AND executor = ?"
        values.append(executor)
    if name is not None:
        where += " AND name GLOB ?"
        values.append(display(name))
    return where, values


def _status_columns(status: JobStatus) -> tuple[Any, ...]:
    metadata = status.metadata or {}
    started = metadata.get("started")
    if started is None and status.state.name == "ACTIVE":
        started = status.time
    return (
        status.state.name,
        status.time,
        started,
        status.time if status.final else None,
        status.exit_code,
        status.reason,
        None if status.message is None else display(status.message),
        json.dumps(metadata, default=str),
    )


def _record(row: Sequence[Any]) -> Record:
    values = dict(zip(_COLUMNS, row, strict=True))
    values["metadata"] = json.loads(values["metadata"])
    return Record(**values)
