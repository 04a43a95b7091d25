"""Printing: tables, JSON, times. Only :mod:`rich` is imported late, and only for terminals."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final, Literal

import click

from exaworks.cli.record import UNKNOWN, Record

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = [
    "STATE_STYLES",
    "as_json",
    "clean",
    "console",
    "job_cells",
    "job_headers",
    "moment",
    "note",
    "print_json",
    "print_table",
    "rich_table",
    "short_duration",
    "signal_name",
]

STATE_STYLES: Final[Mapping[str, str]] = {
    "SUBMITTING": "dim",
    "QUEUED": "yellow",
    "HELD": "yellow",
    "STAGE_IN": "cyan",
    "ACTIVE": "cyan",
    "STAGE_OUT": "cyan",
    "CLEANUP": "cyan",
    "COMPLETED": "green",
    "FAILED": "red",
    "CANCELED": "magenta",
    UNKNOWN: "red",
}


def note(text: str) -> None:
    """Say something to people, on standard error."""
    click.echo(text, err=True)


def print_json(data: Any) -> None:
    """Print data as JSON (RFC 8259), ASCII only."""
    click.echo(json.dumps(data, indent=2))


def clean(text: str) -> str:
    """Text on one line that moves no cursor: what is not printable is written as an escape."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode()
        for c in text
    )


def short_duration(seconds: float | None) -> str:
    """``12s``, ``3m05s``, ``2h10m``, ``4d06h``; nothing for ``None``."""
    if seconds is None:
        return ""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"


def moment(time: float | None) -> str | None:
    """A time as ISO 8601 in UTC, in seconds."""
    if time is None:
        return None
    return datetime.fromtimestamp(time, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def signal_name(number: int) -> str:
    """``SIGKILL`` for 9, and so on."""
    import signal

    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def as_json(record: Record) -> dict[str, Any]:
    """What JSON output says about a job."""
    stdout, stderr = record.stream("stdout"), record.stream("stderr")
    return {
        "id": record.id,
        "uuid": record.uuid,
        "native_id": record.native_id,
        "executor": record.executor,
        "url": record.url,
        "host": record.host,
        "name": record.name,
        "state": record.shown_state,
        "exit_code": record.exit_code,
        "signal": record.signal,
        "reason": record.reason,
        "message": record.message,
        "submitted": moment(record.submitted),
        "started": moment(record.started),
        "ended": moment(record.ended),
        "run_time": record.run_time,
        "stdout": None if stdout is None else str(stdout),
        "stderr": None if stderr is None else str(stderr),
        "metadata": dict(record.metadata),
        "spec": json.loads(record.spec),
    }


job_headers: Final = ("ID", "NATIVE", "EXECUTOR", "NAME", "STATE", "EXIT", "AGE", "RUN", "REASON")


def job_cells(record: Record, now: float) -> tuple[str, ...]:
    """The cells of a job's row, in the order of :data:`job_headers`."""
    reason = record.message or record.reason or ""
    if record.shown_state == UNKNOWN:
        reason = "the submission was interrupted; see `exaworks explain`"
    return (
        str(record.id),
        record.native_id or "",
        record.executor,
        clean(record.name),
        record.shown_state,
        "" if record.exit_code is None else str(record.exit_code),
        short_duration(now - record.submitted),
        short_duration(record.run_time),
        clean(reason.strip().split("\n")[0]),
    )


_NARROWEST: Final = 12
_RIGHT: Final = ("ID", "EXIT", "AGE", "RUN")


def console() -> Console:
    """Where rich output goes: standard output."""
    from rich.console import Console

    return Console(file=sys.stdout, highlight=False)


def rich_table(headers: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> Table:
    """A table for a terminal: states in colour, long cells cut so that each row is one line.

    Args:
        headers: the titles.
        rows: the cells.
        width: columns of the terminal.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    widths = _fit(headers, rows, width)
    for header, size in zip(headers, widths, strict=True):
        justify: Literal["left", "right"] = "right" if header in _RIGHT else "left"
        table.add_column(header, width=size, no_wrap=True, overflow="ellipsis", justify=justify)
    for row in rows:
        table.add_row(
            *(
                Text(cell, STATE_STYLES.get(cell, "") if header == "STATE" else "")
                for header, cell in zip(headers, row, strict=True)
            )
        )
    return table


def _fit(headers: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """How wide columns are to be. The last gives way first, then the one with names."""
    from rich.cells import cell_len

    widths = [max(map(cell_len, column)) for column in zip(headers, *rows, strict=True)]
    gaps = 2 * (len(headers) - 1)
    for index in (len(headers) - 1, headers.index("NAME") if "NAME" in headers else 0):
        excess = sum(widths) + gaps - width
        if excess > 0:
            widths[index] = max(min(widths[index], _NARROWEST), widths[index] - excess)
    return widths


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: pretty on a terminal; elsewhere plain, with nothing cut off."""
    if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        target = console()
        target.print(rich_table(headers, rows, target.width))
        return
    everything = [headers, *rows]
    widths = [max(len(row[index]) for row in everything) for index in range(len(headers))]
    for row in everything:
        cells = (
            cell.rjust(width) if header in _RIGHT else cell.ljust(width)
            for header, cell, width in zip(headers, row, widths, strict=True)
        )
        click.echo("  ".join(cells).rstrip())
