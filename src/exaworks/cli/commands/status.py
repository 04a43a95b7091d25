"""``exaworks status``."""

from __future__ import annotations

import click

from exaworks.cli.ids import ids_argument
from exaworks.cli.settings import command as make_command

__all__ = ["command"]


@make_command("status")
@ids_argument
@click.option("--no-refresh", is_flag=True, help="Show what is remembered; ask no executor.")
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects.")
def command(ids: tuple[str, ...], no_refresh: bool, as_json: bool) -> None:
    """Show all that is known about some jobs.

    An ID is a number of `exaworks jobs`; or the executor's own id, also as in slurm:4711; or the
    beginning of a job's uuid. Prints a line for each fact: state, exit code, times, command,
    files, and what the executor said. The exit code is 0 whatever became of the jobs.

    \b
    Examples:
      exaworks status 17
      exaworks status slurm:4711 18 --json
    """
    from exaworks.cli.backends import REFRESH_SECONDS, Live
    from exaworks.cli.details import print_details
    from exaworks.cli.ids import find_jobs
    from exaworks.cli.listing import tell_troubles
    from exaworks.cli.output import as_json as to_dict
    from exaworks.cli.output import print_json
    from exaworks.cli.store import Store

    store = Store()
    live = Live(store)
    records = find_jobs(store, ids)
    if not no_refresh:
        records = live.with_reasons(live.refreshed(records, REFRESH_SECONDS))
    if as_json:
        print_json([to_dict(record) for record in records])
    else:
        for index, record in enumerate(records):
            if index:
                click.echo()
            print_details(record)
    tell_troubles(live, records)
