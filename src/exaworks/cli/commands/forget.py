"""``exaworks forget``."""

from __future__ import annotations

import time

import click

from exaworks.cli.completion import complete_jobs
from exaworks.cli.settings import command as make_command
from exaworks.cli.values import duration

__all__ = ["command"]


@make_command("forget")
@click.argument("ids", nargs=-1, metavar="[ID...]", shell_complete=complete_jobs)
@click.option("--finished", is_flag=True, help="All jobs that have ended.")
@click.option(
    "--older-than",
    type=duration,
    metavar="DURATION",
    help="With --finished: only if so long ago, as in 30d.",
)
@click.option("--force", is_flag=True, help="Also jobs that have not ended; they are not stopped.")
def command(ids: tuple[str, ...], finished: bool, older_than: float | None, force: bool) -> None:
    """Remove jobs that have ended from the list, with their kept output.

    Files named with --stdout and --stderr are left alone. Prints how many jobs were removed.

    \b
    Examples:
      exaworks forget 17 18
      exaworks forget --finished --older-than 30d
    """
    from exaworks.cli.backends import REFRESH_SECONDS, Live
    from exaworks.cli.errors import USAGE, Problem
    from exaworks.cli.ids import find_jobs
    from exaworks.cli.record import UNKNOWN
    from exaworks.cli.store import Store

    if bool(ids) is finished:
        raise click.UsageError("Which jobs? Give ids, or --finished.")
    if older_than is not None and not finished:
        raise click.UsageError("--older-than goes with --finished.")
    store = Store()
    live = Live(store)
    records = store.select() if finished else find_jobs(store, ids)
    if not force:
        records = live.refreshed(records, REFRESH_SECONDS)
    if finished:
        latest = time.time() - (older_than or 0.0)
        records = [r for r in records if r.final and (r.ended or r.changed) <= latest]
    elif not force:
        running = [r for r in records if not r.final and r.shown_state != UNKNOWN]
        if running:
            raise Problem(
                f"{running[0].title} has not ended ({running[0].shown_state}).",
                "Cancel it first, or add --force to forget it and let it run.",
                USAGE,
            )
    store.remove([record.uuid for record in records])
    click.echo(f"{len(records)} jobs forgotten" if len(records) != 1 else "1 job forgotten")
