"""``exaworks jobs``."""

from __future__ import annotations

import time
from typing import Final

import click

from exaworks.cli.completion import complete_executors
from exaworks.cli.settings import command as make_command

__all__ = ["command"]

_NEWEST: Final = 25


@make_command("jobs")
@click.option("--all", "-a", "everything", is_flag=True, help="Show all, not only the newest.")
@click.option(
    "--limit",
    "-l",
    type=click.IntRange(min=1),
    default=_NEWEST,
    show_default=True,
    help="Show only the newest so many.",
)
@click.option("--state", "-s", multiple=True, help="Only jobs in this state. Repeatable.")
@click.option(
    "--executor", "-e", shell_complete=complete_executors, help="Only jobs of this executor."
)
@click.option("--name", metavar="PATTERN", help="Only jobs whose name matches, such as 'sim*'.")
@click.option("--watch", "-w", is_flag=True, help="Keep the table up to date until ctrl-C.")
@click.option("--no-refresh", is_flag=True, help="Show what is remembered; ask no executor.")
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects.")
def command(
    everything: bool,
    limit: int,
    state: tuple[str, ...],
    executor: str | None,
    name: str | None,
    watch: bool,
    no_refresh: bool,
    as_json: bool,
) -> None:
    """List the jobs submitted from here and how they are.

    Prints a table, newest last: the job's number, the executor's own id, the executor, the name,
    the state, the exit code, how long ago it was submitted, how long it has run, and why it is
    as it is. Executors have 2 seconds to tell how unfinished jobs are; after that the last known
    state is shown. Where the output is no terminal, nothing is cut off, and --watch prints a line
    for each change until all jobs have ended.

    \b
    Examples:
      exaworks jobs
      exaworks jobs --watch --executor slurm
      exaworks jobs --all --state FAILED --json
      exaworks jobs --name 'sweep-*' --limit 100
    """
    from exaworks.cli.backends import REFRESH_SECONDS, Live
    from exaworks.cli.listing import Selection, tell_troubles, watch_jobs
    from exaworks.cli.output import as_json as to_dict
    from exaworks.cli.output import job_cells, job_headers, note, print_json, print_table
    from exaworks.cli.store import Store

    if watch and (as_json or no_refresh):
        raise click.UsageError("--watch cannot be combined with --json or --no-refresh.")
    store = Store()
    selection = Selection.make(store, state, executor, name, None if everything else limit)
    live = Live(store)
    if watch:
        watch_jobs(selection, live)
        return
    records = selection.candidates()
    if not no_refresh:
        records = live.refreshed(records, REFRESH_SECONDS)
    if "HELD" in selection.states:
        records = live.with_reasons(records)
    shown = live.with_reasons(selection.pick(records))
    if as_json:
        print_json([to_dict(record) for record in shown])
    elif shown:
        now = time.time()
        print_table(job_headers, [job_cells(record, now) for record in shown])
        hidden = 0 if state else selection.counts().total() - len(shown)
        if hidden:
            note(f"{hidden} older jobs are not shown; --all shows them")
    else:
        note("No such jobs." if state or name or executor else "No jobs.")
    tell_troubles(live, shown)
