"""Calls that wait for each other, without processes: in this thread, and in a few threads."""

from __future__ import annotations

import gc
import pickle
import random
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, as_completed, wait
from typing import Any

import pytest

from exaworks.core.events import Event, subscribe
from exaworks.flow import (
    DependencyError,
    Flow,
    FlowClosedError,
    FlowFuture,
    JoinError,
    Retry,
    bash_app,
    current_flow,
    join_app,
    python_app,
)
from exaworks.tasks import InlineEngine, InvalidTaskError, TaskState, UnsupportedError

WAIT = 30


def add(*numbers: int) -> int:
    return sum(numbers)


def fail(text: str = "no good") -> Any:
    raise ValueError(text)


@pytest.fixture(params=["inline", "threads"])
def flow(request: pytest.FixtureRequest) -> Iterator[Flow]:
    if request.param == "inline":
        with Flow(InlineEngine()) as flow:
            yield flow
    else:
        with ThreadPoolExecutor(2) as threads, Flow(threads) as flow:
            yield flow


@pytest.fixture
def gate() -> Iterator[Future[Any]]:
    """A future that is not of the flow; what waits for it waits until it is given a result."""
    future: Future[Any] = Future()
    yield future
    if not future.done():
        future.cancel()


# Results


def test_results_become_arguments(flow: Flow) -> None:
    one = flow.call(add, 1)
    two = flow.call(add, one, 1)
    assert flow.call(add, one, two, two).result(WAIT) == 5
    assert flow.call(lambda **kwargs: kwargs, a=one, b=[two]).result(WAIT) == {"a": 1, "b": [2]}
    assert flow.gather({"all": [one, (two,)]}).result(WAIT) == {"all": [1, (2,)]}


def test_a_future_is_one_of_the_library(flow: Flow) -> None:
    futures = flow.map(add, range(20), range(20))
    assert sum(future.result() for future in as_completed(futures, WAIT)) == 380
    assert not wait(futures, WAIT).not_done
    seen: list[Any] = []
    futures[3].add_done_callback(seen.append)
    assert seen == [futures[3]]
    assert isinstance(futures[0], Future)


def test_parts_start_no_calls(flow: Flow) -> None:
    whole = flow.call(lambda: {"a": [1, 2]})
    assert flow.call(add, whole.item("a").item(1), 5).result(WAIT) == 7
    assert whole.item("a").attribute("__len__").result(WAIT)() == 2
    assert not hasattr(whole, "a")
    with pytest.raises(KeyError, match="nope"):
        flow.call(add, whole.item("nope")).result(WAIT)
    assert flow.counts["completed"] + flow.counts["failed"] == 3


def test_futures_of_others(flow: Flow, gate: Future[Any]) -> None:
    waiting = flow.call(add, gate, 1)
    assert waiting.state is TaskState.QUEUED
    assert "waits for <Future" in waiting.explain()
    gate.set_result(41)
    assert waiting.result(WAIT) == 42
    done: Future[int] = Future()
    done.set_result(1)
    assert flow.call(add, done, 1).result(WAIT) == 2
    with Flow(InlineEngine()) as other:
        assert flow.call(add, other.call(add, 5), 1).result(WAIT) == 6


def test_each_call_is_run_once(flow: Flow) -> None:
    ran: list[int] = []
    done: Future[int] = Future()
    done.set_result(1)
    futures = [flow.call(ran.append, n) for n in range(100)]
    futures += [flow.call(lambda n, _: ran.append(n), n, done) for n in range(100, 200)]
    futures += [
        flow.call(lambda n, *_: ran.append(n), n, *futures[n % 50 :: 50]) for n in range(200, 300)
    ]
    wait(futures, WAIT)
    assert flow.wait(WAIT)
    assert sorted(ran) == list(range(300))


def test_a_graph_of_objects_that_know_each_other(flow: Flow) -> None:
    """Each is looked at once."""
    value: Any = [flow.call(add, 1)]
    for _ in range(200):
        value = (value, [value, value])
    assert flow.call(type, value).result(WAIT) is tuple
    assert flow.call(Counter, Counter({"a": 2})).result(WAIT) == Counter({"a": 2})
    whole = flow.call(dict, Counter({"a": flow.call(add, 3)}))  # type: ignore[dict-item]
    assert whole.result(WAIT) == {"a": 3}


def test_a_call_in_a_call_of_the_same_thread() -> None:
    with Flow(InlineEngine()) as flow:
        outer = flow.call(lambda: flow.call(add, flow.call(add, 1), 1).result(WAIT))
        assert outer.result(WAIT) == 2


