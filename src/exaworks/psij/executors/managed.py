"""What our executors have in common: the bookkeeping around a few requests to a backend."""

from __future__ import annotations

import os
import threading
import weakref
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from exaworks.psij.dependencies import Gate
from exaworks.psij.exceptions import (
    InvalidJobTypeException,
    InvalidStateException,
    PSIJException,
    SubmitException,
)
from exaworks.psij.job import Job
from exaworks.psij.job_executor import BulkSubmitException, JobExecutor
from exaworks.psij.job_executor_config import JobExecutorConfig
from exaworks.psij.job_state import JobState
from exaworks.psij.job_status import JobStatus, Reason

__all__ = ["ManagedExecutor"]

_claims = threading.RLock()  # so that a job is claimed for one submission only

list_of = list  # the type, by a name that the method ``list`` does not hide in annotations


class ManagedExecutor(JobExecutor):
    """An executor that takes jobs in bulk.

    Subclasses define the requests to their backend (the abstract methods below). A subclass tells
    of an accepted job with :meth:`_accepted`, in the order in which things happen: a job must be
    ``QUEUED`` before it can be anything else.
    """

    def __init__(self, url: str | None = None, config: JobExecutorConfig | None = None) -> None:
        super().__init__(url, config)
        self._open_batches = threading.local()
        self._process = os.getpid()
        self._followed_in_child: weakref.WeakSet[Job] = weakref.WeakSet()
        self._causes: weakref.WeakKeyDictionary[Job, str] = weakref.WeakKeyDictionary()

    @abstractmethod
    def _submit_jobs(self, jobs: Sequence[Job]) -> Mapping[Job, PSIJException]:
        """Hand checked jobs to the backend; call :meth:`_accepted` for each that it takes.

        Returns:
            the jobs that were not taken, and why.
        """

    @abstractmethod
    def _attach_jobs(self, jobs: Sequence[tuple[Job, str]]) -> None:
        """Find out about jobs that the backend has already, and follow them."""

    @abstractmethod
    def _cancel_jobs(self, jobs: Sequence[Job]) -> None:
        """Ask the backend to cancel jobs that have not ended.

        Raises:
            SubmitException: the request could not be handed over.
        """

    def submit(self, job: Job) -> None:
        """See :meth:`JobExecutor.submit`. Inside :meth:`batch`, the job is only collected."""
        batch = self._batch_of_thread()
        self._claim([job])
        if batch is not None:
            batch.append(job)
            return
        for problem in self._hand_over([job]).values():
            raise problem

    def submit_many(self, jobs: Iterable[Job]) -> None:
        """See :meth:`JobExecutor.submit_many`."""
        everything = list(jobs)
        self._claim(everything)
        failed = self._hand_over(everything)
        if failed:
            raise BulkSubmitException(list(failed.items()), len(everything))

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Collect the jobs that this thread submits in a ``with`` block, and submit them together.

        Until the end of the block they stay ``NEW`` and have no native id. If the block is left
        by an exception, none of them is submitted.

        Raises:
            BulkSubmitException: at the end of the block, if some were not accepted.
            InvalidStateException: the block is inside another one of the same executor.
        """
        if self._batch_of_thread() is not None:
            raise InvalidStateException("batch() inside batch(): leave the outer block first")
        jobs: list[Job] = []
        self._open_batches.jobs = jobs
        try:
            yield
        except BaseException:
            for job in jobs:
                self._free(job)
            raise
        finally:
            self._open_batches.jobs = None
        failed = self._hand_over(jobs)
        if failed:
            raise BulkSubmitException(list(failed.items()), len(jobs))

    def attach(self, job: Job, native_id: str) -> None:
        """See :meth:`JobExecutor.attach`."""
        self.attach_many([(job, native_id)])

    def attach_many(self, jobs: Iterable[tuple[Job, str]]) -> None:
        """Attach many jobs in as few requests as the backend allows; see :meth:`attach`."""
        pairs = [(job, str(native_id)) for job, native_id in jobs]
        for job, _ in pairs:
            if job.status.state is not JobState.NEW:
                raise InvalidStateException(f"{job} cannot be attached: it must be NEW")
        for job, native_id in pairs:
            job.executor = self
            job._native_id = native_id
        self._attach_jobs(pairs)

    def cancel(self, job: Job) -> None:
        """See :meth:`JobExecutor.cancel`."""
        self.cancel_many([job])

    def cancel_many(self, jobs: Iterable[Job]) -> None:
        """Cancel many jobs in as few requests as the backend allows; see :meth:`cancel`."""
        live = [job for job in jobs if not job.status.final]
        for job in live:
            if job.native_id is None or job.executor is None:
                raise InvalidStateException(f"{job} was not submitted, so it cannot be cancelled")
        if live:
            self._cancel_jobs(live)

    def _ensure_followed(self, job: Job) -> None:
        """Follow a job that the parent of this forked process has submitted."""
        if self._process == os.getpid() or job.status.final or job in self._followed_in_child:
            return
        self._followed_in_child.add(job)
        if job.native_id is not None:
            self._attach_jobs([(job, job.native_id)])

    def _batch_of_thread(self) -> list_of[Job] | None:
        return getattr(self._open_batches, "jobs", None)

    def _claim(self, jobs: Sequence[Job]) -> None:
        """Check jobs and bind them to this executor, all or none."""
        claimed: list[Job] = []
        try:
            for job in jobs:
                if not isinstance(job, Job):
                    raise InvalidJobTypeException(f"only a Job can be submitted, not {job!r}")
                with _claims:
                    if job.executor is not None and job.status.state is JobState.NEW:
                        raise InvalidStateException(f"{job} is being submitted already")
                    self._check_job(job)
                    claimed.append(job)
        except BaseException:
            for job in claimed:
                self._free(job)
            raise

    def _hand_over(self, jobs: Sequence[Job]) -> Mapping[Job, PSIJException]:
        if not jobs:
            return {}
        try:
            failed = self._submit_jobs(jobs)
        except PSIJException as problem:
            failed = {job: problem for job in jobs if job.native_id is None}
        except OSError as problem:
            transient = getattr(problem, "transient", isinstance(problem, ConnectionError))
            error = SubmitException(f"{self.name}: {problem}", problem, transient)
            failed = {job: error for job in jobs if job.native_id is None}
        except BaseException:  # such as KeyboardInterrupt: what was not accepted is free again
            for job in jobs:
                if job.native_id is None:
                    self._free(job)
            raise
        for job in failed:
            self._free(job)
        return failed

    def _watch_dependencies(self, job: Job, conditions: Iterable[tuple[str, Job]]) -> None:
        """Release a held job when its dependencies allow it, or cancel it if they never will."""
        from exaworks.core.reactor import Reactor
        from exaworks.psij.executors.batch.workers import Workers

        Gate(job, conditions, self, Workers.get().run, Reactor.get().call_later)

    def _cancel_because(self, job: Job, cause: str) -> None:
        """Cancel a job; its last status will say why."""
        self._causes[job] = cause
        self.cancel(job)

    def _set_job_status(self, job: Job, status: JobStatus) -> None:
        if status.state is JobState.CANCELED and job in self._causes:
            metadata = {**(status.metadata or {}), "reason": Reason.DEPENDENCY}
            cause = self._causes.pop(job)
            status = JobStatus(status.state, status.time, cause, status.exit_code, metadata)
        super()._set_job_status(job, status)

    def _accepted(self, job: Job, native_id: str, time: float | None = None) -> None:
        """Take note that the backend has accepted a job under ``native_id``."""
        job._native_id = native_id
        if self._process != os.getpid():
            self._followed_in_child.add(job)
        self._set_job_status(
            job, JobStatus(JobState.QUEUED, time, metadata={"native_id": native_id})
        )
