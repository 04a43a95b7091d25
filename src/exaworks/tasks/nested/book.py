"""The jobs in one engine, whoever has submitted them.

Locks are taken in this order: that of the engine, that of the book, that of the delivery of
statuses. The engine's may be held by whoever calls in here, so nothing that is done with the
book's lock calls the engine; and a status is passed on without it.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Iterable
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakKeyDictionary

from exaworks.core.reactor import Reactor
from exaworks.psij.job import Job
from exaworks.psij.job_info import JobInfo
from exaworks.psij.job_spec import JobSpec
from exaworks.psij.job_state import JobState
from exaworks.psij.job_status import JobStatus, Reason
from exaworks.tasks.engine import Engine
from exaworks.tasks.future import TaskFuture
from exaworks.tasks.nested.task import JobTask
from exaworks.tasks.nested.verdict import canceled, failed, result_of, verdict

if TYPE_CHECKING:
    from exaworks.psij.executors.managed import ManagedExecutor

__all__ = ["Book", "Record"]

logger = logging.getLogger(__name__)

_REMEMBERED = 10_000
"""How many jobs are remembered after their end, so that one can ask what has become of them."""

# Engines call nobody when a task starts, and whoever subscribes to all events slows down all.
_LOOK_EVERY = 0.05
"""Seconds between two looks at which tasks have started, as long as some have not."""

_PAUSE = 50
"""How many times as long as a look takes is the pause after it, at least."""


class Record:
    """A job in an engine. The lock of the book guards what changes.

    Attributes:
        native_id: its id.
        key: the :attr:`Job.id` that it was submitted under.
        spec: what was submitted.
        status: where it is.
        work: its task, until it has ended.
        task: the future of that; ``None`` if the engine does not have it at present.
        held: whether we keep it back.
        asked: whether somebody has asked for it to be cancelled.
        followers: the jobs that stand for it, with their executors.
        info: what was measured, once it has ended.
    """

    __slots__ = (
        "asked", "followers", "held", "info", "key", "native_id", "spec", "started", "status",
        "submitted", "task", "work",
    )  # fmt: skip

    def __init__(self, native_id: str, job: Job, work: JobTask, submitted: float) -> None:
        self.native_id = native_id
        self.key = job.id
        self.spec: JobSpec | None = job.spec
        self.submitted = submitted
        self.started: float | None = None
        self.status = JobStatus(JobState.QUEUED, submitted, metadata={"native_id": native_id})
        self.work: JobTask | None = work
        self.task: TaskFuture[Any] | None = None
        self.held = False
        self.asked = False
        self.followers: list[tuple[ManagedExecutor, Job]] = []
        self.info = JobInfo()


class Book:
    """The records of all jobs of one engine."""

    _books: ClassVar[WeakKeyDictionary[Engine, Book]] = WeakKeyDictionary()

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._records: dict[str, Record] = {}
        self._queued: dict[TaskFuture[Any], Record] = {}
        self._looking = False
        self._ended: deque[str] = deque()
        self._numbers = itertools.count(1)

    @classmethod
    def of(cls, engine: Engine) -> Book:
        """The book of an engine."""
        book = cls._books.get(engine)
        if book is None:
            book = cls._books.setdefault(engine, made := cls())
            if book is made:
                engine.when_closed(book.close)
        return book

    def close(self) -> None:
        """The engine is no more: jobs that are held can never start."""
        for record in self.all(live=True):
            with self.lock:
                held, record.held = record.held, False
            if held:
                self.end_unstarted(record, "it was held, and its engine was shut down")

    def get(self, native_id: str | None) -> Record | None:
        """The record of a job; ``None``: it is not known, or not any more."""
        return None if native_id is None else self._records.get(native_id)

    def all(self, live: bool = False) -> list[Record]:
        """All records, or those of jobs that have not ended."""
        with self.lock:
            records = list(self._records.values())
        return [each for each in records if not each.status.final] if live else records

    def held(self, engine: Engine, job: Job, work: JobTask) -> Record:
        """Take on a job that must not start yet."""
        number = next(self._numbers)
        record = Record(f"{engine.id}.held{number}", job, work, time.time())
        record.held = True
        with self.lock:
            self._records[record.native_id] = record
        return record

    def launched(self, job: Job, work: JobTask, task: TaskFuture[Any]) -> Record:
        """Take on a job that the engine has taken."""
        record = Record(task.id, job, work, task.times.submitted)
        record.task = task  # before anybody else sees it, so that it can be cancelled
        with self.lock:
            self._records[record.native_id] = record
        self.watch(record, task)
        return record

    def watch(self, record: Record, task: TaskFuture[Any]) -> None:
        """The engine has taken the task of a job."""
        with self.lock:
            record.task = task
            self._queued[task] = record
            look, self._looking = not self._looking, True
        if look:
            self._look_later(_LOOK_EVERY)
        task.add_done_callback(partial(self._done, record))

    def unwatch(self, record: Record) -> TaskFuture[Any] | None:
        """What becomes of the present task of a job is of no interest any more; the task."""
        with self.lock:
            task, record.task = record.task, None
            if task is not None:
                self._queued.pop(task, None)
        return task

    def _look_later(self, seconds: float) -> None:
        try:
            Reactor.get().call_later(seconds, self._look)
        except RuntimeError:  # there is no room for its thread: then ends alone are told
            self._looking = False

    def _look(self) -> None:
        begun = time.monotonic()
        with self.lock:
            queued = list(self._queued.items())
            if not queued:
                self._looking = False
                return
        now = time.time()
        for task, record in queued:
            if task.running():
                self._active(record, now)
        self._look_later(max(_LOOK_EVERY, _PAUSE * (time.monotonic() - begun)))

    def follow(self, record: Record, executor: ManagedExecutor, job: Job) -> None:
        """Let ``job`` have the status of a record, now and from now on."""
        with self.lock:
            status = record.status
            if not status.final:
                record.followers.append((executor, job))
        executor._set_job_status(job, status)

    def _active(self, record: Record, when: float) -> None:
        with self.lock:
            if record.task is not None:
                self._queued.pop(record.task, None)
            if record.status.state is not JobState.QUEUED:
                return
            record.started = when
            metadata = {"native_id": record.native_id}
            status = record.status = JobStatus(JobState.ACTIVE, when, metadata=metadata)
            followers = list(record.followers)
        _tell(followers, status)

    def _done(self, record: Record, task: TaskFuture[Any]) -> None:
        """The task has ended; called by the engine."""
        with self.lock:
            if record.task is not task:  # it was held, and is not over
                return
            self.unwatch(record)
            scripted = record.work is not None and record.work.scripted
        try:
            status = verdict(record.native_id, task, scripted, record.asked)
            self._take_result(record, task)
        except Exception as problem:  # whatever it is, the job has to end
            logger.exception("the end of %s cannot be understood", record.native_id)
            text = f"what has become of it cannot be understood: {problem!r}"
            status = failed(record.native_id, Reason.LOST, text)
        self.end(record, status)

    def _take_result(self, record: Record, task: TaskFuture[Any]) -> None:
        result = result_of(task)
        if result is None:
            return
        self._active(record, result.started)
        record.started = result.started
        record.info = JobInfo(
            wall_time=int(result.ended - result.started),
            cpu_time=round(result.cpu_seconds),
            max_memory=result.peak_memory,
            resourcelist=result.node,
        )

    def end_unstarted(self, record: Record, message: str) -> None:
        """A job that was held cannot be given to the engine any more."""
        status = failed(record.native_id, Reason.SCHEDULER, message)
        self.end(record, canceled(record.native_id) if record.asked else status)

    def end(self, record: Record, status: JobStatus) -> None:
        """A job has ended."""
        with self.lock:
            if record.status.final:
                return
            record.status = status
            record.work = None
            record.held = False
            followers, record.followers = record.followers, []
            self._ended.append(record.native_id)
            if len(self._ended) > _REMEMBERED:
                del self._records[self._ended.popleft()]
        _tell(followers, status)

    def informed(self, record: Record) -> Job:
        """A job that shows what is known."""
        job = Job(record.spec)
        with self.lock:
            job._native_id = record.native_id
            job._status = status = record.status
            if record.held:
                job._status = JobStatus(JobState.HELD, status.time, metadata=status.metadata)
            info, started = record.info, record.started
        info = JobInfo(**vars(info))
        info.submission_time = datetime.fromtimestamp(record.submitted)
        if started is not None:
            info.dispatch_time = datetime.fromtimestamp(started)
            if not status.final:
                info.wall_time = int(time.time() - started)
        info.reason = status.message
        job.current_info = info
        return job


def _tell(followers: Iterable[tuple[ManagedExecutor, Job]], status: JobStatus) -> None:
    for executor, job in followers:
        executor._set_job_status(job, status)
