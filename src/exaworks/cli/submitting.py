"""Handing jobs over so that none is lost: each is remembered before and completed after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from exaworks.cli.backends import Backends
from exaworks.cli.errors import REFUSED, Problem
from exaworks.cli.output import note
from exaworks.cli.store import Store
from exaworks.psij import (
    BulkSubmitException,
    Job,
    JobExecutor,
    JobSpec,
    PSIJException,
    ResourceSpecV1,
    StageOut,
    StageOutFlags,
    StagingMode,
    SubmitException,
)

__all__ = [
    "Submission",
    "executor_for",
    "hint_about_launcher",
    "make_jobs",
    "submit",
    "working_directory",
]


@dataclass(frozen=True)
class Submission:
    """What became of a submission.

    Attributes:
        accepted: the jobs that the executor took.
        refused: those that it did not take, each with the reason.
    """

    accepted: Sequence[Job]
    refused: Sequence[tuple[Job, PSIJException]]

    def problem(self) -> Problem | None:
        """What to tell about refused jobs; ``None`` if there are none."""
        if not self.refused:
            return None
        first = self.refused[0][1]
        total = len(self.accepted) + len(self.refused)
        transient = isinstance(first, SubmitException) and first.transient
        many = f"{len(self.refused)} of {total} jobs were not accepted; the first: "
        return Problem(
            f"{many if total > 1 else ''}{first.message}",
            "This may pass: try again later." if transient else None,
            REFUSED,
        )


def executor_for(backends: Backends, name: str, url: str | None) -> JobExecutor:
    """The executor of that name.

    Raises:
        Problem: it cannot be loaded.
    """
    try:
        return backends.get(name, url)
    except ValueError as problem:
        raise Problem(str(problem), exit_code=REFUSED) from problem


def make_jobs(store: Store, specs: Sequence[JobSpec], executor: JobExecutor) -> list[Job]:
    """A job for each specification, to be submitted to that executor.

    Output for which a specification names no file is to be kept in the store's folder, so the
    specification is changed. From another machine it comes when the job has ended.
    """
    jobs = [Job(spec) for spec in specs]
    for job, spec in zip(jobs, specs, strict=True):
        folder = store.output_folder(job.id)
        for which in ("stdout", "stderr"):
            if getattr(spec, f"{which}_path") is not None:
                continue
            if executor.host is None:
                setattr(spec, f"{which}_path", folder / which)
                continue
            there = f"exaworks-{job.id}.{which}"
            setattr(spec, f"{which}_path", there)
            flags = StageOutFlags.ALWAYS | StageOutFlags.IF_PRESENT
            spec.stage_out.add(StageOut(there, folder / which, flags, StagingMode.MOVE))
    return jobs


def working_directory(executor: JobExecutor) -> Path | None:
    """Where jobs run that name no directory: here, if that exists where they run."""
    return Path.cwd() if executor.host is None else None


def submit(store: Store, executor: JobExecutor, jobs: Sequence[Job]) -> Submission:
    """Submit jobs, and remember them before and after.

    Raises:
        Problem: one of them cannot be understood; none was submitted.
    """
    for job in jobs:
        store.output_folder(job.id).mkdir(mode=0o700, parents=True, exist_ok=True)
    refused: list[tuple[Job, PSIJException]] = []
    try:
        config = executor.config
        default = executor.host is not None and not config.work_directory_given
        work = None if default else str(config.work_directory)
        store.add(jobs, executor.name, executor.url, work)
        executor.submit_many(jobs)
    except BulkSubmitException as problem:
        refused = list(problem.failed)
    except PSIJException as problem:
        store.remove([job.id for job in jobs])
        raise Problem(f"Not submitted: {problem.message}", exit_code=REFUSED) from problem
    finally:
        # Also when interrupted: jobs without an answer stay as they are, "SUBMITTING".
        store.accepted(job for job in jobs if job.native_id is not None)
    failed = {id(job) for job, _ in refused}
    store.remove([job.id for job in jobs if id(job) in failed])
    return Submission([job for job in jobs if id(job) not in failed], refused)


def hint_about_launcher(spec: JobSpec) -> None:
    """Say so if processes are asked for that nothing will start."""
    needs = spec.resources
    if not isinstance(needs, ResourceSpecV1) or spec.launcher is not None:
        return
    count = needs.computed_process_count
    if count > 1:
        note(
            f"Note: room for {count} processes, but the command is started once; to start it "
            f"{count} times add --launcher multiple, mpirun or srun"
        )
