"""Engines as text: a table for all of them, and a screen full of panels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from exaworks.cli.output import clean, rich_table, short_duration
from exaworks.cli.top.model import EngineView, NodeView

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

__all__ = ["NOTHING", "cells", "frame", "headers", "per_time"]

NOTHING: Final = (
    "No engine runs on this machine. `exaworks map` starts one, and so does LocalEngine() of "
    "exaworks.tasks."
)

headers: Final = (
    *("ENGINE", "NODES", "CORES", "WAITING", "RUNNING", "DONE", "FAILED", "RATE", "PROGRAM"),
)

_FACTS: Final = 3
"""Lines that each panel has: cores, tasks, rate."""
_SMALLEST: Final = _FACTS + 2
_LABEL: Final = 8
_BAR: Final = 10


def per_time(rate: float | None) -> str:
    """``12.3/s``, ``4.5/min``, ``1.2/h``."""
    if rate is None:
        return "?"
    if rate == 0:
        return "0/s"
    for seconds, unit in ((1, "s"), (60, "min"), (3600, "h")):
        count = rate * seconds
        if count >= 1 or unit == "h":
            break
    return f"{count:,.0f}/{unit}" if count >= 100 else f"{count:.1f}/{unit}"


def cells(view: EngineView) -> tuple[str, ...]:
    """The cells of an engine's row, in the order of :data:`headers`."""
    program = clean(f"{view.program} {view.origin}".strip())
    return (
        clean(view.id),
        str(len(view.nodes)),
        f"{view.used_cores}/{view.cores}",
        str(view.waiting),
        str(view.running),
        str(view.completed),
        str(view.failed),
        per_time(view.average if view.rate is None else view.rate),
        f"{program} (does not answer)" if view.silent else program,
    )