def test_a_chain_and_a_fan_of_many(flow: Flow) -> None:
    last = flow.call(add, 0)
    for _ in range(3000):
        last = flow.call(add, last, 1)
    assert last.result(WAIT) == 3000
    assert flow.call(sum, flow.map(add, range(3000))).result(WAIT) == 3000 * 2999 // 2


def test_a_gate_that_many_wait_for(flow: Flow, gate: Future[Any]) -> None:
    waiting = [flow.call(add, gate, n) for n in range(2000)]
    chain = [waiting[0]]
    for _ in range(2000):
        chain.append(flow.call(add, chain[-1], 1))
    gate.set_result(1)
    assert sum(each.result(WAIT) for each in waiting) == 2000 + 2000 * 1999 // 2
    assert chain[-1].result(WAIT) == 2001
    assert flow.wait(WAIT)


# Failures


def test_what_needs_a_failure_is_not_run(flow: Flow) -> None:
    ran: list[int] = []
    first = flow.call(fail)
    second = flow.call(ran.append, first)
    third = flow.call(ran.append, [second])
    other = flow.call(add, 1, 1)
    problem = third.exception(WAIT)
    assert isinstance(problem, DependencyError)
    assert str(problem) == (
        f"list.append ({third.id}) was not run, since fail ({first.id}) failed: ValueError: no good"
    )
    assert [step.id for step in problem.chain] == [first.id, second.id, third.id]
    assert problem.explain().splitlines()[-1] == f"  so list.append ({third.id}) was not run"
    assert problem.__cause__ is first.exception()
    assert other.result(WAIT) == 2
    assert (ran, flow.failures()) == ([], [first])
    later = flow.call(ran.append, third)
    late = later.exception(WAIT)
    assert isinstance(late, DependencyError)
    assert [step.id for step in late.chain] == [first.id, second.id, third.id, later.id]
    copy = pickle.loads(pickle.dumps(problem))
    assert (str(copy), copy.chain) == (str(problem), problem.chain)


def test_failures_of_others(flow: Flow, gate: Future[Any]) -> None:
    waiting = flow.call(add, gate)
    after = flow.call(add, waiting)
    gate.set_exception(OSError("gone"))
    with pytest.raises(DependencyError, match=r"a future .* failed: OSError: gone"):
        after.result(WAIT)
    with pytest.raises(DependencyError, match="OSError: gone"):
        flow.call(add, gate).result(WAIT)


def test_retries(flow: Flow) -> None:
    left = [3]

    def sometimes() -> str:
        left[0] -= 1
        return "done" if left[0] < 0 else fail(f"{left[0]} left")

    app = python_app(flow=flow, retries=Retry(3, delay=0.01))(sometimes)
    assert flow.call(str.upper, app()).result(WAIT) == "DONE"
    left[0] = 3
    with pytest.raises(ValueError, match="0 left"):
        app.options(retries=2)().result(WAIT)
    left[0] = 3
    asked: list[str] = []
    picky = Retry(9, when=lambda problem, _: asked.append(str(problem)) or "2" in str(problem))
    with pytest.raises(ValueError, match="1 left"):
        app.options(retries=picky)().result(WAIT)
    assert asked == ["2 left", "1 left"]


def test_failures_are_run_again(flow: Flow) -> None:
    broken = [True]
    first = flow.call(lambda: fail() if broken else 1)
    second = flow.call(add, first, 1)
    fine = flow.call(add, 5)
    third = flow.call(add, second, fine)
    assert isinstance(third.exception(WAIT), DependencyError)
    broken.clear()
    assert flow.retry_failed() == 3
    assert third.result(WAIT) == 7
    assert flow.counts == {
        "pending": 0, "completed": 4, "cached": 0, "failed": 0, "canceled": 0
    }  # fmt: skip
    assert flow.retry_failed() == 0


def test_failures_are_run_again_while_others_wait(flow: Flow, gate: Future[Any]) -> None:
    """A call that failed because of one need still waits for the other, once."""
    slow = flow.call(add, gate)
    broken = [True]
    both = flow.call(add, slow, flow.call(lambda: fail() if broken else 5), gate)
    assert isinstance(both.exception(WAIT), DependencyError)
    for _ in range(3):
        assert flow.retry_failed() == 2
        assert isinstance(both.exception(WAIT), DependencyError)
    broken.clear()
    assert flow.retry_failed() == 2
    assert not both.done()
    gate.set_result(1)
    assert both.result(WAIT) == 7
    assert flow.wait(WAIT)
    assert flow.counts["failed"] == 0


