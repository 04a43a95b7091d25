"""``exaworks logs``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from exaworks.cli.errors import FAILED, OK, Problem
from exaworks.cli.ids import id_argument
from exaworks.cli.settings import command as make_command
from exaworks.cli.settings import settings

if TYPE_CHECKING:
    from exaworks.cli.follow import FileFollower
    from exaworks.cli.record import Record

__all__ = ["command"]


@make_command("logs")
@id_argument
@click.option("-f", "--follow", "keep_on", is_flag=True, help="Go on until the job has ended.")
@click.option("--stderr", "errors", is_flag=True, help="Its standard error, not its output.")
@click.option("--both", is_flag=True, help="Both, its standard error to standard error.")
@click.option("--lines", type=click.IntRange(min=0), help="Begin with the last so many lines.")
def command(id: str, keep_on: bool, errors: bool, both: bool, lines: int | None) -> int:
    """Show what a job printed.

    Prints the job's standard output byte by byte; with --stderr its standard error instead; with
    --both each to its own stream. Ctrl-C ends -f, not the job.

    \b
    Examples:
      exaworks logs 17
      exaworks logs -f --lines 20 17
      exaworks logs --stderr 17 | less
    """
    from exaworks.cli.backends import REFRESH_SECONDS, Live
    from exaworks.cli.follow import follow
    from exaworks.cli.ids import find_jobs
    from exaworks.cli.output import note
    from exaworks.cli.store import Store

    if both and errors:
        raise click.UsageError("--both and --stderr cannot be combined.")
    store = Store()
    (record,) = find_jobs(store, [id])
    targets = _targets(record, errors, both)
    files = [_follower(path, target, lines) for path, target in targets]
    live = Live(store)
    if keep_on and not record.final:
        live.attach([record])
        if record.uuid in live.problems:
            raise Problem(f"Cannot follow: {live.problems[record.uuid]}.")
    job = live.job(record)
    try:
        if job is not None:
            live.settle(REFRESH_SECONDS)
            for _ in follow(job, files):
                pass
        else:
            for file in files:
                file.finish()
    finally:
        live.save()
    if any(file.copied for file in files):
        return OK
    (record,) = live.refreshed([record], REFRESH_SECONDS)
    missing = [path for path, _ in targets if not path.exists()]
    if len(missing) == len(targets):
        note(f"{record.title} is {record.shown_state}; there is no file {missing[0]}")
        return FAILED
    if lines is None and settings().talks:
        note(f"{record.title} is {record.shown_state} and has written nothing")
    return OK


def _targets(record: Record, errors: bool, both: bool) -> list[tuple[Path, BinaryIO]]:
    """The files to show, and where to."""
    stdout, stderr = record.stream("stdout"), record.stream("stderr")
    if both and stderr != stdout:
        wanted = [(stdout, sys.stdout.buffer), (stderr, sys.stderr.buffer)]
    else:
        wanted = [(stderr if errors else stdout, sys.stdout.buffer)]
    targets = [(path, target) for path, target in wanted if path is not None]
    if not targets:
        raise Problem(f"It is not known where {record.title} writes to.")
    return targets


def _follower(path: Path, target: BinaryIO, lines: int | None) -> FileFollower:
    from exaworks.cli.follow import FileFollower, tail

    follower = FileFollower(path, target)
    if lines is not None and path.is_file():
        text, end = tail(path, lines)
        target.write(text)
        target.flush()
        follower.start_at(end)
    return follower
