"""Functions on the local engine, with real worker processes."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest
from task_helpers import WAIT, alive, note

from exaworks.core.events import Event, subscribe
from exaworks.tasks import (
    EngineClosedError,
    InvalidTaskError,
    LocalEngine,
    RemoteError,
    SerializationError,
    TaskState,
    TaskTimeout,
    WorkerLost,
    as_completed,
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


def test_values(shared: LocalEngine) -> None:
    assert shared.submit(double, 4).result(WAIT) == 8
    assert shared.submit(lambda x, *, y: (x, y), 1, y=2).result(WAIT) == (1, 2)
    assert list(shared.map(pow, range(50), range(50))) == [n**n for n in range(50)]


def test_a_function_may_have_arguments_called_fn_and_self(shared: LocalEngine) -> None:
    assert shared.submit(lambda fn, self: fn + self, fn=1, self=2).result(WAIT) == 3
    plain = shared.configured()
    assert plain.submit(lambda resources: resources, resources=5).result(WAIT) == 5


def test_async_functions(shared: LocalEngine) -> None:
    async def add(x: int, y: int) -> int:
        await asyncio.sleep(0.01)
        return x + y

    assert shared.submit(add, 1, 2).result(WAIT) == 3
    assert shared.submit(add, 3, 4).result(WAIT) == 7


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 5_000_000])
def test_sizes_of_arguments_and_results(shared: LocalEngine, size: int) -> None:
    data = os.urandom(size)
    assert shared.submit(double, data).result(WAIT) == data * 2
    assert shared.submit(double, bytearray(data)).result(WAIT) == data * 2


def test_many_large_arguments_at_once(shared: LocalEngine) -> None:
    blocks = [bytes([n]) * 3_000_000 for n in range(30)]
    assert [len(r) for r in shared.map(double, blocks)] == [6_000_000] * 30


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


def test_exceptions_come_with_their_traceback(shared: LocalEngine) -> None:
    def inner() -> None:
        raise KeyError("lost")

    future = shared.submit(inner)
    problem = future.exception(WAIT)
    assert isinstance(problem, KeyError)
    assert problem.args == ("lost",)
    assert "in inner" in str(problem.__cause__)
    assert future.state is TaskState.FAILED
    assert "KeyError" in shared.explain(future)


class Odd(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def test_an_exception_that_cannot_be_unpickled(shared: LocalEngine) -> None:
    def fail() -> None:
        raise Odd(1, 2)

    with pytest.raises(RemoteError, match="Odd: 1 and 2"):
        shared.submit(fail).result(WAIT)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit, MemoryError])
def test_exceptions_that_end_programs_end_no_worker(
    shared: LocalEngine, kind: type[BaseException]
) -> None:
    def fail() -> None:
        raise kind(3)

    before = {shared.submit(os.getpid).result(WAIT) for _ in range(20)}
    with pytest.raises(kind):
        shared.submit(fail).result(WAIT)
    assert {shared.submit(os.getpid).result(WAIT) for _ in range(20)} <= before


def test_what_cannot_be_pickled_is_named(shared: LocalEngine) -> None:
    lock = threading.Lock()
    with pytest.raises(SerializationError, match=r"args.*\['deep'\]\[1\] \(of type _thread.lock"):
        shared.submit(double, {"deep": [1, lock]})
    with pytest.raises(SerializationError, match=r"the variable 'lock' that .*uses"):
        shared.submit(lambda: lock)
    with pytest.raises(SerializationError, match=r"the result of .*lock"):
        shared.submit(lambda: threading.Lock()).result(WAIT)
    assert shared.submit(double, 1).result(WAIT) == 2


def test_what_cannot_be_loaded(shared: LocalEngine) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (int, ("no number",))

    with pytest.raises(ValueError, match="no number"):
        shared.submit(double, Trap()).result(WAIT)
    with pytest.raises(SerializationError, match=r"cannot be unpickled here.*no number"):
        shared.submit(lambda: Trap()).result(WAIT)


def test_a_function_changes_with_what_it_refers_to(shared: LocalEngine) -> None:
    factor = 2

    def scaled(x: int) -> int:
        return x * factor

    assert shared.submit(scaled, 5).result(WAIT) == 10
    factor = 3
    assert shared.submit(scaled, 5).result(WAIT) == 15


def test_nonsense(shared: LocalEngine) -> None:
    with pytest.raises(TypeError, match="something to call"):
        shared.submit("not callable")  # type: ignore[arg-type]
    with pytest.raises(InvalidTaskError, match="no resource 'core'; there are: ranks, cores"):
        shared.submit(double, 1, resources={"core": 1})
    with pytest.raises(InvalidTaskError, match="can never run here: it needs 3 cores"):
        shared.submit(double, 1, resources={"cores": 3})
    with pytest.raises(InvalidTaskError, match="at least 1, not 0"):
        LocalEngine(0)


# Workers that die


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_a_worker_that_dies_costs_its_own_task_only(engine: LocalEngine, number: int) -> None:
    list(engine.map(double, range(1000)))  # so that calls are sent ahead
    futures = [engine.submit(double, n) for n in range(2000)]
    victim = engine.submit(die, number)
    futures += [engine.submit(double, n) for n in range(2000)]
    with pytest.raises(WorkerLost, match=signal.Signals(number).name) as lost:
        victim.result(WAIT)
    assert lost.value.signal == number
    assert [future.result(WAIT) for future in futures] == [n * 2 for n in range(2000)] * 2


def test_a_worker_that_exits(engine: LocalEngine) -> None:
    with pytest.raises(WorkerLost, match="exited with code 3") as lost:
        engine.submit(os._exit, 3).result(WAIT)
    assert (lost.value.exit_code, lost.value.signal) == (3, None)
    assert engine.submit(double, 2).result(WAIT) == 4


def test_no_task_runs_twice_unless_it_may(engine: LocalEngine, tmp_path: Path) -> None:
    def once(n: int) -> None:
        note(tmp_path / "ran", str(n))
        if n % 100 == 50:
            die(signal.SIGKILL)

    futures = [engine.submit(once, n) for n in range(1000)]
    lost = [n for n, future in enumerate(futures) if future.exception(WAIT) is not None]
    assert lost == list(range(50, 1000, 100))
    ran = (tmp_path / "ran").read_text().split()
    assert sorted(map(int, ran)) == list(range(1000))


def test_restartable_tasks_run_again(engine: LocalEngine, tmp_path: Path) -> None:
    def second_time(name: str) -> str:
        note(tmp_path / name, "x")
        if len((tmp_path / name).read_text()) < 4:
            die(signal.SIGKILL)
        return "done"

    assert engine.configured(restartable=True).submit(second_time, "a").result(WAIT) == "done"
    assert engine.configured(retries=1).submit(second_time, "b").result(WAIT) == "done"
    with pytest.raises(WorkerLost):
        engine.configured(restartable=True).submit(die, signal.SIGKILL).result(WAIT)


def test_retries(engine: LocalEngine, tmp_path: Path) -> None:
    def third_time(name: str) -> str:
        note(tmp_path / name, "x")
        if len((tmp_path / name).read_text()) < 6:
            raise ValueError(name)
        return "done"

    assert engine.configured(retries=2).submit(third_time, "a").result(WAIT) == "done"
    with pytest.raises(ValueError, match="b"):
        engine.configured(retries=1).submit(third_time, "b").result(WAIT)


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


def test_cancel_what_waits(engine: LocalEngine) -> None:
    blockers = [engine.submit(time.sleep, 0.3) for _ in range(2)]
    waiting = engine.submit(double, 1)
    assert waiting.state is TaskState.QUEUED
    assert waiting.cancel()
    assert waiting.cancelled()
    assert waiting.state is TaskState.CANCELED
    with pytest.raises(CancelledError):
        waiting.result(WAIT)
    assert [b.result(WAIT) for b in blockers] == [None, None]
    assert not blockers[0].cancel()


def test_cancel_what_runs(engine: LocalEngine, tmp_path: Path) -> None:
    def work() -> None:
        note(tmp_path / "pid", str(os.getpid()))
        try:
            time.sleep(600)
        except KeyboardInterrupt:
            note(tmp_path / "end", "interrupted")
            raise

    future = engine.submit(work)
    until((tmp_path / "pid").exists)
    assert future.cancel()
    assert future.cancelled()
    until((tmp_path / "end").exists)
    pid = int((tmp_path / "pid").read_text())
    assert alive(pid)  # the worker stays
    assert pid in set(engine.map(lambda _: os.getpid(), range(50)))


def test_cancel_what_does_not_want_to_end(engine: LocalEngine, tmp_path: Path) -> None:
    def work() -> None:
        note(tmp_path / "pid", str(os.getpid()))
        while True:
            try:
                time.sleep(600)
            except KeyboardInterrupt:
                continue

    future = engine.submit(work)
    until((tmp_path / "pid").exists)
    assert future.cancel()
    pid = int((tmp_path / "pid").read_text())
    until(lambda: not alive(pid))
    assert list(engine.map(double, range(10))) == list(range(0, 20, 2))


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


def test_time_limit(engine: LocalEngine, tmp_path: Path) -> None:
    def stubborn() -> None:
        note(tmp_path / "pid", str(os.getpid()))
        while True:
            try:
                time.sleep(600)
            except KeyboardInterrupt:
                continue

    limited = engine.configured(time_limit=0.2, name="short")
    begun = time.monotonic()
    with pytest.raises(TaskTimeout, match=r"has run for 0\.2 s, its limit"):
        limited.submit(time.sleep, 600).result(WAIT)
    assert time.monotonic() - begun >= 0.2
    with pytest.raises(TaskTimeout):
        limited.submit(stubborn).result(WAIT)
    until(lambda: not alive(int((tmp_path / "pid").read_text())))
    assert limited.submit(double, 1).result(WAIT) == 2


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


def test_what_takes_an_executor_takes_an_engine(shared: LocalEngine) -> None:
    futures = [shared.submit(double, n) for n in range(100)]
    done, not_done = concurrent.futures.wait(futures, WAIT)
    assert (len(done), not_done) == (100, set())
    assert {f.result() for f in concurrent.futures.as_completed(futures)} == set(range(0, 200, 2))
    assert {f.result() for f in as_completed(futures)} == set(range(0, 200, 2))
    slow = shared.submit(time.sleep, 0.2)
    first = concurrent.futures.wait([slow, *futures], WAIT, concurrent.futures.FIRST_COMPLETED)
    assert slow not in first.done

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        one = await loop.run_in_executor(shared, double, 5)
        return one, await shared.submit(double, 6)

    assert asyncio.run(main()) == (10, 12)


def test_callbacks_and_times(shared: LocalEngine) -> None:
    before = time.time()
    seen: list[Any] = []
    called = threading.Event()
    future = shared.submit(time.sleep, 0.05)
    future.add_done_callback(lambda _: 1 / 0)
    future.add_done_callback(seen.append)
    future.add_done_callback(lambda _: called.set())
    assert called.wait(WAIT)
    future.add_done_callback(seen.append)
    assert seen == [future, future]
    times = future.times
    assert times.started is not None
    assert times.ended is not None
    assert before <= times.submitted <= times.started <= times.ended <= time.time()
    assert times.ended - times.started >= 0.05


def test_timeout_of_result(shared: LocalEngine) -> None:
    future = shared.submit(time.sleep, 0.3)
    with pytest.raises(concurrent.futures.TimeoutError):
        future.result(0.01)
    assert future.result(WAIT) is None


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


def test_resources_and_explain(engine: LocalEngine) -> None:
    blockers = [engine.submit(time.sleep, 0.5) for _ in range(2)]
    waiting = engine.submit(double, 1, resources={"cores": 2})
    there = engine.resources()
    assert (there.waiting, there.running, there.free[0].cores) == (1, 2, ())
    assert "waits: it needs 2 cores; there is not enough of: cores" in engine.explain(waiting)
    assert "runs in worker process" in engine.explain(blockers[0])
    assert waiting.result(WAIT) == 2
    assert "has ended well" in engine.explain(waiting)
    assert engine.drain(WAIT)
    assert engine.resources().free == engine.resources().total


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


def test_submitting_from_many_threads(shared: LocalEngine) -> None:
    results: dict[int, list[int]] = {}

    def submit(n: int) -> None:
        futures = [shared.submit(double, n * 1000 + i) for i in range(500)]
        results[n] = [future.result(WAIT) for future in futures]

    threads = [threading.Thread(target=submit, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {n: [2 * (n * 1000 + i) for i in range(500)] for n in range(8)}


# Shutdown


def test_shutdown_waits() -> None:
    engine = LocalEngine(2)
    futures = [engine.submit(time.sleep, 0.01) for _ in range(20)]
    engine.shutdown()
    assert all(future.done() for future in futures)
    with pytest.raises(EngineClosedError, match="shut down"):
        engine.submit(double, 1)
    engine.shutdown()


def test_shutdown_without_waiting() -> None:
    engine = LocalEngine(2)
    futures = [engine.submit(time.sleep, 0.05) for _ in range(6)]
    engine.shutdown(wait=False)
    assert [future.result(WAIT) for future in futures] == [None] * 6
    assert engine._closed.wait(WAIT)


def test_shutdown_that_cancels() -> None:
    engine = LocalEngine(2)
    running = [engine.submit(time.sleep, 0.2) for _ in range(2)]
    waiting = [engine.submit(time.sleep, 600) for _ in range(10)]
    engine.shutdown(cancel_futures=True)
    assert [future.result(WAIT) for future in running] == [None, None]
    assert all(future.cancelled() for future in waiting)


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


def test_use_after_a_fork(shared: LocalEngine) -> None:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            shared.submit(double, 1)
        except EngineClosedError as problem:
            os.write(write, str(problem).encode())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    os.close(write)
    with open(read) as file:
        assert "make one after the fork" in file.read()
    assert shared.submit(double, 1).result(WAIT) == 2


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
