"""The executors of remembered jobs, and the jobs themselves as they are now."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from exaworks.cli.record import UNKNOWN, Record, this_place
from exaworks.cli.store import Store
from exaworks.psij import (
    Job,
    JobExecutor,
    JobState,
    JobStatus,
    PSIJException,
    Reason,
    wait,
)
from exaworks.psij.executors.managed import ManagedExecutor

__all__ = ["REFRESH_SECONDS", "Backends", "Live"]

logger = logging.getLogger(__name__)

REFRESH_SECONDS = 2.0
"""How long a command waits for executors to tell how jobs are, unless told otherwise."""

SURE_SECONDS = 600.0
"""How long a submission may still arrive after the program that made it has ended."""

_LOCAL = "local"
"""The executor whose jobs belong to one machine, and to a batch job if submitted inside one."""
_KNOWN = [JobState.QUEUED]  # this state or any later one


class Backends:
    """Executors, each made once."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, str | None, str | None], JobExecutor] = {}

    def get(self, name: str, url: str | None = None, work: str | None = None) -> JobExecutor:
        """An executor.

        Args:
            name: its name.
            url: its location.
            work: the folder for its records; ``None``: its default.

        Raises:
            ValueError: there is no such executor, or it cannot be loaded.
        """
        key = (name, url, work)
        if key not in self._made:
            executor = JobExecutor.get_instance(name, url=url)
            if work is not None and work != str(executor.config.work_directory):
                settings = copy.copy(executor.config)
                settings.work_directory, settings.work_directory_given = Path(work), True
                executor = JobExecutor.get_instance(name, url=url, config=settings)
            self._made[key] = executor
        return self._made[key]

    def for_record(self, record: Record) -> JobExecutor:
        """The executor that a remembered job was submitted to; see :meth:`get`."""
        return self.get(record.executor, record.url, record.work_directory)


def _elsewhere(record: Record) -> str | None:
    """Why a job cannot be asked about from this machine, if so."""
    if record.executor == _LOCAL and record.place != this_place():
        return f"{record.title} belongs to {record.place}; ask there"
    return None


def _lost(executor: JobExecutor, record: Record) -> JobStatus:
    if record.native_id is None:
        message = f"the submission was interrupted, and {executor.name} has not received the job"
    else:
        message = f"{executor.name} does not know the job any more"
    return JobStatus(JobState.FAILED, message=message, metadata={"reason": Reason.LOST})


