"""The root command: finds the others when they are called, and turns errors into exit codes."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Sequence
from typing import Any, Final

import click

from exaworks.cli import errors
from exaworks.cli.settings import CONTEXT, Settings, verbosity_options

__all__ = ["COMMANDS", "application"]

COMMANDS: Final = {
    "run": "Run a command as a job: show its output live, return its exit code.",
    "submit": "Submit one job or many, and print their ids.",
    "script": "Show what would be submitted, without doing it.",
    "jobs": "List the jobs submitted from here and how they are.",
    "status": "Show all that is known about some jobs.",
    "wait": "Wait for jobs to end.",
    "logs": "Show what a job printed.",
    "cancel": "Ask jobs to stop.",
    "hold": "Keep queued jobs from starting.",
    "release": "Let held jobs start again.",
    "explain": "Say in plain words why a job does not start, or why it failed.",
    "forget": "Remove jobs that have ended from the list, with their kept output.",
    "executors": "List the executors, and which of them can be used here.",
    "site": "List, show, detect and check profiles of sites.",
    "alloc": "Get an allocation, and run a command or a shell in it.",
    "map": "Run a command for each of many arguments, on any engine.",
    "engines": "List the engines, what they can do, and which can be used here.",
    "top": "Show live what the engines on this machine do.",
    "info": "Show versions, paths, switches and what can be used here.",
    "completion": "Print the script that completes commands in your shell.",
}
"""Every command and its summary, in the order in which help lists them.

The summaries are here so that ``exaworks --help`` need not import the commands."""


class Application(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of :data:`COMMANDS`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"exaworks.cli.commands.{cmd_name}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which one may have been meant."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, 1)
            meant = f" Did you mean '{near[0]}'?" if near else ""
            ctx.fail(f"No such command '{args[0]}'.{meant}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for."""
        if os.environ.get("NO_COLOR"):  # no-color.org
            ctx.color = False
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            _discard_output()
            return errors.BROKEN_PIPE
        except KeyboardInterrupt:
            return errors.INTERRUPTED
        return result

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the program and exit with a code of :mod:`exaworks.cli.errors`."""
        settings = Settings.from_environment()
        try:
            code: Any = super().main(
                args,
                prog_name,
                complete_var,
                standalone_mode=False,
                windows_expand_args=windows_expand_args,
                **{**extra, "obj": settings},
            )
            code = code if isinstance(code, int) else errors.OK
        except Exception as problem:
            code = _report(problem, settings)
        if standalone_mode:
            sys.exit(code)
        return code


def _discard_output() -> None:
    # The interpreter flushes standard output once more when it ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _report(problem: Exception, settings: Settings) -> int:
    """Say on standard error what went wrong; returns the exit code."""
    if settings.debug and not isinstance(problem, (click.UsageError, click.Abort)):
        logging.getLogger("exaworks.cli").debug("the command failed", exc_info=problem)
    if isinstance(problem, click.Abort):
        return errors.INTERRUPTED
    if isinstance(problem, (click.ClickException, errors.Problem)):
        problem.show()
        return problem.exit_code
    from exaworks.psij import PSIJException

    if isinstance(problem, PSIJException):
        click.echo(f"Error: {problem.message}", err=True)
    elif isinstance(problem, OSError):
        click.echo(f"Error: {problem}", err=True)
    else:
        click.echo(f"Error: unexpected {type(problem).__name__}: {problem}", err=True)
        if not settings.debug:
            click.echo("  This is a bug; --debug shows where it happened.", err=True)
    return errors.FAILED


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from exaworks import __version__

        click.echo(f"exaworks {__version__}")
        ctx.exit()


@click.group(cls=Application, context_settings=CONTEXT)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Print the version and exit.",
)
@verbosity_options
def application() -> None:
    """Submit, watch and manage jobs on this machine or a cluster's batch scheduler.

    \b
    Examples:
      exaworks run -- ./simulate --steps 1000
      exaworks submit --count 100 --time 30m -- ./simulate --seed '{i}'
      exaworks jobs --watch
      exaworks explain 17

    Every command takes --help. Exit codes: 0 well, 1 a job failed, 2 wrong usage or unknown id,
    3 submission refused, 124 time is over, 130 interrupted; `run` returns the job's own.
    """
