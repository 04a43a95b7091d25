"""What waits for what: the core of a flow. It has no threads, no clock and no input or output.

The flow that runs tasks, the simulator and the tests use the same functions. Whoever calls them
sees to it that only one thread does at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol, TypeVar

__all__ = ["DOOMED", "Node", "complete", "depend", "doom", "waiting_for"]

DOOMED = -1 << 40
"""In place of the number that a node waits for: it will never start. It stays below zero, whatever
else that node had waited for comes to its end."""


class Node(Protocol):
    """What waits, and is waited for.

    Attributes:
        waits: for how many others, that have not ended, it waits.
        after: those that wait for it: ``None``, one node, or a list of nodes.
    """

    waits: int
    after: Any


N = TypeVar("N", bound=Node)


def depend(node: N, needs: Iterable[N]) -> None:
    """Let a node wait for others that have not ended; none of them twice."""
    for need in needs:
        after = need.after
        if after is None:
            need.after = node
        elif type(after) is list:
            after.append(node)
        else:
            need.after = [after, node]
        node.waits += 1


def complete(node: N) -> list[N]:
    """A node has ended well; returns those that wait for nothing any more."""
    ready = []
    for each in _take(node):
        each.waits -= 1
        if not each.waits:
            ready.append(each)
    return ready


def doom(node: N) -> Iterator[tuple[N, N]]:
    """A node has ended otherwise: all that wait for it will never start.

    Yields:
        each of them once, with the one that it waited for and that came before it.
    """
    queue = [node]
    for before in queue:  # it grows
        for each in _take(before):
            if each.waits > 0:
                each.waits = DOOMED
                queue.append(each)
                yield each, before


def waiting_for(node: Node) -> list[Any]:
    """Those that wait for a node."""
    after = node.after
    if after is None:
        return []
    return after if type(after) is list else [after]


def _take(node: Any) -> Any:
    """Those that wait for a node, which forgets them."""
    after, node.after = node.after, None
    if after is None:
        return ()
    return after if type(after) is list else (after,)
