"""Executors (PSI/J specification, "JobExecutor")."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast
from weakref import WeakKeyDictionary

from exaworks.core.plugins import Descriptor, Registry
from exaworks.psij import delivery
from exaworks.psij.exceptions import InvalidStateException, PSIJException, SubmitException
from exaworks.psij.executors import BUILTIN
from exaworks.psij.job import AnyCallback, Job, JobStatusCallback, as_callback
from exaworks.psij.job_executor_config import JobExecutorConfig
from exaworks.psij.job_launcher import Launcher
from exaworks.psij.job_spec import JobSpec
from exaworks.psij.job_state import JobState
from exaworks.psij.job_status import JobStatus
from exaworks.psij.validate import check_spec

if TYPE_CHECKING:
    from packaging.version import Version

    from exaworks.core.sites import SiteProfile

__all__ = ["BulkSubmitException", "JobExecutor", "Rendered"]

registry = Registry("executor", BUILTIN, "exaworks.psij.executors")

_SITE = "site:"

list_of = list  # the type, by a name that the method ``list`` does not hide in annotations


class BulkSubmitException(SubmitException):
    """Some jobs of a bulk submission were not accepted; the others were.

    Attributes:
        failed: the jobs that were not accepted, each with the reason. They are still ``NEW`` and
            may be submitted again.
    """

    def __init__(self, failed: Sequence[tuple[Job, PSIJException]], total: int) -> None:
        self.failed = list(failed)
        first = self.failed[0][1]
        transient = all(isinstance(e, SubmitException) and e.transient for _, e in self.failed)
        super().__init__(
            f"{len(self.failed)} of {total} jobs were not accepted; the first: {first.message}",
            first,
            transient,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as a plain :class:`SubmitException`: jobs belong to their process."""
        return SubmitException, (self.message, None, self.transient)


@dataclass(frozen=True)
class Rendered:
    """What would be submitted.

    Attributes:
        command: the command that would be run to submit, or to start, the job.
        script: the script it would be given; ``None`` if there is none.
    """

    command: list[str]
    script: str | None = None

    def __str__(self) -> str:
        import shlex

        line = shlex.join(self.command)
        return line if self.script is None else f"# {line}\n{self.script}"


