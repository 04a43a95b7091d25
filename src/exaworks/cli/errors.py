"""Exit codes of the command line, and errors that name a cause and a fix."""

from __future__ import annotations

from typing import Final

import click

__all__ = [
    "BROKEN_PIPE",
    "FAILED",
    "INTERRUPTED",
    "OK",
    "REFUSED",
    "TIMED_OUT",
    "USAGE",
    "Problem",
]

OK: Final = 0
FAILED: Final = 1
"""A job failed, or something went wrong that no other code names."""
USAGE: Final = 2
"""The command line cannot be understood, or an id is unknown or ambiguous."""
REFUSED: Final = 3
"""A job was not accepted."""
TIMED_OUT: Final = 124
"""The time given to wait is over (as of ``timeout`` of the GNU coreutils)."""
INTERRUPTED: Final = 130
"""Ctrl-C."""
BROKEN_PIPE: Final = 141
"""Nobody reads our output any more (128 + SIGPIPE)."""


class Problem(Exception):
    """Ends the program with one or two lines on standard error.

    Args:
        message: what is wrong.
        hint: what to do about it.
        exit_code: one of this module's codes.
    """

    def __init__(self, message: str, hint: str | None = None, exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code

    def show(self) -> None:
        """Print it."""
        click.echo(f"Error: {self.message}", err=True)
        if self.hint:
            click.echo(f"  {self.hint}", err=True)
