"""``exaworks release``."""

from __future__ import annotations

from exaworks.cli.ids import ids_argument
from exaworks.cli.settings import command as make_command

__all__ = ["command"]


@make_command("release")
@ids_argument
def command(ids: tuple[str, ...]) -> int:
    """Let held jobs start again.

    The opposite of `exaworks hold`. Prints a line for each job. The exit code is 1 if this was
    not possible for some of them; standard error says why.

    \b
    Examples:
      exaworks release 17 18
    """
    from exaworks.cli.backends import Live
    from exaworks.cli.control import hold_or_release
    from exaworks.cli.ids import find_jobs
    from exaworks.cli.store import Store

    store = Store()
    return hold_or_release("release", Live(store), find_jobs(store, ids))
