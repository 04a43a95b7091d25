"""``exaworks script``."""

from __future__ import annotations

import click

from exaworks.cli.options import JobOptions, job_options
from exaworks.cli.settings import command as make_command

__all__ = ["command"]


@make_command("script", takes_command=True)
@job_options
@click.option("--json", "as_json", is_flag=True, help="Print an object with command and script.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def command(
    command: tuple[str, ...],
    options: JobOptions,
    executor: str | None,
    url: str | None,
    as_json: bool,
) -> None:
    """Show what would be submitted, without doing it.

    Prints the command that would submit or start the job, as a comment, and the exact script that
    it would be given; for a job that needs no script, the command alone.

    \b
    Examples:
      exaworks script -e slurm --nodes 2 --time 1h --queue batch -- ./solver in.dat
      exaworks script --json -- hostname
    """
    from exaworks.cli.backends import Backends
    from exaworks.cli.errors import REFUSED, Problem
    from exaworks.cli.output import print_json
    from exaworks.cli.submitting import executor_for, hint_about_launcher, working_directory
    from exaworks.cli.usable import choose_executor
    from exaworks.psij import Job, PSIJException

    name = choose_executor(executor)
    backend = executor_for(Backends(), name, url)
    spec = options.spec(name, command, working_directory(backend))
    hint_about_launcher(spec)
    try:
        rendered = backend.render(Job(spec))
    except PSIJException as problem:
        raise Problem(f"It would not be accepted: {problem.message}", None, REFUSED) from problem
    if as_json:
        print_json({"command": rendered.command, "script": rendered.script})
    else:
        click.echo(str(rendered))
