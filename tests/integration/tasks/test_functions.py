"""Functions on the local engine, with real worker processes."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from task_helpers import WAIT, alive, note

from exaworks.core.events import Event, subscribe
from exaworks.tasks import (
    InvalidTaskError,
    LocalEngine,
    WorkerLost,
)
from patience import until


@pytest.fixture(scope="module")
def shared() -> Iterator[LocalEngine]:
    with LocalEngine(2) as engine:
        yield engine


@pytest.fixture
def engine() -> Iterator[LocalEngine]:
    with LocalEngine(2) as engine:
        yield engine


def double(x: Any) -> Any:
    return x * 2


def die(number: int) -> None:
    os.kill(os.getpid(), number)


# Results


def test_arrays_are_not_copied_into_the_pickle(shared: LocalEngine) -> None:
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(1_000_000, dtype="f8").reshape(1000, 1000)

    def work(a: Any, b: Any) -> Any:
        a[0, 0] = 7  # the worker's own
        return a + b, not a.flags.owndata

    total, mapped = shared.submit(work, array, b=array.copy()).result(WAIT)
    assert mapped
    assert total[0, 0] == 7
    assert array[0, 0] == 0
    assert (total[1:] == 2 * array[1:]).all()
    total[5, 5] = 1  # ours


# Exceptions


def test_a_function_changes_with_what_it_refers_to(shared: LocalEngine) -> None:
    factor = 2

    def scaled(x: int) -> int:
        return x * factor

    assert shared.submit(scaled, 5).result(WAIT) == 10
    factor = 3
    assert shared.submit(scaled, 5).result(WAIT) == 15


def test_a_function_changes_with_objects_that_take_the_place_of_others(
    shared: LocalEngine,
) -> None:
    names: dict[str, Any] = {"__name__": "__main__", "factor": 0.5}
    exec("def scaled(x): return x * factor", names)
    for number in range(1, 100):
        names["factor"] = float(number) + 0.5
        assert shared.submit(names["scaled"], 1).result(WAIT) == number + 0.5


# Workers that die


def test_the_nursery_is_killed(engine: LocalEngine, tmp_path: Path) -> None:
    def work() -> None:
        note(tmp_path / "pid", str(os.getpid()))
        time.sleep(600)

    pids = set(engine.map(lambda _: os.getpid(), range(20)))
    sleeper = engine.submit(work)
    until((tmp_path / "pid").exists)
    os.kill(engine.nursery.pid, signal.SIGKILL)
    with pytest.raises(WorkerLost):
        sleeper.result(WAIT)
    assert pids.isdisjoint(engine.map(lambda _: os.getpid(), range(20)))
    until(lambda: not any(map(alive, pids)))


def test_what_a_worker_has_started_goes_with_it(engine: LocalEngine, tmp_path: Path) -> None:
    def start() -> None:
        child = subprocess.Popen(["sleep", "600"])
        note(tmp_path / "pid", str(child.pid))
        die(signal.SIGKILL)

    with pytest.raises(WorkerLost):
        engine.submit(start).result(WAIT)
    pid = int((tmp_path / "pid").read_text())
    until(lambda: not alive(pid))


PARENT = """
import os, subprocess, sys, time
from exaworks.tasks import LocalEngine
def work(path):
    child = subprocess.Popen(["sleep", "600"])
    daemon = subprocess.Popen(["sleep", "601"], start_new_session=True)
    with open(path, "a") as file:
        file.write(f"{os.getpid()} {child.pid} {daemon.pid}\\n")
    time.sleep(600)
engine = LocalEngine(2)
engine.submit(work, sys.argv[1]); engine.submit(work, sys.argv[1])
print(engine.nursery.pid, flush=True)
if len(sys.argv) > 2:
    os.fork()  # it holds all descriptors open
