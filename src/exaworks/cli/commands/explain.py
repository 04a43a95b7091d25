"""``exaworks explain``."""

from __future__ import annotations

import click

from exaworks.cli.ids import ids_argument
from exaworks.cli.settings import command as make_command

__all__ = ["command"]


@make_command("explain")
@ids_argument
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects.")
def command(ids: tuple[str, ...], as_json: bool) -> None:
    """Say in plain words why a job does not start, or why it failed.

    Prints how the job is, why (what the scheduler says and what that means; what its exit code or
    signal usually means), the last lines that it wrote, and what to try.

    \b
    Examples:
      exaworks explain 17
      exaworks explain slurm:4711
    """
    from exaworks.cli.backends import REFRESH_SECONDS, Live
    from exaworks.cli.explain import explain
    from exaworks.cli.ids import find_jobs
    from exaworks.cli.listing import tell_troubles
    from exaworks.cli.output import print_json
    from exaworks.cli.store import Store

    store = Store()
    live = Live(store)
    records = live.refreshed(find_jobs(store, ids), REFRESH_SECONDS)
    found = [explain(record, live.job(record)) for record in records]
    if as_json:
        print_json(
            [
                {
                    "id": record.id,
                    "state": record.shown_state,
                    "summary": one.summary,
                    "causes": one.causes,
                    "advice": one.advice,
                    "output": one.output,
                    "source": None if one.source is None else str(one.source),
                }
                for record, one in zip(records, found, strict=True)
            ]
        )
        return
    for index, one in enumerate(found):
        if index:
            click.echo()
        click.secho(one.summary, bold=True)
        for cause in one.causes:
            click.echo(f"  {cause}")
        if one.output:
            click.echo(f"The last lines of {one.source}:")
            for line in one.output:
                click.secho(f"  | {line}", dim=True)
        if one.advice:
            click.echo("What to try:")
            for advice in one.advice:
                click.echo(f"  - {advice}")
    tell_troubles(live, records)
