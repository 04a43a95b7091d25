"""Futures in arguments."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import pytest

from exaworks.flow.arguments import Part, futures_in, replaced

Pair = namedtuple("Pair", "left right")


@dataclass(frozen=True)
class Case:
    name: str
    inputs: list[Any]
    found: Any = field(default=None, init=False)


def done(value: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(value)
    return future


def result(future: Future[Any]) -> Any:
    return future.result(0)


ONE, TWO = done(1), done(2)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (ONE, 1),
        ([ONE, [TWO, 3]], [1, [2, 3]]),
        ((ONE, (TWO,)), (1, (2,))),
        ({"a": ONE, TWO: [ONE]}, {"a": 1, 2: [1]}),
        ({ONE, 5}, {1, 5}),
        (frozenset([ONE]), frozenset([1])),
        (Pair(ONE, 3), Pair(1, 3)),
        (OrderedDict([("z", ONE), ("a", TWO)]), OrderedDict([("z", 1), ("a", 2)])),
        (Case("x", [ONE, TWO]), Case("x", [1, 2])),
        ([{"deep": (Case("y", [{"er": ONE}]),)}], [{"deep": (Case("y", [{"er": 1}]),)}]),
    ],
)
def test_they_are_found_and_replaced(value: Any, wanted: Any) -> None:
    found = futures_in((value,), {})
    assert found is not None
    assert set(found) <= {ONE, TWO}
    assert futures_in((0,), {"key": value}) == found
    made = replaced(value, result)
    assert made == wanted
    assert type(made) is type(wanted)


@pytest.mark.parametrize(
    "value", [5, "text", [1, 2], {"a": (1,)}, {1}, Case("x", [1]), object(), Pair(1, 2), Case]
)
def test_what_holds_none_is_left_alone(value: Any) -> None:
    assert futures_in((value,), {"key": value}) is None
    assert replaced(value, result) is value


def test_what_is_given_is_not_changed() -> None:
    value = [ONE, {"a": TWO}]
    replaced(value, result)
    assert value == [ONE, {"a": TWO}]


def test_each_is_found_once() -> None:
    found = futures_in((ONE, [TWO, ONE]), {"key": ONE})
    assert found is not None
    assert list(found) == [ONE, TWO]


def test_a_list_that_holds_itself() -> None:
    value: list[Any] = [1]
    value.append(value)
    assert futures_in((value,), {}) is None


def test_parts() -> None:
    whole = done({"a": [Pair(7, 8)]})
    part = Part(whole, (("item", "a"),)).item(0).attribute("right")
    assert list(futures_in(([part],), {}) or ()) == [whole]
    assert replaced([part], result) == [8]
    assert part.result() == 8
    with pytest.raises(KeyError):
        Part(whole, (("item", "b"),)).result()
    assert not hasattr(part, "right")
