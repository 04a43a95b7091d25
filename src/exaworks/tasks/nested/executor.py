"""The executor whose jobs are tasks of an engine."""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from exaworks.psij.dependencies import Resolved, resolve
from exaworks.psij.exceptions import (
    InvalidJobException,
    InvalidStateException,
    PSIJException,
    SubmitException,
)
from exaworks.psij.executors.managed import ManagedExecutor, list_of
from exaworks.psij.job import Job
from exaworks.psij.job_executor import Rendered
from exaworks.psij.job_executor_config import JobExecutorConfig
from exaworks.psij.job_status import Reason
from exaworks.psij.validate import check_spec
from exaworks.tasks.engine import Engine
from exaworks.tasks.errors import InvalidTaskError, TaskError
from exaworks.tasks.nested.book import Book, Record
from exaworks.tasks.nested.task import JobTask, make_task, shown
from exaworks.tasks.nested.verdict import canceled, failed
from exaworks.tasks.state import TaskState

__all__ = ["EngineJobExecutor"]

_AT_ONCE = 1000
"""Jobs that are handed to the engine together."""


class _Ready(NamedTuple):
    """A job, ready to be handed over."""

    job: Job
    work: JobTask
    waits_for: Resolved | None


class EngineJobExecutor(ManagedExecutor):
    """Runs jobs as tasks of an engine, on what that has: cores, GPUs and memory are kept apart.

    A job is ``ACTIVE`` from when the engine hands its task to a worker, also while its files are
    staged. It is ``CANCELED`` as soon as that was asked for; its processes then get SIGTERM, and
    SIGKILL after five seconds. ``duration`` is enforced if it was given. Queue, account and
    reservation mean nothing here and are ignored; ``memory`` is a limit. The custom attributes
    ``engine.priority``, ``engine.colocate``, ``engine.retries`` and ``engine.restartable`` set
    the fields of :class:`TaskSpec` of that name.

    The native id is the id of the task, or another one if the job was held at first; jobs can be
    attached to as long as the engine exists, in the program that made it. When the engine is shut
    down, jobs that it has taken run to their end (or fail, if it drops them), and jobs that are
    held fail when they are released.
    """

    _NAME_ = "engine"
    _VERSION_ = "0.3.0"

    def __init__(self, engine: Engine, config: JobExecutorConfig | None = None) -> None:
        """Make an executor. Several may share an engine, and then know the same jobs.

        Args:
            engine: who runs the jobs.
            config: settings.
        """
        super().__init__(None, config)
        self.engine = engine
        self._book = Book.of(engine)

    def _check_process(self) -> None:
        # A lock that another thread had at the fork is never free in the child: none is touched.
        if os.getpid() != self.engine._process:
            raise SubmitException(
                f"{self.engine.id} belongs to the parent of this process: make an engine, and an "
                "executor for it, after the fork"
            )

    # -- submitting -----------------------------------------------------------------------------

    def _submit_jobs(self, jobs: Sequence[Job]) -> Mapping[Job, PSIJException]:
        self._check_process()
        failed_jobs: dict[Job, PSIJException] = {}
        part: list_of[_Ready] = []
        for job in jobs:
            try:
                ready = self._prepare(job)
            except PSIJException as problem:
                failed_jobs[job] = problem
                continue
            if ready.waits_for:
                self._keep(ready, ready.waits_for)
                continue
            part.append(ready)
            if len(part) == _AT_ONCE:
                failed_jobs.update(self._launch(part))
                part = []
        if part:
            failed_jobs.update(self._launch(part))
        return failed_jobs

    def _prepare(self, job: Job) -> _Ready:
        assert job.spec is not None
        try:
            work = make_task(job, self._get_launcher(job.spec.launcher), self.engine)
            waits_for = resolve(job, self, ()) if job.spec.attributes.dependencies else None
        except PSIJException:
            raise
        except OSError as problem:
            raise SubmitException(f"{job} cannot be submitted: {problem}", problem) from problem
        except Exception as problem:  # of whatever kind: it is the matter of this job alone
            raise InvalidJobException(
                f"{job} cannot be submitted: {type(problem).__name__}: {problem}", problem
            ) from problem
        return _Ready(job, work, waits_for)

    def _launch(self, part: Sequence[_Ready]) -> Mapping[Job, PSIJException]:
        try:
            tasks = self.engine.launch_many([each.work.spec for each in part])
        except InvalidTaskError as problem:
            if len(part) == 1:
                job = part[0].job
                return {job: InvalidJobException(f"{job} cannot be submitted: {problem}", problem)}
            # It takes all or none; the halves show which ones it does not take.
            half = len(part) // 2
            return {**self._launch(part[:half]), **self._launch(part[half:])}
        except TaskError as problem:  # it was shut down, or has nothing to run them on any more
            refused = SubmitException(f"{self.engine.id}: {problem}", problem)
            return {each.job: refused for each in part}
        for each, task in zip(part, tasks, strict=True):
            self._take_on(each.job, self._book.launched(each.job, each.work, task))
        return {}

    def _keep(self, ready: _Ready, waits_for: Resolved) -> None:
        """Take a job that waits for others."""
        self._take_on(ready.job, self._book.held(self.engine, ready.job, ready.work))
        self._watch_dependencies(ready.job, waits_for.ours)

    def _take_on(self, job: Job, record: Record) -> None:
        self._accepted(job, record.native_id, record.submitted)
        self._book.follow(record, self, job)

    # -- jobs that are there --------------------------------------------------------------------

    def _attach_jobs(self, jobs: Sequence[tuple[Job, str]]) -> None:
        theirs = os.getpid() != self.engine._process
        for job, native_id in jobs:
            record = None if theirs else self._book.get(native_id)
            if record is not None:
                self._book.follow(record, self, job)
                continue
            if theirs:
                text = "only the parent of this process can follow it: its engine is there"
            else:
                text = f"{self.engine.id} has no job {native_id[:80]!r}, or has had it long ago"
            self._set_job_status(job, failed(native_id, Reason.LOST, text))

    def _cancel_jobs(self, jobs: Sequence[Job]) -> None:
        self._check_process()
        stays: list_of[Record] = []
        for job in jobs:
            record = self._book.get(job.native_id)
            if record is None:
                continue
            with self._book.lock:
                record.asked = True
                held, record.held, task = record.held, False, record.task
            if held:
                self._book.end(record, canceled(record.native_id))
            elif task is not None and not task.cancel() and not task.done():
                stays.append(record)
        if stays:
            raise SubmitException(
                f"{self.engine.id} cannot end jobs that run, such as {stays[0].native_id}"
            )

    def hold(self, job: Job) -> None:
        """Keep a queued job from starting until it is released.

        Raises:
            InvalidStateException: it has started or ended already.
        """
        record = self._known(job)
        # The engine must not start the task between the look at it and its end.
        with self.engine._lock, self._book.lock:
            if record.held:
                return
            task = record.task
            if task is None or record.asked or task.state is not TaskState.QUEUED:
                raise InvalidStateException(
                    f"cannot hold job {record.native_id}: it is about to start, or has started"
                )
            self._book.unwatch(record)
            record.held = True
            task.cancel()

    def release(self, job: Job) -> None:
        """Let a held job start again. It fails if the engine does not take it (any more).

        Raises:
            InvalidStateException: it is not held.
        """
        record = self._known(job)
        with self._book.lock:
            if not record.held or record.work is None:
                raise InvalidStateException(
                    f"cannot release job {record.native_id}: it is not held"
                )
            record.held = False
            spec = record.work.spec
        try:
            task = self.engine.launch(spec)
        except BaseException as problem:
            self._book.end_unstarted(record, f"it was held, and now cannot start: {problem}")
            if not isinstance(problem, Exception):
                raise
            return
        self._book.watch(record, task)
        if record.asked:  # in the meantime
            task.cancel()

    def _known(self, job: Job) -> Record:
        self._check_process()
        record = self._book.get(job.native_id)
        if record is None:
            raise InvalidStateException(f"{job} is no job of {self.engine.id}")
        return record

    # -- asking ---------------------------------------------------------------------------------

    def list(self) -> list_of[str]:
        """The ids of all jobs of the engine that have not ended."""
        self._check_process()
        return [record.native_id for record in self._book.all(live=True)]

    def find(self, job_ids: Iterable[str]) -> dict[str, str]:
        """See :meth:`JobExecutor.find`. Only the last 10,000 jobs that have ended are known."""
        self._check_process()
        wanted = set(job_ids)
        return {each.key: each.native_id for each in self._book.all() if each.key in wanted}

    def info(self, jobs: Sequence[Job] | None = None, owner: str | None = None) -> list_of[Job]:
        """See :meth:`JobExecutor.info`; without ``jobs``, those that have not ended."""
        self._check_process()
        if jobs is not None:
            records = [found for job in jobs if (found := self._book.get(job.native_id))]
        elif owner is not None and owner != _user():
            return []
        else:
            records = self._book.all(live=True)
        return [self._informed(record) for record in records]

    def _informed(self, record: Record) -> Job:
        task = record.task
        job = self._book.informed(record)
        job.executor = self
        info = job.current_info
        assert info is not None
        info.owner, info.submit_host = _user(), socket.gethostname()
        if task is not None and not job.status.final:
            info.reason = self.engine.explain(task)
        return job

    def render(self, job: Job) -> Rendered:
        """The command that would be started, with its script if it needs one."""
        self._check_process()
        launcher = self._get_launcher(check_spec(job.spec).launcher)
        return shown(make_task(job, launcher, self.engine), job, launcher)


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # as in a container
        return str(os.getuid())