time.sleep(600)
"""


@pytest.mark.parametrize("more", [[], ["fork"]])
def test_nothing_is_left_of_a_program_that_was_killed(tmp_path: Path, more: list[str]) -> None:
    import sys

    path = tmp_path / "pids"
    program = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(path), *more], stdout=subprocess.PIPE, text=True
    )
    assert program.stdout is not None
    pids = [int(program.stdout.readline())]
    until(lambda: path.exists() and len(path.read_text().split()) == 6)
    pids += map(int, path.read_text().split())
    children = Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text().split()
    program.kill()
    program.wait()
    until(lambda: not any(map(alive, pids)))
    for child in map(int, children):
        if child not in pids:
            os.kill(child, signal.SIGKILL)


# Cancelling, and limits


def test_cancel_among_calls_that_were_sent_ahead(engine: LocalEngine) -> None:
    def work(n: int) -> int:
        if n == 0:
            time.sleep(0.3)
        return n

    list(engine.map(lambda n: n, range(500)))
    assert engine.submit(work, 1).result(WAIT) == 1
    futures = [engine.submit(work, n) for n in range(400)]
    cancelled = [future for future in futures[1::3] if future.cancel()]
    assert cancelled
    left = [future.result(WAIT) for future in futures if future not in cancelled]
    assert left == [n for n, future in enumerate(futures) if future not in cancelled]


def test_a_long_call_holds_nobody_up(engine: LocalEngine) -> None:
    def work(seconds: float) -> None:
        time.sleep(seconds)

    for _ in range(50):
        engine.submit(work, 0).result(WAIT)
    long = engine.submit(work, 3)
    others = [engine.submit(work, 0) for _ in range(300)]
    long2 = engine.submit(work, 0)
    for other in (*others, long2):
        other.result(WAIT)
    assert not long.done()
    assert long.cancel()


# The whole


def test_events(engine: LocalEngine) -> None:
    seen: list[Event] = []
    unsubscribe = subscribe(seen.append)
    try:
        good = engine.submit(double, 1)
        bad = engine.submit(double, None)
        assert good.result(WAIT) == 2
        with pytest.raises(TypeError):
            bad.result(WAIT)
        until(lambda: len([e for e in seen if e.id in (good.id, bad.id)]) == 6)
    finally:
        unsubscribe()
    states = {task.id: [e.state for e in seen if e.id == task.id] for task in (good, bad)}
    assert states == {
        good.id: ["QUEUED", "ACTIVE", "COMPLETED"],
        bad.id: ["QUEUED", "ACTIVE", "FAILED"],
    }


def test_binding(engine: LocalEngine) -> None:
    cores = engine.resources().total[0].cores

    def where() -> set[int]:
        time.sleep(0.02)
        return set(os.sched_getaffinity(0))

    found = [f.result(WAIT) for f in [engine.submit(where) for _ in range(10)]]
    assert {frozenset(each) for each in found} == {frozenset({core}) for core in cores}
    both = engine.submit(where, resources={"cores": 2}).result(WAIT)
    assert both == set(cores)


def test_gpus() -> None:
    def gpus() -> tuple[int, str | None]:
        time.sleep(0.05)
        return os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES")

    with LocalEngine(4, gpus=["5", "7"]) as engine:
        assert engine.submit(gpus).result(WAIT)[1] == ""
        one = engine.configured(resources={"gpus": 1})
        found = [f.result(WAIT) for f in [one.submit(gpus) for _ in range(8)]]
        assert {gpu for _, gpu in found} == {"5", "7"}
        by_process: dict[int, set[str | None]] = {}
        for pid, gpu in found:
            by_process.setdefault(pid, set()).add(gpu)
        assert all(len(each) == 1 for each in by_process.values())
        both = engine.submit(gpus, resources={"gpus": 2}).result(WAIT)
        assert both[1] == "5,7"
        with pytest.raises(InvalidTaskError, match="2 GPUs"):
            engine.submit(gpus, resources={"gpus": 3})


def test_back_pressure() -> None:
    with LocalEngine(1, max_waiting=10) as engine:
        most = 0
        for _ in range(200):
            engine.submit(time.sleep, 0.001)
            most = max(most, engine.resources().waiting)
        assert most <= 10


def test_a_waiting_task_takes_less_than_a_kibibyte(engine: LocalEngine) -> None:
    import tracemalloc

    blockers = [engine.submit(time.sleep, 600) for _ in range(2)]
    engine.submit(double, 1)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    futures = [engine.submit(double, n) for n in range(20_000)]
    each = (tracemalloc.get_traced_memory()[0] - before) / len(futures)
    tracemalloc.stop()
    assert each < 1024
    for future in (*blockers, *futures):
        assert future.cancel()


# Shutdown


def test_shutdown_leaves_nothing() -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    def use() -> None:
        with LocalEngine(2) as engine:
            pids = set(engine.map(lambda _: os.getpid(), range(50)))
            pids.add(engine.nursery.pid)
            with pytest.raises(WorkerLost):
                engine.submit(die, 9).result(WAIT)
            engine.submit(double, b"x" * 1_000_000).result(WAIT)
        assert not any(map(alive, pids))

    use()
    before, threads = descriptors(), threading.active_count()
    for _ in range(3):
        use()
    until(lambda: threading.active_count() <= threads)
    until(lambda: descriptors() <= before)


PROGRAMS = {
    "no-shutdown": """
from exaworks.tasks import LocalEngine
import os, time
def work(n):
    time.sleep(0.1)
    os.write(1, b"ran %d\\n" % n)
engine = LocalEngine(2)
for n in range(4):
    engine.submit(work, n)
""",
    "an-exception": """
import os
from exaworks.tasks import LocalEngine
with LocalEngine(2) as engine:
    for n in range(4):
        engine.submit(os.write, 1, b"ran %d\\n" % n)
    raise SystemExit(0)
""",
}


@pytest.mark.parametrize("text", PROGRAMS.values(), ids=PROGRAMS)
def test_a_program_ends_when_its_tasks_have(text: str) -> None:
    import sys

    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.splitlines()) == [f"ran {n}" for n in range(4)]


def test_what_a_random_kill_leaves(engine: LocalEngine) -> None:
    """Workers are killed at any moment; each task has one answer or is lost, and none hangs."""
    stop = threading.Event()

    def twice(n: int) -> int:  # sent by value: new workers need not import this module
        return n * 2

    def killer() -> None:
        while not stop.wait(0.02):
            for worker in engine._crew.workers[:1]:
                worker.kill()

    thread = threading.Thread(target=killer)
    thread.start()
    try:
        futures = [engine.submit(twice, n) for n in range(200_000)]
        problems = [future.exception(WAIT) for future in futures]
    finally:
        stop.set()
        thread.join()
    assert all(problem is None or isinstance(problem, WorkerLost) for problem in problems)
    good = [n for n, problem in enumerate(problems) if problem is None]
    assert 190_000 < len(good) < 200_000
    assert [futures[n].result() for n in good] == [n * 2 for n in good]