def frame(
    views: Sequence[EngineView], silent: Sequence[str], width: int, height: int, ascii: bool
) -> RenderableType:
    """A screen.

    Args:
        views: the engines.
        silent: ids of engines that have not answered yet.
        width: columns of the terminal.
        height: its lines.
        ascii: no other characters can be shown.
    """
    from rich.console import Group
    from rich.text import Text

    tail = [_line(f"{id} does not answer", width, "yellow") for id in silent]
    tail.append(_line(_summary(views), width, "dim"))
    tail = tail[-height:]
    room = height - len(tail)
    if not views and not silent:
        return Group(Text(NOTHING), *tail)
    if len(views) * _SMALLEST > room:
        return Group(*_short(views, width, room), *tail)
    panels = []
    for index, view in enumerate(views):
        panel, lines = _panel(view, width, room // (len(views) - index), ascii)
        panels.append(panel)
        room -= lines
    return Group(*panels, *tail)


def _summary(views: Sequence[EngineView]) -> str:
    engines = "1 engine" if len(views) == 1 else f"{len(views)} engines"
    return f"{engines}   q quits"


def _line(text: str, width: int, style: str = "") -> Text:
    from rich.text import Text

    line = Text(clean(text), style, no_wrap=True, overflow="ellipsis")
    line.truncate(width, overflow="ellipsis")
    return line


def _short(views: Sequence[EngineView], width: int, room: int) -> list[RenderableType]:
    """A line for each engine, as far as there is room."""
    rows = max(0, room - 1)
    if len(views) <= rows:
        return [rich_table(headers, [cells(view) for view in views], width)]
    shown = max(0, rows - 1)
    table = rich_table(headers, [cells(view) for view in views[:shown]], width)
    rest = _line(f"and {len(views) - shown} more; --engine ID chooses one", width)
    return [table, rest] if room > 1 else []


def _panel(view: EngineView, width: int, height: int, ascii: bool) -> tuple[Panel, int]:
    """An engine, and how many lines it takes."""
    from rich.console import Group
    from rich.panel import Panel

    inner = width - 4
    room = height - 2 - _FACTS
    failures = [_failure(view, index, inner) for index in range(len(view.failures))]
    # Nodes have a head and at least a line; beyond half of the room, they go first.
    failures = failures[: max(room - 2 - len(view.nodes), min(room, max(1, room // 3)))]
    room -= len(failures)
    nodes, lines = _nodes(view.nodes, inner, room, ascii) if room >= 2 else ([], 0)
    body = Group(*_facts(view, inner, ascii), *nodes, *failures)
    title = _line(f"{view.id}  {view.program} ({view.pid}) on {view.host}", inner - 2, "bold")
    panel = Panel(
        body,
        title=title,
        title_align="left",
        subtitle=_line(_from(view), inner - 2, "yellow" if view.silent else ""),
        subtitle_align="right",
        border_style="yellow" if view.silent else "dim",
        width=width,
    )
    return panel, 2 + _FACTS + lines + len(failures)


def _from(view: EngineView) -> str:
    words = [view.origin, f"for {short_duration(view.uptime)}"]
    if view.remaining is not None:
        words.append(f"{short_duration(view.remaining)} remain")
    if view.silent:
        words.append("does not answer")
    return ", ".join(filter(None, words))


def _facts(view: EngineView, width: int, ascii: bool) -> list[Text]:
    from rich.text import Text

    numbers = f" {view.used_cores}/{view.cores} {view.share:4.0%}"
    size = max(_BAR, width - _LABEL - len(numbers))
    cores = Text.assemble((f"{'cores':<{_LABEL}}", "dim"), _bar(view.share, size, ascii), numbers)
    tasks = Text.assemble(
        (f"{'tasks':<{_LABEL}}", "dim"),
        (f"{view.waiting:,} waiting", "yellow" if view.waiting else ""),
        (f"  {view.running:,} running", "cyan" if view.running else ""),
        (f"  {view.completed:,} completed", "green" if view.completed else ""),
        (f"  {view.failed:,} failed", "red" if view.failed else ""),
        (f"  {view.canceled:,} canceled", "magenta" if view.canceled else ""),
    )
    words = [f"{per_time(view.rate)} now", f"{per_time(view.average)} on average"]
    if view.left is not None:
        words.append(f"about {short_duration(view.left)} until none waits")
    rate = Text.assemble((f"{'rate':<{_LABEL}}", "dim"), "  ".join(words))
    lines = [cores, tasks, rate]
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return lines


def _bar(share: float, size: int, ascii: bool) -> Text:
    from rich.text import Text

    full, empty = "#." if ascii else "█░"
    filled = round(share * size)
    return Text.assemble((full * filled, "cyan"), (empty * (size - filled), "dim"))


def _failure(view: EngineView, index: int, width: int) -> Text:
    each = view.failures[index]
    label = "failed" if index == 0 else ""
    number = each.task.rpartition(".")[2]
    line = _line(f"{label:<{_LABEL}}{number} {each.title}: {each.message}", width)
    line.stylize("red", 0, _LABEL)
    return line


def _nodes(
    nodes: Sequence[NodeView], width: int, room: int, ascii: bool
) -> tuple[list[RenderableType], int]:
    """The busiest nodes with a summary of the others, and how many lines that takes."""
    shown = nodes if len(nodes) < room else nodes[: max(0, room - 2)]
    parts: list[RenderableType] = [_node_table(nodes, shown, ascii)] if shown else []
    lines = len(shown) + 1 if shown else 0
    rest = nodes[len(shown) :]
    if rest:
        busy = sum(1 for node in rest if node.used_cores)
        also = "more nodes" if shown else "nodes"
        text = f"{len(rest):,} {also}: {busy:,} at work, {len(rest) - busy:,} idle"
        parts.append(_line(text, width, "dim"))
        lines += 1
    return parts, lines


def _node_table(nodes: Sequence[NodeView], shown: Sequence[NodeView], ascii: bool) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    gpus = any(node.gpus for node in nodes)
    memory = any(node.memory for node in nodes)
    end = any(node.remaining is not None for node in nodes)
    names = ("NODE", "CORES", "", *["GPUS"] * gpus, *["MEMORY"] * memory, *["REMAINS"] * end)
    for name in names:
        table.add_column(
            name,
            no_wrap=True,
            overflow="ellipsis",
            justify="left" if name in ("NODE", "") else "right",
        )
    for node in shown:
        row: list[Text | str] = [
            Text(clean(node.name)),
            f"{node.used_cores}/{node.cores}",
            _bar(node.share, _BAR, ascii),
        ]
        if gpus:
            row.append(f"{node.used_gpus:g}/{node.gpus}" if node.gpus else "")
        if memory:
            used, has = node.used_memory / 2**30, node.memory / 2**30
            row.append(f"{used:.1f}/{has:.1f} GiB" if node.memory else "")
        if end:
            row.append(short_duration(node.remaining))
        table.add_row(*row)
    return table
