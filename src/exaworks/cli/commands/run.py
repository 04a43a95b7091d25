"""``exaworks run``."""

from __future__ import annotations

import click

from exaworks.cli.options import JobOptions, job_options
from exaworks.cli.settings import command as make_command
from exaworks.cli.settings import settings

__all__ = ["command"]


@make_command("run", takes_command=True)
@job_options
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def command(
    command: tuple[str, ...], options: JobOptions, executor: str | None, url: str | None
) -> int:
    """Run a command as a job: show its output live, return its exit code.

    Its standard output is printed to standard output and its standard error to standard error,
    byte by byte. Notes on its progress go to standard error, if that is a terminal or with -v.
    Standard input of the job is empty unless --stdin is given.

    Ctrl-C asks the job to stop and waits for it; a second one leaves it alone. If whoever reads
    the output goes away, the job is asked to stop. The exit code is the job's; 128 + n if signal
    n ended it; 3 if it was not accepted; 124 if it ran out of time; 130 after ctrl-C.

    \b
    Examples:
      exaworks run -- hostname
      exaworks run -e local -E THREADS=8 -- ./simulate --steps 1000
      exaworks run --nodes 2 --processes-per-node 4 --launcher srun --time 30m -- ./solver in.dat
    """
    from exaworks.cli.backends import Backends
    from exaworks.cli.running import Running
    from exaworks.cli.store import Store
    from exaworks.cli.submitting import (
        executor_for,
        hint_about_launcher,
        make_jobs,
        working_directory,
    )
    from exaworks.cli.usable import choose_executor

    store = Store()
    name = choose_executor(executor)
    backend = executor_for(Backends(), name, url)
    spec = options.spec(name, command, working_directory(backend))
    hint_about_launcher(spec)
    (job,) = make_jobs(store, [spec], backend)
    return Running(store, job, settings().talks).run(backend)
