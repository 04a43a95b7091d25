"""Waiting for remembered jobs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import click

from exaworks.cli.backends import Live
from exaworks.cli.errors import FAILED, OK, TIMED_OUT, Problem
from exaworks.cli.output import clean, note
from exaworks.cli.record import Record
from exaworks.cli.store import Store
from exaworks.cli.verdict import describe
from exaworks.psij import as_completed

__all__ = ["wait_for"]


def wait_for(
    store: Store,
    live: Live,
    records: Sequence[Record],
    timeout: float | None,
    first: bool,
    quiet: bool,
) -> int:
    """Wait for jobs, tell of each that ends, and return the exit code.

    Args:
        store: where they are remembered.
        live: to follow them.
        records: the jobs.
        timeout: seconds; ``None``: as long as it takes.
        first: return when one has ended.
        quiet: tell nothing.

    Raises:
        Problem: some of the jobs cannot be waited for from here.
    """
    code = OK
    pending = len(records)
    for record in _ended(store, live, records, timeout):
        if record is None:
            note(f"{pending} of {len(records)} jobs have not ended within {timeout:g} s")
            return TIMED_OUT
        pending -= 1
        if record.state != "COMPLETED":
            code = FAILED
        if not quiet:
            text = describe(record.state, record.exit_code, record.signal, record.message)
            click.echo(f"{record.id} {clean(text)}")
        if first:
            break
    return code


def _ended(
    store: Store, live: Live, records: Sequence[Record], timeout: float | None
) -> Iterator[Record | None]:
    """The jobs, each when it has ended; ``None`` when the time is over."""
    started = time.monotonic()
    live.attach(records)
    records = store.get([record.uuid for record in records])
    for record in records:
        if record.uuid in live.problems:
            raise Problem(f"Cannot wait: {live.problems[record.uuid]}.")
    yield from (record for record in records if record.final)
    waiting = {live.job(record): record for record in records if not record.final}
    left = None if timeout is None else max(0.0, timeout - (time.monotonic() - started))
    jobs = [job for job in waiting if job is not None]
    try:
        for job in as_completed(jobs, left):
            live.save()
            yield store.get([waiting[job].uuid])[0]
    except TimeoutError:
        live.save()
        yield None