def test_failures_are_known_to_callbacks(flow: Flow, gate: Future[Any]) -> None:
    first = flow.call(lambda _: fail(), gate)
    rest = [flow.call(add, first) for _ in range(300)]
    seen: list[Any] = []
    rest[0].add_done_callback(lambda _: seen.append((flow.failures(), flow.counts["failed"])))
    gate.set_result(1)
    rest[-1].exception(WAIT)
    assert flow.wait(WAIT)
    until_seen = threading.Event()
    rest[0].add_done_callback(lambda _: until_seen.set())
    assert until_seen.wait(WAIT)
    assert seen == [([first], 301)]


@pytest.mark.parametrize("problem", [SystemExit, KeyboardInterrupt])
def test_what_ends_a_program_ends_no_flow(flow: Flow, problem: type[BaseException]) -> None:
    first = flow.call(add, 1)

    def callback(_: object) -> None:
        raise problem

    first.add_done_callback(callback)
    assert flow.call(add, first, 1).result(WAIT) == 2
    command = bash_app(lambda: sys.exit(3))
    assert isinstance(command().exception(WAIT), (SystemExit, UnsupportedError))
    assert flow.call(add, 4).result(WAIT) == 4


def test_two_threads_wait_for_futures_of_two_flows() -> None:
    gates: list[Future[Any]] = [Future(), Future()]
    with Flow(InlineEngine()) as one, Flow(InlineEngine()) as other:
        futures = [flow.call(add, gate) for gate in gates for flow in (one, other) * 20]

        def look(seed: int) -> None:
            for number in range(300):
                some = random.Random(seed + number).sample(futures, 30)
                wait(some, 0)

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(look, range(4)))
        for gate in gates:
            gate.set_result(1)


def test_what_needs_a_cancelled_call_fails_again(flow: Flow, gate: Future[Any]) -> None:
    cancelled = flow.call(add, gate)
    both = flow.call(add, flow.call(fail), cancelled)
    assert isinstance(both.exception(WAIT), DependencyError)
    cancelled.cancel()
    assert flow.retry_failed() == 2
    assert isinstance(both.exception(WAIT), DependencyError)
    assert flow.wait(WAIT)


def test_a_failure_in_the_arguments(flow: Flow) -> None:
    class Odd(list):  # type: ignore[type-arg]
        def __init__(self, *args: Any) -> None:
            if args:
                raise RuntimeError("cannot be made anew")

    odd = Odd()
    odd.append(flow.call(add, 1))
    with pytest.raises(RuntimeError, match="cannot be made anew"):
        flow.call(add, odd).result(WAIT)


# Cancelling


def test_what_waits_is_cancelled_with_what_waits_for_it(flow: Flow, gate: Future[Any]) -> None:
    first = flow.call(add, gate)
    second = flow.call(add, first)
    third = flow.call(add, second, gate)
    other = flow.call(add, gate, 1)
    assert first.cancel()
    assert [each.cancelled() for each in (first, second, third, other)] == [True] * 3 + [False]
    gate.set_result(1)
    assert other.result(WAIT) == 2
    with pytest.raises(CancelledError):
        third.result(WAIT)
    with pytest.raises(DependencyError, match="CancelledError: it was cancelled"):
        flow.call(add, first).result(WAIT)
    assert not other.cancel()
    assert first.state is TaskState.CANCELED


def test_everything_is_cancelled(flow: Flow, gate: Future[Any]) -> None:
    futures = [flow.call(add, gate) for _ in range(10)]
    futures += [flow.call(add, each) for each in futures]
    flow.cancel()
    assert all(each.cancelled() for each in futures)
    assert flow.wait(WAIT)
    assert flow.counts["canceled"] == 20


def test_an_exception_cancels(gate: Future[Any]) -> None:
    with pytest.raises(KeyboardInterrupt), Flow(InlineEngine()) as flow:
        waiting = flow.call(add, gate)
        raise KeyboardInterrupt
    assert waiting.cancelled()
    with pytest.raises(FlowClosedError):
        flow.call(add)


def test_a_wait_that_is_too_long(flow: Flow, gate: Future[Any]) -> None:
    future = flow.call(add, gate)
    assert not flow.wait(0.01)
    with pytest.raises(TimeoutError):
        future.result(0.01)


# Apps


@python_app
def double(number: int) -> int:
    """Twice as much."""
    return number * 2


@join_app
def countdown(number: int) -> Any:
    return double(21) if number == 0 else countdown(number - 1)


def test_an_app(flow: Flow) -> None:
    assert double(4).result(WAIT) == 8
    assert sum(each.result(WAIT) for each in double.map(range(4))) == 12
    assert (double.__name__, double.__doc__) == ("double", "Twice as much.")
    assert flow.counts["completed"] == 5
    assert double.options(name="twice")(1).step.name == "twice"


