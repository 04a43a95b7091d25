"""``exaworks alloc``."""

from __future__ import annotations

import os
import sys
import time
from datetime import timedelta
from typing import Any

import click

from exaworks.cli import values
from exaworks.cli.options import executor_option, site_option, url_option
from exaworks.cli.settings import command as make_command

__all__ = ["command"]

_COUNT = click.IntRange(min=1)
_BLINK = 0.5


@make_command("alloc", takes_command=True)
@executor_option
@url_option
@site_option
@click.option("--nodes", "-N", type=_COUNT, default=1, show_default=True, help="Number of nodes.")
@click.option(
    "--engine",
    help="What starts agents on the nodes: slurm, mpi, flux.  [default: what fits the executor]",
)
@click.option(
    "--time",
    "-t",
    type=values.walltime,
    metavar="WALLTIME",
    help="Walltime: hh:mm:ss, d-hh:mm:ss, minutes, or such as '1h 30m'.",
)
@click.option("--cores-per-node", type=_COUNT, help="Cores of each node.  [default: whole nodes]")
@click.option(
    "--gpus-per-node",
    type=click.IntRange(min=0),
    default=0,
    help="GPUs of each node.  [default: 0]",
)
@click.option("--memory-per-node", type=values.memory, metavar="SIZE", help="Memory of each node.")
@click.option("--queue", "-q", help="Queue (Slurm: partition).")
@click.option("--account", "-A", help="Account or project that pays.")
@click.option("--reservation", help="Advance reservation to run in.")
@click.option(
    "--attr",
    multiple=True,
    metavar="KEY[=VALUE]",
    help="Option for one executor, such as constraint=gpu or slurm.constraint=gpu. Repeatable.",
)
@click.option("--name", default="exaworks-alloc", show_default=True, help="Name of the job.")
@click.option(
    "--address",
    help="Where the nodes can reach this machine.  [default: any of its addresses]",
)
@click.option(
    "--patience",
    type=values.duration,
    metavar="DURATION",
    help="Give up if the nodes are not there after that time.  [default: wait for ever]",
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def command(
    command: tuple[str, ...],
    executor: str | None,
    url: str | None,
    site: str | None,
    time: timedelta | None,
    attr: tuple[str, ...],
    address: str | None,
    patience: float | None,
    **request: Any,
) -> int:
    """Get an allocation, and run a command or a shell in it.

    The command runs on the first node, with the terminal or the standard streams that are here, in
    this directory; without one, your shell does. What it prints is printed here, and its exit code
    is returned. When it ends, the nodes are given back. Ctrl-C goes to the command; while the nodes
    are waited for, it gives up.

    In a Slurm allocation, srun and `exaworks map --engine slurm` use all of its nodes.

    \b
    Examples:
      exaworks alloc --nodes 4 --time 1h
      exaworks alloc -e slurm -N 2 -- exaworks map --engine slurm './sim {}' ::: 1 2 3
    """
    from exaworks.cli.errors import FAILED, TIMED_OUT, Problem
    from exaworks.cli.settings import settings
    from exaworks.cli.usable import choose_executor
    from exaworks.tasks import Allocation, TaskError, TaskFailed
    from exaworks.tasks.terminal import Terminal

    if site is not None and (executor is not None or url is not None):
        raise click.UsageError("--site says which executor and url; give it alone")
    if site is None:
        executor = choose_executor(executor)
    request["attributes"] = _attributes(attr, executor)
    words = list(command) or [os.environ.get("SHELL", "/bin/sh")]
    try:
        with Allocation(
            executor=executor or "local",
            url=url,
            site=site,
            walltime=time,
            address=address,
            bind=False,
            **request,
        ) as allocation:
            try:
                _wait(allocation, patience, settings().talks)
            except TimeoutError:
                allocation.shutdown(cancel_futures=True)
                raise Problem(
                    f"the nodes were not there after {patience:g} s",
                    "wait longer with --patience, or look why with `exaworks executors`",
                    TIMED_OUT,
                ) from None
            cores = min(len(node.cores) for node in allocation.resources().total)
            return Terminal(allocation, allocation.address).run(words, cores=cores)
    except TaskError as problem:
        # as a shell says it, if it was the command
        code = problem.exit_code if isinstance(problem, TaskFailed) else None
        raise Problem(str(problem), exit_code=code or FAILED) from problem


def _attributes(texts: tuple[str, ...], executor: str | None) -> dict[str, Any]:
    found = {}
    for text in texts:
        name, value = values.assignment(text, "--attr")
        found[name if "." in name else f"{executor}.{name}"] = value
    return found


def _wait(allocation: Any, patience: float | None, talks: bool) -> None:
    """Wait for the nodes, and say so.

    Raises:
        TimeoutError: they are not there in time.
    """
    if talks and sys.stderr.isatty():
        _show_wait(allocation, patience)
    else:
        if talks:
            click.echo(f"waiting for {allocation.title}", err=True)
        if not allocation.wait_ready(patience):
            raise TimeoutError
    if talks:
        names = ", ".join(node.name for node in allocation.resources().total)
        click.echo(f"{allocation.title}: {names}", err=True)


def _show_wait(allocation: Any, patience: float | None) -> None:
    """Wait for the nodes, with a line on the terminal that tells how far it is.

    Raises:
        TimeoutError: they are not there in time.
    """
    from rich.console import Console

    from exaworks.cli.output import short_duration

    begun = time.monotonic()
    with Console(stderr=True, highlight=False).status("") as line:
        while True:
            waited = time.monotonic() - begun
            left = _BLINK if patience is None else patience - waited
            state = allocation.job.status.state.name.lower()
            there, wanted = len(allocation.resources().total), allocation.spec.nodes
            line.update(
                f"waiting for {allocation.title}: {state}, {there} of {wanted} nodes, "
                f"{short_duration(waited)}"
            )
            if allocation.wait_ready(max(0.0, min(left, _BLINK))):
                return
            if left <= 0:
                raise TimeoutError