class Live:
    """Remembered jobs, attached to, whose changes are remembered.

    Attributes:
        problems: why some of the jobs cannot be followed, by uuid.
    """

    def __init__(self, store: Store, backends: Backends | None = None) -> None:
        self._store = store
        self._backends = backends or Backends()
        self._records: dict[str, Record] = {}
        self._jobs: dict[str, Job] = {}
        self._saved: dict[str, JobState] = {}
        self.problems: dict[str, str] = {}

    def attach(self, records: Iterable[Record]) -> None:
        """Follow jobs, those that have not ended and that are not followed yet."""
        wanted = [r for r in records if not r.final and r.uuid not in self._jobs]
        groups: dict[JobExecutor, list[Record]] = {}
        for record in wanted:
            try:
                problem = _elsewhere(record)
                executor = self._backends.for_record(record)
            except ValueError as error:
                problem = str(error)
            if problem is None:
                groups.setdefault(executor, []).append(record)
            else:
                self.problems[record.uuid] = problem
        for executor, members in groups.items():
            try:
                self._attach_to(executor, self._with_ids(executor, members))
            except PSIJException as error:
                for record in members:
                    self._jobs.pop(record.uuid, None)
                    self.problems[record.uuid] = f"{executor.name}: {error.message}"

    def _with_ids(self, executor: JobExecutor, records: Sequence[Record]) -> list[Record]:
        """The jobs that can be attached to. Interrupted submissions are looked for."""
        # Numbers of local jobs begin anew if the keeper's records were lost, so each is checked.
        doubtful = [
            record
            for record in records
            if record.shown_state == UNKNOWN or (record.native_id and executor.name == _LOCAL)
        ]
        if doubtful and self._look_for(executor, doubtful):
            records = self._store.get([record.uuid for record in records])
        for record in records:
            if record.native_id is None and not record.final:
                self.problems[record.uuid] = (
                    f"It is not known yet whether {executor.name} has accepted {record.title}; "
                    f"see `exaworks explain {record.id}`"
                )
        return [record for record in records if record.native_id is not None and not record.final]

    def _look_for(self, executor: JobExecutor, records: Sequence[Record]) -> bool:
        """Ask an executor for the ids of jobs; returns whether anything new was remembered."""
        try:
            found = executor.find([record.uuid for record in records])
        except PSIJException as error:
            logger.info("%s cannot look for jobs: %s", executor.name, error.message)
            return False
        moved = {
            r.uuid: found[r.uuid] for r in records if found.get(r.uuid, r.native_id) != r.native_id
        }
        self._store.found(moved)
        lost = [
            (record.uuid, _lost(executor, record))
            for record in records
            if record.uuid not in found
            and (record.native_id or time.time() - record.submitted > SURE_SECONDS)
        ]
        self._store.update(lost)
        return bool(moved or lost)

    def _attach_to(self, executor: JobExecutor, records: Sequence[Record]) -> None:
        pairs = []
        for record in records:
            job = Job(record.job_spec)
            self._records[record.uuid], self._jobs[record.uuid] = record, job
            pairs.append((job, str(record.native_id)))
        if isinstance(executor, ManagedExecutor):
            executor.attach_many(pairs)
        else:
            for job, native_id in pairs:
                executor.attach(job, native_id)

    def job(self, record: Record) -> Job | None:
        """The job of a record, if it is followed."""
        return self._jobs.get(record.uuid)

    def settle(self, timeout: float) -> None:
        """Wait until the state of every job is known, but not longer than ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        for job in self._jobs.values():
            job.wait(max(0.0, deadline - time.monotonic()), _KNOWN)

    def wait_for_ends(self, timeout: float) -> None:
        """Wait until every job has ended, but not longer than ``timeout`` seconds."""
        wait(self._jobs.values(), timeout)

    def save(self) -> set[str]:
        """Remember what has changed since the last time; returns the uuids of these jobs."""
        changes = []
        for uuid, job in self._jobs.items():
            status = job.status
            if status.state is not self._saved.get(uuid, JobState.NEW):
                self._saved[uuid] = status.state
                if status.state.name != self._records[uuid].state:
                    changes.append((uuid, status))
        self._store.update(changes)
        return {uuid for uuid, _ in changes}

    def refreshed(self, records: Sequence[Record], timeout: float) -> list[Record]:
        """The records as they are after asking the executors, within ``timeout`` seconds."""
        if all(record.final for record in records):
            return list(records)
        self.attach(records)
        self.settle(timeout)
        self.save()
        return self._store.get([record.uuid for record in records])

    def with_reasons(self, records: Sequence[Record]) -> list[Record]:
        """The records, those that wait with the reason why, as far as executors tell it.

        Jobs that are held get the state ``HELD``. None of this is remembered.
        """
        waiting: dict[JobExecutor, dict[str, Record]] = {}
        for record in records:
            job = self._jobs.get(record.uuid)
            if job is not None and job.executor and job.status.state is JobState.QUEUED:
                waiting.setdefault(job.executor, {})[str(record.native_id)] = record
        told: dict[str, Record] = {}
        for executor, members in waiting.items():
            try:
                found = executor.info([self._jobs[record.uuid] for record in members.values()])
            except PSIJException as error:
                logger.info("%s does not tell why jobs wait: %s", executor.name, error.message)
                continue
            for job in found:
                if job.native_id in members and not job.status.final:
                    record = members[job.native_id]
                    told[record.uuid] = _with_reason(record, job)
        return [told.get(record.uuid, record) for record in records]

    def unanswered(self) -> list[Record]:
        """Jobs whose executor has not told yet how they are."""
        return [
            self._records[uuid]
            for uuid, job in self._jobs.items()
            if job.status.state is JobState.NEW
        ]


def _with_reason(record: Record, job: Job) -> Record:
    reason = job.current_info.reason if job.current_info is not None else None
    held = job.status.state is JobState.HELD
    return replace(record, state="HELD" if held else record.state, message=reason)
