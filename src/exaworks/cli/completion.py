"""What the shell offers when one presses tab after an option or in place of an id."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["complete_executors", "complete_jobs"]

_MOST = 50


def complete_executors(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Names of executors."""
    from click.shell_completion import CompletionItem

    from exaworks.psij import JobExecutor

    names = sorted(JobExecutor.get_executor_names())
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def complete_jobs(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Numbers of the newest jobs, with their names and states."""
    from click.shell_completion import CompletionItem

    from exaworks.cli.store import Store

    given = ctx.params.get(param.name or "") or ()
    newest = Store().select(limit=_MOST)[::-1]
    return [
        CompletionItem(str(record.id), help=f"{record.state} {record.name}")
        for record in newest
        if str(record.id).startswith(incomplete) and str(record.id) not in given
    ]
