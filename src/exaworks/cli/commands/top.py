"""``exaworks top``."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

import click

from exaworks.cli.settings import command as make_command

if TYPE_CHECKING:
    from exaworks.tasks.survey import Survey

__all__ = ["command"]

_PATIENCE: Final = 2.0
"""Seconds that engines have to answer."""


@make_command("top")
@click.option(
    "--interval",
    "-i",
    type=click.FloatRange(min=0.1, max=3600),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Look again after so many seconds.",
)
@click.option("--once", is_flag=True, help="Print one table and exit.")
@click.option("--engine", metavar="ID", help="Show only this engine, until it has ended.")
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects and exit.")
def command(interval: float, once: bool, engine: str | None, as_json: bool) -> int | None:
    """Show live what the engines on this machine do.

    An engine runs tasks, in any program of yours. On a terminal each has a panel: its program,
    where its nodes come from, how much of them is in use, how many tasks wait, run and have ended,
    how fast, and which failed last. q quits, and so does ctrl-C. Where the output is no terminal,
    or with --once, one table is printed: the engine, its nodes, the cores in use, the tasks, how
    many end a second, and the program.

    \b
    Examples:
      exaworks top
      exaworks top --interval 5
      exaworks top --once
      exaworks top --json | jq '.[].waiting'
    """
    from exaworks.cli.output import note, print_json, print_table
    from exaworks.cli.top.drawing import NOTHING, cells, headers
    from exaworks.cli.top.model import engine_view
    from exaworks.tasks.survey import survey

    found = survey(_PATIENCE, engine)
    if engine is not None:
        _check(found, engine)
    if not as_json and not once and sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        from exaworks.cli.top.screen import watch

        return watch(interval, engine)
    if as_json:
        print_json(found.snapshots)
    elif found.snapshots:
        rows = [cells(engine_view(None, snapshot)) for snapshot in found.snapshots]
        print_table(headers, rows)
    elif not found.silent:
        note(NOTHING)
    for id in found.silent:
        note(f"{id} does not answer: its program is stopped or very busy")
    return None


def _check(found: Survey, engine: str) -> None:
    """See to it that an engine is there.

    Raises:
        Problem: it is not.
    """
    from exaworks.cli.errors import USAGE, Problem
    from exaworks.tasks.survey import survey

    if found.snapshots or found.silent:
        return
    others = survey(_PATIENCE)
    ids = [snapshot["id"] for snapshot in others.snapshots] + others.silent
    hint = f"There are: {', '.join(ids)}." if ids else "No engine runs on this machine."
    raise Problem(f"No engine is known as {engine!r}.", hint, USAGE)
