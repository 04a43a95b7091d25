"""Which jobs to list, and the list that keeps itself up to date."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import click

from exaworks.cli.backends import REFRESH_SECONDS, Live
from exaworks.cli.errors import USAGE, Problem
from exaworks.cli.output import (
    STATE_STYLES,
    clean,
    console,
    job_cells,
    job_headers,
    note,
    rich_table,
)
from exaworks.cli.record import Record
from exaworks.cli.store import Store

__all__ = ["Selection", "tell_troubles", "watch_jobs"]

_PACE: Final = 0.5
"""Seconds between two looks at the jobs."""
_FRAME_LINES: Final = 5
"""Lines of the screen that hold no job: the head, its rule, the summary and some air."""


@dataclass(frozen=True)
class Selection:
    """Which jobs to list."""

    store: Store
    states: frozenset[str]
    executor: str | None
    name: str | None
    limit: int | None

    @staticmethod
    def make(
        store: Store,
        states: Sequence[str],
        executor: str | None,
        name: str | None,
        limit: int | None,
    ) -> Selection:
        """Check what was asked for.

        Raises:
            Problem: there is no such state.
        """
        wanted = frozenset(state.upper() for state in states)
        for state in wanted:
            if state not in STATE_STYLES:
                known = ", ".join(STATE_STYLES)
                raise Problem(f"--state is {state!r}; there are: {known}.", None, USAGE)
        return Selection(store, wanted, executor, name, limit)

    def candidates(self) -> list[Record]:
        """The jobs among which those to show are, once it is known how they are now."""
        limit = None if self.states else self.limit
        return self.store.select(self.executor, self.name, limit)

    def pick(self, records: Sequence[Record]) -> list[Record]:
        """Those to show."""
        fitting = [r for r in records if not self.states or r.shown_state in self.states]
        return fitting if self.limit is None else fitting[-self.limit :]

    def counts(self) -> Counter[str]:
        """How many jobs are in each state, of those that fit except for state and limit."""
        return self.store.states(self.executor, self.name)


def tell_troubles(live: Live, shown: Sequence[Record]) -> None:
    """Say of which jobs only the last known state could be shown, and why."""
    ids = {record.uuid for record in shown}
    silent = Counter(record.executor for record in live.unanswered() if record.uuid in ids)
    for executor, count in silent.items():
        which = "1 job is" if count == 1 else f"{count} jobs are"
        note(f"{executor} has not said yet how {which}; the last known state is shown")
    for problem in dict.fromkeys(p for uuid, p in live.problems.items() if uuid in ids):
        note(problem)


def watch_jobs(selection: Selection, live: Live) -> None:
    """Show the jobs and their changes until ctrl-C.

    On a terminal this is a table that stays up to date. Elsewhere it is a line for each change,
    and ends when all jobs have.
    """
    if sys.stdout.isatty():
        _watch_on_screen(selection, live)
    else:
        _watch_in_lines(selection, live)


def _look(selection: Selection, live: Live) -> list[Record]:
    store = selection.store
    live.attach(store.select(selection.executor, selection.name, unfinished=True))
    live.save()
    return selection.pick(selection.candidates())


def _watch_on_screen(selection: Selection, live: Live) -> None:
    from rich.console import Group
    from rich.live import Live as Screen
    from rich.text import Text

    target = console()
    _look(selection, live)
    live.settle(REFRESH_SECONDS)
    with Screen(console=target, auto_refresh=False, transient=False) as screen:
        while True:
            records = _look(selection, live)
            room = max(1, target.height - _FRAME_LINES)
            now = time.time()
            rows = [job_cells(record, now) for record in records[-room:]]
            summary = Text(_summary(selection.counts()), style="dim")
            screen.update(
                Group(rich_table(job_headers, rows, target.width), Text(), summary), refresh=True
            )
            time.sleep(_PACE)


def _summary(counts: Counter[str]) -> str:
    parts = [f"{counts[state]} {state}" for state in STATE_STYLES if counts[state]]
    jobs = "1 job" if counts.total() == 1 else f"{counts.total()} jobs"
    return f"{jobs}: {', '.join(parts)}   (ctrl-C ends this)" if parts else "No jobs."


def _watch_in_lines(selection: Selection, live: Live) -> None:
    told: dict[str, str] = {}
    _look(selection, live)
    live.settle(REFRESH_SECONDS)
    while True:
        records = _look(selection, live)
        for record in records:
            if told.get(record.uuid) != record.shown_state:
                told[record.uuid] = record.shown_state
                cells = job_cells(record, time.time())
                code = f" exit={cells[5]}" if cells[5] else ""
                click.echo(f"{record.id} {record.shown_state}{code} {clean(record.name)}")
        sys.stdout.flush()
        if not any(live.job(record) is not None and not record.final for record in records):
            return
        time.sleep(_PACE)