class JobExecutor(ABC):
    """A place to submit jobs to.

    Third parties implement an executor by subclassing this class or, for a batch scheduler, by
    writing an adapter (see :mod:`exaworks.psij.executors.batch`).
    """

    _NAME_: ClassVar[str]
    _VERSION_: ClassVar[Any]

    _site: tuple[SiteProfile, str] | None = None
    """The site whose profile completes jobs, and which of its schedulers it is."""

    _site_setup: tuple[str, ...] = ()
    """Lines of shell that the site wants to be run in every job, before anything else."""

    host: str | None = None
    """The name of the machine where jobs run, if it has other files than this one."""

    def __init__(self, url: str | None = None, config: JobExecutorConfig | None = None) -> None:
        """Make an executor.

        Args:
            url: the location of the backend, for executors that need one.
            config: settings; ``None``: the defaults.
        """
        self.url = url
        self.config = config or JobExecutorConfig()
        self._callback: JobStatusCallback | None = None
        self._launchers: dict[str, Launcher] = {}
        self._given: WeakKeyDictionary[Job, JobSpec] = WeakKeyDictionary()

    @property
    def name(self) -> str:
        """The name of the executor, such as ``"slurm"``."""
        return getattr(self, "_NAME_", type(self).__name__)

    @property
    def version(self) -> Version:
        """The version of the executor."""
        from packaging.version import Version

        return Version(str(getattr(self, "_VERSION_", "0")))

    @abstractmethod
    def submit(self, job: Job) -> None:
        """Hand a job to the backend.

        When this returns, the backend has accepted the job and ``job.native_id`` is set. When it
        raises, the job is unchanged and may be submitted again.

        Raises:
            InvalidJobException: the job cannot be understood; trying again cannot help.
            InvalidStateException: the job was submitted before.
            SubmitException: the backend did not take it; see ``transient``.
        """

    @abstractmethod
    def cancel(self, job: Job) -> None:
        """Ask the backend to cancel a job; see :meth:`Job.cancel`.

        Raises:
            InvalidStateException: the job was not submitted.
            SubmitException: the request could not be handed over.
        """

    @abstractmethod
    def attach(self, job: Job, native_id: str) -> None:
        """Make ``job`` stand for a job that the backend has already.

        Returns at once; the status follows. An id that the backend does not know, and that left
        no record, makes the job ``FAILED``.

        Args:
            job: a job in the state ``NEW``.
            native_id: the id of the backend's job; see :attr:`Job.native_id`.

        Raises:
            InvalidStateException: ``job`` is not ``NEW``.
        """

    @abstractmethod
    def list(self) -> list[str]:
        """The native ids of jobs that have not ended and can be attached to.

        All jobs submitted by this executor are among them; further ones of the same user may be.
        """

    def submit_many(self, jobs: Iterable[Job]) -> None:
        """Hand over many jobs, in as few requests as the backend allows.

        All are checked before the first is submitted.

        Raises:
            InvalidJobException: one of the jobs cannot be understood; none was submitted.
            BulkSubmitException: some were not accepted.
        """
        everything = list(jobs)
        failed: list[tuple[Job, PSIJException]] = []
        for job in everything:
            check_spec(job.spec, self.host)
        for job in everything:
            try:
                self.submit(job)
            except PSIJException as problem:
                failed.append((job, problem))
        if failed:
            raise BulkSubmitException(failed, len(everything))

    def batch(self) -> AbstractContextManager[None]:
        """Collect the jobs submitted in a ``with`` block and submit them together at its end."""
        raise self._unsupported("batch()")

    def hold(self, job: Job) -> None:
        """Keep a queued job from starting until it is released."""
        raise self._unsupported("hold()")

    def release(self, job: Job) -> None:
        """Let a held job start again."""
        raise self._unsupported("release()")

    def info(self, jobs: Sequence[Job] | None = None, owner: str | None = None) -> list_of[Job]:
        """What the backend knows about jobs.

        Args:
            jobs: jobs of this executor, or jobs of which only the native id is set.
            owner: instead, all jobs of that user that the backend shows. With neither, all jobs.

        Returns:
            jobs with ``native_id``, ``status``, ``spec`` (as far as the backend tells it) and
            ``current_info``. Jobs that the backend does not know are left out.
        """
        raise self._unsupported("info()")

    def render(self, job: Job) -> Rendered:
        """What would be submitted for ``job``, without doing it."""
        raise self._unsupported("render()")

    def find(self, job_ids: Iterable[str]) -> dict[str, str]:
        """Native ids of jobs that were submitted under the given :attr:`Job.id`, by anybody.

        It answers whether a submission arrived whose reply was lost, because the submitting
        program was killed meanwhile.

        Returns:
            native ids by job id; jobs that the backend has not seen are left out.
        """
        raise self._unsupported("find()")

    @classmethod
    def unusable(cls) -> str | None:
        """Why the executor cannot be used here and now; ``None`` if it can."""
        return None

    def problem(self) -> str | None:
        """Why this executor cannot be used now, at its location; ``None`` if it can."""
        return self.unusable()

    def announces_all_states(self, job: Job) -> bool:
        """Whether ``job`` passes through ``STAGE_IN``, ``STAGE_OUT`` and ``CLEANUP``."""
        if getattr(self.config, "announce_all_states", False):
            return True
        return job.spec is not None and job.spec.moves_data

    def set_job_status_callback(self, cb: AnyCallback) -> None:
        """Call ``cb`` at every change of the status of any job of this executor.

        Args:
            cb: a :class:`JobStatusCallback`, a function ``f(job, status)``, or ``None`` to end it.
        """
        self._callback = as_callback(cb)

    @staticmethod
    def get_instance(
        name: str,
        version_constraint: str | None = None,
        url: str | None = None,
        config: JobExecutorConfig | None = None,
    ) -> JobExecutor:
        """An executor by name.

        Args:
            name: one of :meth:`get_executor_names`.
            version_constraint: such as ``"(>= 0.1)"``; the newest that satisfies it is taken.
            url: the location of the backend: for batch schedulers ``ssh://user@host`` if it is
                another machine, or ``site:NAME`` for a site (see :meth:`for_site`).
            config: settings.

        Raises:
            ValueError: there is no such executor, or it cannot be loaded.
        """
        if url is not None and url.startswith(_SITE):
            user, _, site = url.removeprefix(_SITE).rpartition("@")
            return JobExecutor._for_site(site, name, user or None, config)
        descriptor, implementation = registry.find(name, version_constraint)
        if "_NAME_" not in vars(implementation):
            implementation._NAME_ = descriptor.name
            implementation._VERSION_ = descriptor.version
        return cast(JobExecutor, implementation(url=url, config=config))

    @staticmethod
    def for_site(
        name: str,
        scheduler: str | None = None,
        user: str | None = None,
        config: JobExecutorConfig | None = None,
    ) -> JobExecutor:
        """The executor for a site, as its profile describes it.

        Jobs are completed from the profile (queue, account, launcher, options that the site
        wants) and checked against its limits; ``job.spec`` then shows what was submitted. If this
        machine is not one of the site's, its scheduler is reached over SSH.

        Args:
            name: the site, see ``exaworks site list``.
            scheduler: one of the profile's schedulers; ``None``: its default one.
            user: the account there for SSH; ``None``: what the profile or ssh's own
                configuration says.
            config: settings; what they leave open follows from the profile.

        Raises:
            ValueError: there is no such site or scheduler, or its profile has a mistake.
        """
        from exaworks.core.sites import get_site

        target = get_site(name).scheduler(scheduler)
        return JobExecutor._for_site(name, target.name, user, config)

    @staticmethod
    def _for_site(
        name: str, scheduler: str, user: str | None, config: JobExecutorConfig | None
    ) -> JobExecutor:
        from exaworks.core.sites import get_site
        from exaworks.psij.site_defaults import setup_lines

        profile = get_site(name)
        named = [s.name for s in profile.schedulers.values() if s.executor == scheduler]
        target = profile.scheduler(
            named[0] if scheduler not in profile.schedulers and named else scheduler
        )
        _, implementation = registry.find(target.executor)
        config = implementation.config_for(profile, config)
        executor = JobExecutor.get_instance(target.executor, url=profile.url(user), config=config)
        executor.url = f"{_SITE}{user}@{profile.name}" if user else f"{_SITE}{profile.name}"
        executor._site = (profile, target.name)
        executor._site_setup = tuple(setup_lines(profile))
        return executor

    @classmethod
    def config_for(
        cls, profile: SiteProfile, config: JobExecutorConfig | None
    ) -> JobExecutorConfig | None:
        """Settings with what a site's profile says where they say nothing."""
        return config

    @staticmethod
    def register_executor(desc: Descriptor, root: str | None = None) -> None:
        """Make an executor known by its descriptor.

        Args:
            desc: the descriptor.
            root: accepted for compatibility, not used.
        """
        registry.register(desc)

    @staticmethod
    def get_executor_names() -> set[str]:
        """The names of all executors, aliases included."""
        return registry.names()

    def _check_job(self, job: Job) -> JobSpec:
        """Check a job before its submission and bind it to this executor.

        Raises:
            InvalidJobException: it cannot be understood.
            InvalidStateException: it was submitted before.
        """
        if job.status.state is not JobState.NEW:
            raise InvalidStateException(
                f"{job} cannot be submitted: it must be NEW; make a new Job for each submission"
            )
        if job.executor not in (None, self):
            raise InvalidStateException(f"{job} is being submitted to {job.executor} already")
        spec = check_spec(job.spec, self.host)
        if self._site is not None:
            from exaworks.psij.site_defaults import complete

            completed = check_spec(complete(spec, *self._site), self.host)
            self._given[job], job.spec = spec, completed
            spec = completed
        job.executor = self
        return spec

    def _free(self, job: Job) -> None:
        """Undo :meth:`_check_job` for a job that was not accepted."""
        job.executor = None
        job.spec = self._given.pop(job, job.spec)

    def _set_job_status(self, job: Job, status: JobStatus) -> None:
        """Move a job on to ``status``, if that can come after its present one."""
        delivery.advance(job, status, self.announces_all_states(job))

    def _ensure_followed(self, job: Job) -> None:  # noqa: B027 (few executors need it)
        """See to it that news of ``job`` reach this process. Called before somebody waits."""

    def _get_launcher(self, name: str | None, version_constraint: str | None = None) -> Launcher:
        """The launcher of that name, made once."""
        name = name or Launcher.DEFAULT_LAUNCHER_NAME
        if name not in self._launchers:
            self._launchers[name] = Launcher.get_instance(name, version_constraint, self.config)
        return self._launchers[name]

    def _unsupported(self, what: str) -> PSIJException:
        return SubmitException(f"The executor {self.name!r} has no {what}")

    def __str__(self) -> str:
        place = f", url={self.url}" if self.url is not None else ""
        return f"JobExecutor[{self.name}, {self.version}{place}]"
