"""What waits for what, under random treatment."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from exaworks.flow.graph import complete, depend, doom


class Node:
    def __init__(self, number: int) -> None:
        self.number = number
        self.waits = 0
        self.after: Any = None

    def __repr__(self) -> str:
        return f"node {self.number}"


@st.composite
def graphs(draw: st.DrawFn) -> list[set[int]]:
    """For each node the earlier ones that it needs."""
    size = draw(st.integers(1, 30))
    return [
        draw(st.sets(st.integers(0, number - 1), max_size=4)) if number else set()
        for number in range(size)
    ]


@settings(deadline=None)
@given(graphs(), st.data())
def test_each_node_starts_once_and_only_when_it_may(
    needs: list[set[int]], data: st.DataObject
) -> None:
    nodes = [Node(number) for number in range(len(needs))]
    for node, of in zip(nodes, needs, strict=True):
        depend(node, [nodes[number] for number in sorted(of)])
    fails = data.draw(st.sets(st.sampled_from(range(len(needs)))))
    ready = [node for node in nodes if not node.waits]
    well: set[int] = set()
    failed: dict[int, int] = {}  # with the node before it; those that fail themselves: itself
    while ready:
        node = ready.pop(data.draw(st.integers(0, len(ready) - 1)))
        assert needs[node.number] <= well
        assert node.number not in well
        assert node.number not in failed
        if node.number in fails:
            failed[node.number] = node.number
            for each, before in doom(node):
                assert each.number not in failed
                assert before.number in needs[each.number]
                assert before.number in failed
                failed[each.number] = before.number
        else:
            well.add(node.number)
            ready += complete(node)
    assert well | set(failed) == set(range(len(needs)))
    for number, of in enumerate(needs):
        assert (number in failed) == (number in fails or bool(of & set(failed)))
    assert all(node.after is None for node in nodes if node.number in well)


def test_nothing_is_held_by_what_has_ended() -> None:
    first, second, third = Node(1), Node(2), Node(3)
    depend(second, [first])
    depend(third, [first, second])
    assert complete(first) == [second]
    assert complete(second) == [third]
    assert (first.after, second.after, third.waits) == (None, None, 0)


def test_a_very_long_chain() -> None:
    nodes = [Node(number) for number in range(100_000)]
    for before, node in itertools.pairwise(nodes):
        depend(node, [before])
    assert len(list(doom(nodes[0]))) == len(nodes) - 1
