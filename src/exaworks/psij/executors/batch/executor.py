"""The executor that all batch schedulers share."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from exaworks.psij.dependencies import resolve
from exaworks.psij.exceptions import InvalidJobException, PSIJException, SubmitException
from exaworks.psij.executors.batch.adapter import Details, Request, SchedulerAdapter
from exaworks.psij.executors.batch.config import BatchSchedulerExecutorConfig
from exaworks.psij.executors.batch.jobscript import Entry, Submission, render
from exaworks.psij.executors.batch.prepare import downloads, for_machine
from exaworks.psij.executors.batch.service import Service, Tracking
from exaworks.psij.executors.batch.spool import Spool
from exaworks.psij.executors.batch.submission import Submitter
from exaworks.psij.executors.managed import ManagedExecutor
from exaworks.psij.job import Job
from exaworks.psij.job_executor import Rendered
from exaworks.psij.job_executor_config import JobExecutorConfig
from exaworks.psij.job_spec import JobSpec
from exaworks.psij.job_state import JobState
from exaworks.psij.job_status import JobStatus, Reason
from exaworks.psij.remote import Address, make_runner
from exaworks.psij.runner import Command, CommandResult, LocalRunner
from exaworks.psij.validate import check_spec, resources

if TYPE_CHECKING:
    from exaworks.core.sites import SiteProfile

__all__ = ["BatchExecutor"]

_PATIENCE = 15.0
"""Seconds within which a usable scheduler answers."""

list_of = list  # the type, by a name that the method ``list`` does not hide in annotations


class BatchExecutor(ManagedExecutor):
    """An executor for a batch scheduler. A subclass names the scheduler's adapter."""

    ADAPTER: ClassVar[type[SchedulerAdapter]]

    def __init__(self, url: str | None = None, config: JobExecutorConfig | None = None) -> None:
        """Make an executor. Runs no command and starts no thread.

        Args:
            url: where the scheduler's commands are to be run: ``ssh://user@host:port``;
                ``None``: on this machine.
            config: settings; of a plain :class:`JobExecutorConfig` what it has is taken.

        Raises:
            ValueError: the URL is of another kind.
        """
        self.settings = BatchSchedulerExecutorConfig.of(config)
        super().__init__(url, self.settings)
        self.adapter = self.ADAPTER()
        self._runner = make_runner(
            url,
            self.settings.command_timeout,
            self.settings.ssh_command,
            self.settings.remote_setup,
        )
        self.host = Address.parse(url).host if url is not None and self._runner.host else None
        self._submitter = Submitter(
            lambda: self._service,
            self.settings,
            self._prepare,
            self._take_accepted,
            lambda: self._site_setup,
        )

    @property
    def _service(self) -> Service:
        """The watcher of this process, which is not the one of a process it was forked from.

        Raises:
            SubmitException: it is not there yet, and the other machine cannot be reached.
        """
        try:
            work = self._work_folder()
        except OSError as problem:
            raise self._unreachable(problem) from problem
        return Service.get(
            (
                self.ADAPTER,
                self.url,
                work,
                self.settings.command_timeout,
                self.settings.ssh_command,
                self.settings.remote_setup,
            ),
            lambda: Service(
                self.adapter,
                self._runner,
                Spool(self._runner, os.path.join(work, self.adapter.name)),
            ),
        )

    def _work_folder(self) -> str:
        given = self.settings.work_directory_given
        if self._runner.host is not None and not given:
            return os.path.join(self._runner.home(), ".exaworks", "work")
        return self._runner.resolve(str(self.settings.work_directory))

    # -- submission

    def _check_job(self, job: Job) -> JobSpec:
        spec = super()._check_job(job)
        try:
            self.adapter.options(Request(spec, resources(job)))
        except BaseException:
            self._free(job)
            raise
        return spec

    def _submit_jobs(self, jobs: Sequence[Job]) -> Mapping[Job, PSIJException]:
        return self._submitter.submit(jobs)

    def _prepare(self, job: Job, only_show: bool = False) -> Entry:
        assert job.spec is not None
        launcher = self._get_launcher(job.spec.launcher)
        for others in (job.spec.attributes.dependencies or {}).values():
            for other in others:
                problem = self.adapter.check_id(other) if isinstance(other, str) else None
                if problem is not None:
                    raise InvalidJobException(f"dependencies: {problem}")
        waits_for = resolve(job, self, self.adapter.dependency_kinds, attach=not only_show)
        if waits_for.ours and not self.adapter.can_hold:
            raise self._unsupported("way to hold jobs, so none can wait for others")
        if self.host is None:
            return Entry(job, launcher, job, None, waits_for)
        spec, transfers = for_machine(job.spec, self._runner.home())
        moves = transfers.uploads or transfers.downloads
        return Entry(Job(spec), launcher, job, transfers if moves else None, waits_for)

    def _take_accepted(
        self, entries: Sequence[Entry], native_ids: Sequence[str], submission: Submission
    ) -> None:
        for entry, native_id in zip(entries, native_ids, strict=True):
            self._accepted(entry.owner, native_id)
        array, spool = len(entries) > 1, self._service.spool
        files = [submission.elements_path] if submission.elements_path is not None else []
        if self.adapter.script_file and not self.settings.keep_files:
            files.append(submission.path)
        if entries[0].transfers is not None:
            files.append(spool.staged_in(submission.token))
        followed = []
        for index, (entry, native_id) in enumerate(zip(entries, native_ids, strict=True)):
            tracking = self._tracking(entry.owner, native_id, submission.token)
            suffix = f"_{index + self.adapter.array_base}" if array else ""
            tracking.log = spool.path("log", f"{submission.token}{suffix}.log")
            if entry.transfers is not None:
                tracking.downloads = entry.transfers.downloads
                tracking.moved = entry.transfers.moved
            followed.append(tracking)
        self._service.follow(followed, files)
        for entry in entries:
            if entry.waits_for.ours:
                self._watch_dependencies(entry.owner, entry.waits_for.ours)

    def _tracking(self, job: Job, native_id: str, token: str | None) -> Tracking:
        return Tracking(
            job,
            native_id,
            self.settings.queue_polling_interval,
            self.settings.initial_queue_polling_delay,
            self._set_job_status,
            token,
        )

    def render(self, job: Job) -> Rendered:
        """See :meth:`JobExecutor.render`. Nothing is checked with the scheduler."""
        check_spec(job.spec, self.host)
        submission = render(
            [self._prepare(job, only_show=True)],
            self.adapter,
            self._service.spool,
            "0" * 16,
            self.settings.keep_files,
            self._service.cwd,
            self._site_setup,
        )
        command = self.adapter.submit_command(
            submission.options, submission.outside, submission.script, submission.path
        )
        return Rendered(list(command.argv), submission.script.decode("utf-8", "surrogateescape"))

    @classmethod
    def config_for(
        cls, profile: SiteProfile, config: JobExecutorConfig | None
    ) -> BatchSchedulerExecutorConfig:
        """See :meth:`JobExecutor.config_for`."""
        settings = copy.copy(BatchSchedulerExecutorConfig.of(config))
        if profile.work_directory is not None and not settings.work_directory_given:
            settings.work_directory = Path(_expanded(profile))
            settings.work_directory_given = True
        settings.remote_setup = settings.remote_setup or profile.remote_setup
        return settings

    # -- jobs that exist already

    def _attach_jobs(self, jobs: Sequence[tuple[Job, str]]) -> None:
        known = []
        for job, native_id in jobs:
            problem = self.adapter.check_id(native_id)
            if problem is None:
                tracking = self._tracking(job, native_id, None)
                if self.host is not None and job.spec is not None:
                    tracking.downloads = downloads(job.spec)
                known.append(tracking)
                continue
            metadata = {"native_id": native_id, "reason": Reason.LOST}
            self._set_job_status(
                job, JobStatus(JobState.FAILED, message=problem, metadata=metadata)
            )
        if known:
            self._service.follow(known)

    def _cancel_jobs(self, jobs: Sequence[Job]) -> None:
        self._request(self.adapter.cancel_commands, jobs, "cancel")
        self._service.cancel_requested(jobs)

    def _request(
        self,
        commands: Callable[[Collection[str]], list_of[Command]],
        jobs: Sequence[Job],
        what: str,
    ) -> None:
        for command in commands([str(job.native_id) for job in jobs]):
            rejected = self.adapter.parse_request(self._runner.run(command))
            if rejected is not None:
                raise SubmitException(
                    f"{self.adapter.title} did not take the request to {what}: {rejected.message}",
                    transient=rejected.transient,
                )

    def hold(self, job: Job) -> None:
        """See :meth:`JobExecutor.hold`."""
        if not self.adapter.can_hold:
            raise self._unsupported("hold()")
        self._request(self.adapter.hold_commands, [self._queued(job)], "hold")

    def release(self, job: Job) -> None:
        """See :meth:`JobExecutor.release`."""
        if not self.adapter.can_hold:
            raise self._unsupported("release()")
        self._request(self.adapter.release_commands, [self._queued(job)], "release")

    def _queued(self, job: Job) -> Job:
        if job.native_id is None:
            raise SubmitException(f"{job} was not submitted")
        return job

    def list(self) -> list_of[str]:
        """See :meth:`JobExecutor.list`."""
        result = self._runner.run(self.adapter.list_command())
        if not result.ok:
            raise self._no_answer(result)
        ids = self.adapter.parse_list(result)
        return ids + sorted(set(self._service.followed()).difference(ids))

    def find(self, job_ids: Iterable[str]) -> dict[str, str]:
        """See :meth:`JobExecutor.find`.

        Jobs that the scheduler still lists are found by their log files, others by their records.
        """
        wanted, spool = set(job_ids), self._service.spool
        result = self._runner.run(self.adapter.logs_command())
        if not result.ok:
            raise self._no_answer(result)
        found: dict[str, str] = {}

        def note(native_id: str, token: str, index: int) -> None:
            job_id = spool.job_id(token, index)
            if job_id in wanted:
                found[job_id] = native_id

        try:
            self._find(result, note, lambda: wanted.difference(found))
        except OSError as problem:
            raise self._unreachable(problem) from problem
        return found

    def _find(
        self,
        result: CommandResult,
        note: Callable[[str, str, int], None],
        missing: Callable[[], Collection[str]],
    ) -> None:
        for native_id, log in self.adapter.parse_logs(result).items():
            token, _, number = os.path.basename(log).partition(".")[0].partition("_")
            if number.isascii() and number.isdigit():
                note(native_id, token, int(number) - self.adapter.array_base)
            elif not number:
                note(native_id, token, 0)
        if missing():
            for record in self._service.spool.ended():
                note(record.native_id, record.token, record.index)

    def info(self, jobs: Sequence[Job] | None = None, owner: str | None = None) -> list_of[Job]:
        """See :meth:`JobExecutor.info`."""
        found: list_of[Job] = []
        ids: list_of[str] | None = None
        if jobs is not None:
            ids = [str(job.native_id) for job in jobs if job.native_id is not None]
            ids = [native_id for native_id in ids if self.adapter.check_id(native_id) is None]
            if not ids:
                return found
        for command in self.adapter.details_commands(ids, owner):
            result = self._runner.run(command)
            if not result.ok and self.adapter.parse_query(result).problem is not None:
                raise self._no_answer(result)
            known = self._service.states()
            for details in self.adapter.parse_details(result):
                job = Job(details.spec)
                job._native_id = details.observation.native_id
                job.executor = self
                job.current_info = details.info
                job._status = self._status_of(details, known.get(details.observation.native_id))
                found.append(job)
        return found

    @classmethod
    def unusable(cls) -> str | None:
        """See :meth:`JobExecutor.unusable`. Asks the scheduler, which takes some milliseconds."""
        adapter = cls.ADAPTER()
        return adapter.parse_ping(LocalRunner(_PATIENCE).run(adapter.ping_command()))

    def problem(self) -> str | None:
        """See :meth:`JobExecutor.problem`."""
        return self.adapter.parse_ping(self._runner.run(self.adapter.ping_command()))

    @staticmethod
    def _unreachable(problem: OSError) -> SubmitException:
        transient = getattr(problem, "transient", isinstance(problem, ConnectionError))
        return SubmitException(str(problem), problem, transient)

    def _no_answer(self, result: CommandResult) -> SubmitException:
        rejected = self.adapter.parse_request(result)
        words = rejected.message if rejected is not None else result.complaint()
        return SubmitException(f"{self.adapter.title} does not answer: {words}", transient=True)

    @staticmethod
    def _status_of(details: Details, told: JobState | None) -> JobStatus:
        """A status in the scheduler's words; a job that has told that it runs knows better."""
        seen = details.observation
        state = JobState.HELD if details.held else seen.state or JobState.QUEUED
        if state is JobState.QUEUED and told is not None and told.is_greater_than(state):
            state = told
        facts = {
            "native_id": seen.native_id,
            "nodes": seen.nodes,
            "reason": seen.reason,
            "signal": seen.signal,
            "scheduler_state": seen.word,
            "scheduler_reason": seen.cause,
            "restarts": seen.restarts or None,
        }
        known = {name: value for name, value in facts.items() if value}
        return JobStatus(state, None, seen.message, seen.exit_code, known)


def _expanded(profile: SiteProfile) -> str:
    """The work directory of a site; on another machine its variables are replaced there."""
    folder = str(profile.work_directory)
    if not profile.is_here():
        return folder
    full = os.path.expandvars(os.path.expanduser(folder))
    unset = re.search(r"\$(?:[A-Za-z_]\w*|\{[A-Za-z_]\w*\})", full, re.ASCII)
    if unset is not None:
        raise ValueError(f"work_directory of {profile.name}: {unset[0]} is not set here")
    return full
