"""How tasks are handed to an engine."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from exaworks.cli.mapping.feeder import Feeder
from exaworks.cli.mapping.outcome import Outcome, Task
from exaworks.tasks import InlineEngine, InvalidTaskError, TaskFuture, TaskSpec
from patience import TIMEOUT, until


class Slow(InlineEngine):
    """An engine whose tasks do not end before they are told to."""

    def __init__(self) -> None:
        super().__init__()
        self.futures: list[TaskFuture[Any]] = []

    def launch(self, spec: TaskSpec) -> TaskFuture[Any]:
        if spec.name == "impossible":
            raise InvalidTaskError("it is impossible")
        self.futures.append(TaskFuture(self, len(self.futures), None, time.time()))
        return self.futures[-1]

    def _cancel(self, task: TaskFuture[Any]) -> bool:
        return task._finish("CANCELLED_AND_NOTIFIED", None)


class Tasks:
    """So many tasks, that count how many were asked for."""

    def __init__(self, count: int, last: str = "task") -> None:
        self.asked = 0
        self._count = count
        self._last = last

    def __iter__(self) -> Iterator[Task]:
        for seq in range(1, self._count + 1):
            self.asked = seq
            yield Task(seq, ("x",), ["true"], "task" if seq < self._count else self._last)


def feeder(engine: Slow, tasks: Tasks, most: int = 5) -> Feeder:
    made = Feeder(
        engine, iter(tasks), lambda task: TaskSpec(task.words, name=task.text), lambda: most
    )
    made.start()
    return made


def take(feeder: Feeder) -> tuple[int, Task, TaskFuture[Any]]:
    ended = None
    while ended is None:  # which tells that no more will be handed out
        ended = feeder.ended.get(timeout=TIMEOUT)
    return ended


def test_no_more_than_so_many_are_on_the_way() -> None:
    engine, tasks = Slow(), Tasks(1000)
    feed = feeder(engine, tasks)
    for ended in range(20):
        until(lambda ended=ended: len(engine.futures) == ended + 5)
        assert tasks.asked <= ended + 6
        engine.futures[ended]._finish("CANCELLED_AND_NOTIFIED", None)
        number, task, future = take(feed)
        assert (number, task.seq, future) == (ended, ended + 1, engine.futures[ended])
        assert not feed.finished
        feed.done(future)
    until(lambda: len(engine.futures) == 25)
    feed.cancel()
    assert sorted(take(feed)[0] for _ in range(5)) == [20, 21, 22, 23, 24]
    assert not feed.all_read


def test_the_end_of_the_inputs() -> None:
    engine = Slow()
    feed = feeder(engine, Tasks(3))
    assert feed.ended.get(timeout=TIMEOUT) is None
    assert feed.all_read
    assert not feed.finished
    for future in engine.futures:
        future.cancel()
        feed.done(take(feed)[2])
    assert feed.finished
    assert feed.handed == 3


def test_what_waits_is_taken_back_and_what_runs_is_not() -> None:
    engine = Slow()
    feed = feeder(engine, Tasks(1000))
    until(lambda: len(engine.futures) == 5)
    engine.futures[0].set_running_or_notify_cancel()
    feed.stop()
    assert sorted(take(feed)[0] for _ in range(4)) == [1, 2, 3, 4]
    assert not engine.futures[0].done()
    feed.cancel()
    assert engine.futures[0].cancelled()
    for future in engine.futures:
        feed.done(future)
    assert feed.finished


def test_what_is_launched_while_it_stops_is_taken_back() -> None:
    class Late(Slow):
        def launch(self, spec: TaskSpec) -> TaskFuture[Any]:
            launching.set()
            assert go.wait(TIMEOUT)
            return super().launch(spec)

    launching, go = threading.Event(), threading.Event()
    engine = Late()
    feed = feeder(engine, Tasks(1000))
    assert launching.wait(TIMEOUT)
    feed.stop()
    assert not feed.finished
    go.set()
    _, _, future = take(feed)
    assert future.cancelled()
    feed.done(future)
    assert feed.finished
    assert feed.handed == 1


def test_a_task_that_the_engine_does_not_take() -> None:
    engine = Slow()
    feed = feeder(engine, Tasks(3, last="impossible"))
    assert feed.ended.get(timeout=TIMEOUT) is None
    assert isinstance(feed.problem, InvalidTaskError)
    assert feed.handed == 2
    feed.cancel()
    for future in engine.futures:
        feed.done(future)
    assert feed.finished


@pytest.mark.parametrize("stopped", [True, False])
def test_a_task_that_somebody_else_has_cancelled_has_failed(stopped: bool) -> None:
    future: TaskFuture[Any] = TaskFuture(Slow(), 1, None, time.time())
    future.cancel()
    outcome = Outcome.of(future, stopped)
    assert (outcome.ok, outcome.cancelled, outcome.exit_value) == (False, stopped, -1)
    assert outcome.message == "was cancelled"
