"""Asking executors to cancel, hold and release remembered jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import click

from exaworks.cli.backends import REFRESH_SECONDS, Live
from exaworks.cli.errors import FAILED, OK
from exaworks.cli.output import note
from exaworks.cli.record import Record
from exaworks.cli.store import Store
from exaworks.psij import Job, JobExecutor, PSIJException
from exaworks.psij.executors.managed import ManagedExecutor

__all__ = ["cancel", "hold_or_release"]

_GRACE: Final = 1.0
"""Seconds that jobs are given to end, so that the list of jobs is right at once."""


def cancel(store: Store, live: Live, records: Sequence[Record], quiet: bool) -> int:
    """Ask jobs to stop, those of one executor together; returns the exit code."""
    code = OK
    groups: dict[JobExecutor, list[tuple[Record, Job]]] = {}
    for record in records:
        job = live.job(record)
        if record.final:
            _say(f"{record.title} had ended: {record.state}", quiet)
        elif job is None or job.executor is None:
            code = FAILED
            note(live.problems.get(record.uuid, f"{record.title} cannot be reached"))
        else:
            groups.setdefault(job.executor, []).append((record, job))
    for executor, members in groups.items():
        try:
            _cancel_many(executor, [job for _, job in members])
        except PSIJException as problem:
            code = FAILED
            note(f"Error: {problem.message}")
            continue
        for record, _ in members:
            _say(f"{record.title} was asked to stop", quiet)
    if groups:
        live.wait_for_ends(_GRACE)
        live.save()
    return code


def _cancel_many(executor: JobExecutor, jobs: Sequence[Job]) -> None:
    if isinstance(executor, ManagedExecutor):
        executor.cancel_many(jobs)
        return
    for job in jobs:
        executor.cancel(job)


def hold_or_release(what: str, live: Live, records: Sequence[Record]) -> int:
    """Hold or release jobs (``what`` is the method's name); returns the exit code."""
    code = OK
    records = live.refreshed(records, REFRESH_SECONDS)
    for record in records:
        job = live.job(record)
        problem = live.problems.get(record.uuid)
        if record.final:
            problem = f"{record.title} has ended: {record.state}"
        elif job is not None and job.executor is not None:
            try:
                getattr(job.executor, what)(job)
            except PSIJException as error:
                problem = f"{record.title}: {error.message}"
        if problem is None:
            click.echo(f"{record.title} was {'held' if what == 'hold' else 'released'}")
        else:
            code = FAILED
            note(problem)
    return code


def _say(text: str, quiet: bool) -> None:
    if not quiet:
        click.echo(text)
