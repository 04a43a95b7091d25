"""Results that are kept: what was done is not done again."""

from __future__ import annotations

import functools
import operator
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from exaworks.flow import DependencyError, Flow, Retry, bash_app, python_app
from exaworks.tasks import InlineEngine, InvalidTaskError, LocalEngine

WAIT = 30


class Runs:
    """Counts what really runs. Its state is nothing that tells calls apart."""

    def __init__(self) -> None:
        self.of: list[Any] = []

    def __exaworks_key__(self) -> None:
        return None


@pytest.fixture
def runs() -> Runs:
    return Runs()


@pytest.fixture
def square(runs: Runs) -> Callable[[int], int]:
    def square(number: int) -> int:
        runs.of.append(number)
        return number * number

    return square


def flow_on(tmp_path: Path, **settings: Any) -> Flow:
    return Flow(InlineEngine(), store=tmp_path / "results.db", **settings)


def test_what_was_done_is_not_done_again(
    tmp_path: Path, runs: Runs, square: Callable[[int], int]
) -> None:
    app = python_app(cache=True)(square)
    for _ in range(3):
        with flow_on(tmp_path):
            parts = app.map(range(5))
            assert app(parts[2]).result(WAIT) == 16
            assert [part.result(WAIT) for part in parts] == [0, 1, 4, 9, 16]
    assert runs.of == [0, 1, 2, 3, 4]
    with flow_on(tmp_path) as flow:
        app(2)
        assert app.options(cache=False)(2).result(WAIT) == 4
        flow.call(square, 2)
        assert flow.wait(WAIT)
        assert flow.counts["cached"] == 1
    assert runs.of == [0, 1, 2, 3, 4, 2, 2]


def test_a_whole_program(tmp_path: Path, runs: Runs, square: Callable[[int], int]) -> None:
    """With other input, only what depends on it is run."""
    for last, ran in ((3, [1, 2, 3, 14]), (3, []), (4, [4, 21])):
        runs.of.clear()
        with flow_on(tmp_path, cache=True) as flow:
            total = flow.call(sum, [flow.call(square, n) for n in (1, 2, last)])
            assert flow.call(square, total).result(WAIT) == (5 + last**2) ** 2
        assert runs.of == ran


def test_failures_are_not_kept(tmp_path: Path, runs: Runs) -> None:
    def fails(number: int) -> int:
        runs.of.append(number)
        raise ValueError(number)

    app = python_app(cache=True, retries=Retry(1))(fails)
    for _ in range(2):
        with flow_on(tmp_path) as flow:
            with pytest.raises(ValueError, match="7"):
                app(7).result(WAIT)
            assert isinstance(flow.call(abs, app(8)).exception(WAIT), DependencyError)
    assert runs.of == [7, 7, 8, 8] * 2


def test_the_same_call_is_made_once(tmp_path: Path, runs: Runs) -> None:
    gate = threading.Event()

    def slow(gate: Any, number: int) -> int:
        runs.of.append(number)
        gate.of.wait(WAIT)
        if number == 13 and len(runs.of) == 1:
            raise ValueError("the first time")
        return number

    class Gate:
        of = gate

        def __exaworks_key__(self) -> None:
            return None

    with ThreadPoolExecutor(4) as threads:
        app = python_app(cache=True)(slow)
        with Flow(threads, store=tmp_path / "results.db") as flow:
            same = [app(Gate(), 5) for _ in range(10)]
            gate.set()
            assert {each.result(WAIT) for each in same} == {5}
            assert (runs.of, flow.counts["cached"]) == ([5], 9)
            runs.of.clear()
            gate.clear()
            same = [app(Gate(), 13) for _ in range(10)]
            gate.set()
            problems = [each.exception(WAIT) for each in same]
            assert [problem is None for problem in problems].count(False) == 1
            assert len(runs.of) == 2


def test_one_that_is_cancelled_does_not_hold_the_others(tmp_path: Path) -> None:
    gate = threading.Event()

    class Gate:
        of = gate

        def __exaworks_key__(self) -> None:
            return None

    with ThreadPoolExecutor(1) as threads, Flow(threads, store=tmp_path / "results.db") as flow:
        blocker = flow.call(gate.wait, WAIT)
        app = python_app(cache=True)(lambda gate: 5)
        first, second = app(Gate()), app(Gate())
        assert first.cancel()
        gate.set()
        assert second.result(WAIT) == 5
        assert blocker.result(WAIT)


def test_what_has_no_content_cannot_be_kept(tmp_path: Path) -> None:
    with flow_on(tmp_path, cache=True) as flow:
        with pytest.raises(InvalidTaskError, match="__exaworks_key__"):
            flow.call(str, threading.Lock()).result(WAIT)
        # a result that cannot be kept is a result all the same
        assert flow.call(threading.Lock).result(WAIT) is not None


def test_options_of_commands_count(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "input").write_text("one")
    show = bash_app(cache=True)(lambda: "echo $X; pwd; cat")
    given: list[dict[str, Any]] = [
        {"environment": {"X": "1"}}, {"environment": {"X": "2"}}, {"directory": str(tmp_path)},
        {"directory": str(tmp_path / "other")}, {"stdin": str(tmp_path / "input")},
    ]  # fmt: skip
    for cached in (0, 5):
        with flow_on(tmp_path) as flow:
            texts = [show.options(**options)().result(WAIT).text for options in given]
            assert len(set(texts)) == 5
            assert flow.counts["cached"] == cached
    (tmp_path / "input").write_text("two")
    with flow_on(tmp_path):
        assert "two" in show.options(stdin=str(tmp_path / "input"))().result(WAIT).text


def test_functions_are_run_as_they_are_now(tmp_path: Path) -> None:
    """Also if the engine has sent an older one."""
    names: dict[str, Any] = {"__name__": "__main__"}
    text = "def helper(x): return x * S\ndef work(x): return helper(x)\n"
    exec(f"S = 2\n{text}", names)
    model = functools.partial(operator.mul, 3)
    with LocalEngine(1) as engine, Flow(engine, store=tmp_path / "results.db", cache=True) as flow:
        assert flow.call(names["work"], 5).result(WAIT) == 10
        names["S"] = 3
        assert flow.call(names["work"], 5).result(WAIT) == 15
        names["S"] = 2
        assert flow.call(names["work"], 6).result(WAIT) == 12
        assert flow.call(model, 5).result(WAIT) == 15
        model.__setstate__((operator.mul, (4,), {}, {}))
        assert flow.call(model, 5).result(WAIT) == 20


def test_another_store_knows_nothing(tmp_path: Path, runs: Runs, square: Any) -> None:
    for name in ("one", "two"):
        with Flow(InlineEngine(), store=tmp_path / name, cache=True) as flow:
            flow.call(square, 3)
    assert runs.of == [3, 3]