def test_an_app_in_a_worker_is_its_function() -> None:
    assert pickle.loads(pickle.dumps(len)) is len
    reduced = double.__reduce__()
    assert reduced[0](*reduced[1])(4) == 8


def test_a_method_as_an_app(flow: Flow) -> None:
    class Model:
        factor = 3

        @python_app
        def scaled(self, number: int) -> int:
            return self.factor * number

    assert Model().scaled(5).result(WAIT) == 15


def test_a_join(flow: Flow) -> None:
    assert countdown(20).result(WAIT) == 42

    @join_app
    def several() -> Any:
        return {"a": [double(1), double(2)], "b": 5}

    assert several().result(WAIT) == {"a": [2, 4], "b": 5}


def test_a_join_that_goes_wrong(flow: Flow) -> None:
    @join_app
    def nothing() -> int:
        return 5

    with pytest.raises(JoinError, match=r"nothing must return a future, or a list.*, not 5"):
        nothing().result(WAIT)

    @join_app
    def broken() -> Any:
        return [double(1), flow.call(fail)]

    with pytest.raises(DependencyError, match=r"broken .* since fail .* failed: ValueError"):
        broken().result(WAIT)

    @join_app
    def worse() -> Any:
        return fail("at once")

    with pytest.raises(ValueError, match="at once"):
        worse().result(WAIT)


def test_the_innermost_flow_is_used() -> None:
    with Flow(InlineEngine()) as outer:
        with Flow(InlineEngine()) as inner:
            assert current_flow() is inner
            double(1)
        assert current_flow() is outer
        double.options(flow=outer)(2)
        double(3)
        assert (inner.counts["completed"], outer.counts["completed"]) == (1, 2)


def test_engines_by_name() -> None:
    with (
        ThreadPoolExecutor(1, "other") as other,
        Flow(engines={"here": InlineEngine(), "other": other}) as flow,
    ):
        where = python_app(flow=flow)(lambda: threading.current_thread().name)
        assert where().result(WAIT) == threading.current_thread().name
        assert where.options(engine="other")().result(WAIT).startswith("other")
        with pytest.raises(InvalidTaskError, match="no engine 'nope'; it has: here, other"):
            where.options(engine="nope")().result(WAIT)
        with pytest.raises(UnsupportedError, match="knows no resources"):
            where.options(engine="other", cores=2)().result(WAIT)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"core": 1}, "there is no option 'core'; there are: .*cores"),
        ({"cores": 0}, "cores must be"),
        ({"retries": -1}, "retries"),
        ({"time_limit": 0}, "time_limit"),
        ({"tags": 5}, "tags must be words"),
        ({"priority": "high"}, "priority"),
    ],
)
def test_options_that_make_no_sense(options: Any, told: str) -> None:
    with pytest.raises(InvalidTaskError, match=told):
        python_app(**options)
    with pytest.raises(InvalidTaskError, match=told):
        double.options(**options)


# What is kept


def test_what_has_ended_is_given_up(flow: Flow) -> None:
    class Big:
        pass

    big = Big()
    gone = weakref.ref(big)
    first: FlowFuture[Any] = flow.call(lambda _: Big(), big)
    second = flow.call(lambda whole: weakref.ref(whole), first)
    result = second.result(WAIT)
    assert flow.wait(WAIT)
    del big
    gc.collect()
    assert gone() is None
    assert result() is not None  # the first has its result
    del first
    gc.collect()
    assert result() is None
    assert second.done()


def test_events(flow: Flow) -> None:
    seen: list[Event] = []
    end = subscribe(seen.append)
    try:
        first = flow.call(fail)
        second = flow.call(add, first)
        third = flow.call(add, 1)
        flow.wait(WAIT)
    finally:
        end()

    def states(future: FlowFuture[Any]) -> list[str]:
        return [each.state for each in seen if each.component == "flow" and each.id == future.id]

    assert states(first) in (["WAITING", "LAUNCHED", "FAILED"], ["WAITING", "FAILED"])
    assert states(second) == ["WAITING", "FAILED"]
    assert states(third)[-1] == "COMPLETED"


def test_a_future_cannot_be_sent(flow: Flow) -> None:
    with pytest.raises(TypeError, match="give it to the call as an argument"):
        pickle.dumps(flow.call(add))


def test_many_threads(flow: Flow) -> None:
    def work(start: int) -> int:
        last = flow.call(add, start)
        for _ in range(200):
            last = flow.call(add, last, 1)
        return int(last.result(WAIT))

    with ThreadPoolExecutor(4) as threads:
        assert sorted(threads.map(work, range(8))) == [200 + n for n in range(8)]
