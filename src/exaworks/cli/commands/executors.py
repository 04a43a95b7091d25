"""``exaworks executors``."""

from __future__ import annotations

import click

from exaworks.cli.settings import command as make_command

__all__ = ["command"]


@make_command("executors")
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects.")
def command(as_json: bool) -> None:
    """List the executors, and which of them can be used here.

    Prints a line for each: its name, its version, whether it can be used here, and why not. The
    one that jobs go to unless --executor says otherwise is marked with a star.

    \b
    Examples:
      exaworks executors
      exaworks executors --json
    """
    from exaworks.cli.output import clean, print_json, print_table
    from exaworks.cli.usable import default_executor, executors

    found = executors()
    default = default_executor(found)
    if as_json:
        print_json(
            [
                {
                    "name": one.name,
                    "version": one.version,
                    "usable": one.usable,
                    "reason": one.reason,
                    "default": one.name == default,
                }
                for one in found
            ]
        )
        return
    print_table(
        ("EXECUTOR", "VERSION", "USABLE", "WHY NOT"),
        [
            (
                one.name + (" *" if one.name == default else ""),
                one.version or "",
                "yes" if one.usable else "no",
                clean(one.reason or ""),
            )
            for one in found
        ],
    )
