"""From what people write to the jobs that they mean."""

from __future__ import annotations

from collections.abc import Sequence

import click

from exaworks.cli.completion import complete_jobs
from exaworks.cli.errors import USAGE, Problem
from exaworks.cli.record import Record
from exaworks.cli.store import Store

__all__ = ["find_jobs", "id_argument", "ids_argument"]

_SHOWN = 5

ids_argument = click.argument(
    "ids", nargs=-1, required=True, metavar="ID...", shell_complete=complete_jobs
)
id_argument = click.argument("id", metavar="ID", shell_complete=complete_jobs)


def find_jobs(store: Store, texts: Sequence[str]) -> list[Record]:
    """The jobs that some ids mean, each once; see :meth:`exaworks.cli.store.Store.find`.

    Raises:
        Problem: an id is unknown or ambiguous; the message names all that are.
    """
    found: dict[str, Record] = {}
    unknown = []
    for text in texts:
        matches = store.find(text)
        if len(matches) > 1:
            listed = ", ".join(f"{r.title}, uuid {r.uuid[:8]}" for r in matches[:_SHOWN])
            more = ", ..." if len(matches) > _SHOWN else ""
            raise Problem(
                f"{text!r} may mean {len(matches)} jobs: {listed}{more}.",
                "Give the job's number.",
                USAGE,
            )
        if not matches:
            unknown.append(text)
        else:
            found[matches[0].uuid] = matches[0]
    if unknown:
        shown = ", ".join(repr(text) for text in unknown[:_SHOWN])
        more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
        raise Problem(
            f"No job is known as {shown}{more}.", "`exaworks jobs --all` lists all jobs.", USAGE
        )
    return list(found.values())
