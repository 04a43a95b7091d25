"""``exaworks wait``."""

from __future__ import annotations

import click

from exaworks.cli.ids import ids_argument
from exaworks.cli.settings import command as make_command
from exaworks.cli.values import duration

__all__ = ["command"]


@make_command("wait")
@ids_argument
@click.option(
    "--timeout",
    type=duration,
    metavar="DURATION",
    help="Give up after so long, such as 90, 10m or 1h 30m.",
)
@click.option("--any", "first", is_flag=True, help="Return when the first of the jobs has ended.")
@click.option("--quiet", is_flag=True, help="Print nothing.")
def command(ids: tuple[str, ...], timeout: float | None, first: bool, quiet: bool) -> int:
    """Wait for jobs to end.

    Prints a line for each job when it ends: its number and what became of it. The exit code is 0
    if all jobs (with --any: the one) were COMPLETED, 1 if not, 124 if the time was over before.

    \b
    Examples:
      exaworks wait 17
      exaworks wait $(exaworks submit --quiet --count 10 -- ./simulate) && ./summarize
      exaworks wait --any --timeout 10m 17 18 19
    """
    from exaworks.cli.backends import Live
    from exaworks.cli.ids import find_jobs
    from exaworks.cli.store import Store
    from exaworks.cli.waiting import wait_for

    store = Store()
    return wait_for(store, Live(store), find_jobs(store, ids), timeout, first, quiet)
