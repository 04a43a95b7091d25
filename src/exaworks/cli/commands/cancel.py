"""``exaworks cancel``."""

from __future__ import annotations

import sys

import click

from exaworks.cli.completion import complete_jobs
from exaworks.cli.settings import command as make_command

__all__ = ["command"]


@make_command("cancel")
@click.argument("ids", nargs=-1, metavar="[ID...]", shell_complete=complete_jobs)
@click.option("--all", "everything", is_flag=True, help="All jobs that have not ended.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask whether --all is meant.")
@click.option("--quiet", is_flag=True, help="Print nothing.")
def command(ids: tuple[str, ...], everything: bool, yes: bool, quiet: bool) -> int:
    """Ask jobs to stop.

    Prints a line for each job: that it was asked, or that it had ended before. Returns when the
    executor has taken the request; `exaworks wait` waits for the end. On a terminal, --all asks
    first. The exit code is 1 if an executor did not take the request.

    \b
    Examples:
      exaworks cancel 17 18
      exaworks cancel --all --yes
    """
    from exaworks.cli.backends import REFRESH_SECONDS, Live
    from exaworks.cli.control import cancel
    from exaworks.cli.ids import find_jobs
    from exaworks.cli.store import Store

    if bool(ids) is everything:
        raise click.UsageError("Which jobs? Give ids, or --all.")
    store = Store()
    live = Live(store)
    records = store.select(unfinished=True) if everything else find_jobs(store, ids)
    records = live.refreshed(records, REFRESH_SECONDS)
    if everything:
        records = [record for record in records if not record.final]
        if records and not yes and sys.stdin.isatty():
            which = "the 1 job" if len(records) == 1 else f"all {len(records)} jobs"
            click.confirm(f"Cancel {which} that have not ended?", abort=True, err=True)
    return cancel(store, live, records, quiet)
