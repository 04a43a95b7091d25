"""Options that every command has: how much is said on standard error."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import click

from exaworks.core import config

__all__ = ["CONTEXT", "Settings", "command", "settings", "verbosity_options"]

CONTEXT: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


@dataclass
class Settings:
    """How much is said on standard error.

    Attributes:
        verbosity: 0 warnings, 1 progress and more, 2 everything.
        debug: whether errors come with a traceback.
    """

    verbosity: int = 0
    debug: bool = False

    @classmethod
    def from_environment(cls) -> Settings:
        """The settings before the command line is read."""
        settings = cls(debug=config.flag("EXAWORKS_DEBUG"))
        settings.apply()
        return settings

    @property
    def talks(self) -> bool:
        """Whether to report progress on standard error."""
        return self.verbosity > 0 or sys.stderr.isatty()

    def apply(self) -> None:
        """Set up logging accordingly."""
        logger = logging.getLogger("exaworks")
        for handler in logger.handlers[:]:
            if isinstance(handler, _Handler):
                logger.removeHandler(handler)
        handler = _Handler(sys.stderr)
        chatty = self.verbosity or self.debug
        form = "%(asctime)s %(name)s: %(message)s" if chatty else "%(levelname)s: %(message)s"
        handler.setFormatter(logging.Formatter(form))
        logger.addHandler(handler)
        logger.propagate = False
        levels = (logging.WARNING, logging.INFO, logging.DEBUG)
        logger.setLevel(levels[2 if self.debug else min(self.verbosity, 2)])


class _Handler(logging.StreamHandler):  # type: ignore[type-arg]  # no parameter before 3.11
    """Ours, to be told apart from those of others."""


def settings() -> Settings:
    """The settings of the command that runs."""
    found = click.get_current_context().find_object(Settings)
    return Settings() if found is None else found


def _set_verbosity(ctx: click.Context, param: click.Parameter, value: int) -> None:
    if value:
        given = ctx.ensure_object(Settings)
        given.verbosity += value
        given.apply()


def _set_debug(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        given = ctx.ensure_object(Settings)
        given.debug = True
        given.apply()


def verbosity_options(function: Decorated) -> Decorated:
    """Add ``--verbose`` and ``--debug``."""
    function = click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        callback=_set_debug,
        help="Show tracebacks and log everything (also: EXAWORKS_DEBUG=1).",
    )(function)
    return click.option(
        "-v",
        "--verbose",
        count=True,
        expose_value=False,
        callback=_set_verbosity,
        help="Say more on standard error; twice: log everything.",
    )(function)


def command(
    name: str, takes_command: bool = False
) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a function a command of the program, with the options that all have.

    Args:
        name: its name; its summary is the one of :data:`exaworks.cli.app.COMMANDS`.
        takes_command: its arguments are a command for a job, whose options are not ours.
    """

    def decorate(function: Callable[..., Any]) -> click.Command:
        return click.command(
            name,
            context_settings={**CONTEXT, "allow_interspersed_args": not takes_command},
        )(verbosity_options(function))

    return decorate
