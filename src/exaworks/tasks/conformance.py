"""The semantics of tasks as tests: every engine has to pass them.

For an engine of yours, in a file of tests::

    from exaworks.tasks.conformance import EngineConformance


    class TestMine(EngineConformance):
        def make_engine(self):
            return MyEngine(...)

The engine must have two cores or more. Needs pytest.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest

from exaworks.core.events import Event, subscribe
from exaworks.tasks import (
    Engine,
    EngineClosedError,
    InvalidTaskError,
    OutOfMemory,
    RemoteError,
    SerializationError,
    TaskFailed,
    TaskResult,
    TaskSpec,
    TaskState,
    TaskTimeout,
    UnsupportedError,
    WorkerLost,
    as_completed,
)

__all__ = ["EngineConformance"]

WAIT = 60
"""Seconds that anything may take."""


STUBBORN = """
trap '' TERM
echo $$ >>"$1"
setsid sh -c 'trap "" TERM; echo $$ >>"$1"; while :; do sleep 1; done' sh "$1" &
while :; do sleep 1; done
"""


def double(x: Any) -> Any:
    """Twice ``x``."""
    return x * 2


def note(path: Path, text: str) -> None:
    """Append a line to a file."""
    with open(path, "a") as file:
        file.write(f"{text}\n")


def numbers(path: Path) -> list[int]:
    """The numbers in a file; none if it is not there."""
    return [int(word) for word in path.read_text().split()] if path.exists() else []


def alive(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds; fails the test if it never does."""
    limit = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < limit, f"waited {WAIT} s in vain"
        time.sleep(0.01)


def shell(text: str, *words: str, **fields: Any) -> TaskSpec:
    """A task that runs some shell."""
    return TaskSpec(["sh", "-c", text, "sh", *words], **fields)


def run(engine: Engine, spec: TaskSpec) -> TaskResult:
    """The result of a command."""
    result = engine.launch(spec).result(WAIT)
    assert isinstance(result, TaskResult)
    return result


def failure(engine: Engine, spec: TaskSpec) -> TaskFailed:
    """How a command fails."""
    problem = engine.launch(spec).exception(WAIT)
    assert isinstance(problem, TaskFailed), problem
    return problem


def die(number: int) -> None:
    """End this process by a signal."""
    os.kill(os.getpid(), number)


class Odd(Exception):
    """An exception that can be pickled, but not unpickled."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


class EngineConformance:
    """See the module. Subclasses say what their engine cannot do."""

    concurrent = True
    """Whether tasks run while the program goes on."""

    def make_engine(self, cores: int = 2, gpus: int = 0) -> Engine:
        """A new engine that has so many cores and GPUs, the latter with the names 0, 1, ..."""
        raise NotImplementedError

    workers = True
    """Whether functions run in processes of their own."""

    def _needs_workers(self) -> None:
        if not self.workers:
            pytest.skip("this engine has no workers")

    def _needs_concurrency(self) -> None:
        if not self.concurrent:
            pytest.skip("this engine runs each task at once")

    @pytest.fixture
    def engine(self) -> Iterator[Engine]:
        """An engine for one test."""
        with self.make_engine() as engine:
            yield engine

    def test_values(self, engine: Engine) -> None:
        assert engine.submit(double, 4).result(WAIT) == 8
        assert engine.submit(lambda x, *, y: (x, y), 1, y=2).result(WAIT) == (1, 2)
        assert list(engine.map(pow, range(50), range(50))) == [n**n for n in range(50)]

    def test_a_function_may_have_arguments_called_fn_and_self(self, engine: Engine) -> None:
        assert engine.submit(lambda fn, self: fn + self, fn=1, self=2).result(WAIT) == 3
        plain = engine.configured()
        assert plain.submit(lambda resources: resources, resources=5).result(WAIT) == 5

    def test_async_functions(self, engine: Engine) -> None:
        async def add(x: int, y: int) -> Any:
            await asyncio.sleep(0.01)
            return x + y

        results: list[Any] = [engine.submit(add, n, 2).result(WAIT) for n in (1, 5)]
        assert results == [3, 7]

    @pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 5_000_000])
    def test_sizes_of_arguments_and_results(self, engine: Engine, size: int) -> None:
        data = os.urandom(size)
        assert engine.submit(double, data).result(WAIT) == data * 2
        assert engine.submit(double, bytearray(data)).result(WAIT) == data * 2

    def test_many_large_arguments_at_once(self, engine: Engine) -> None:
        blocks = [bytes([n]) * 3_000_000 for n in range(30)]
        assert [len(r) for r in engine.map(double, blocks)] == [6_000_000] * 30

    def test_exceptions_come_with_their_traceback(self, engine: Engine) -> None:
        def inner() -> None:
            raise KeyError("lost")

        future = engine.submit(inner)
        problem = future.exception(WAIT)
        assert isinstance(problem, KeyError)
        assert problem.args == ("lost",)
        lines = traceback.format_exception(type(problem), problem, problem.__traceback__)
        assert "in inner" in "".join(lines)
        assert future.state is TaskState.FAILED
        assert "KeyError" in engine.explain(future)

    def test_nonsense(self, engine: Engine) -> None:
        with pytest.raises(TypeError, match="something to call"):
            engine.submit("not callable")  # type: ignore[arg-type]
        with pytest.raises(InvalidTaskError, match="no resource 'core'; there are: ranks, cores"):
            engine.submit(double, 1, resources={"core": 1})
        with pytest.raises(InvalidTaskError, match="can never run here: it needs 3 cores"):
            engine.submit(double, 1, resources={"cores": 3})

    def test_retries(self, engine: Engine, tmp_path: Path) -> None:
        def third_time(name: str) -> str:
            note(tmp_path / name, "x")
            if len((tmp_path / name).read_text()) < 6:
                raise ValueError(name)
            return "done"

        assert engine.configured(retries=2).submit(third_time, "a").result(WAIT) == "done"
        with pytest.raises(ValueError, match="b"):
            engine.configured(retries=1).submit(third_time, "b").result(WAIT)

    def test_cancel_what_waits(self, engine: Engine) -> None:
        self._needs_concurrency()
        blockers = [engine.submit(time.sleep, 0.3) for _ in range(2)]
        waiting = engine.submit(double, 1)
        states = [waiting.state]
        assert waiting.cancel()
        assert waiting.cancelled()
        assert [*states, waiting.state] == [TaskState.QUEUED, TaskState.CANCELED]
        with pytest.raises(CancelledError):
            waiting.result(WAIT)
        assert [b.result(WAIT) for b in blockers] == [None, None]
        assert not blockers[0].cancel()

    def test_time_limit(self, engine: Engine, tmp_path: Path) -> None:
        self._needs_concurrency()

        def stubborn() -> None:
            while True:
                try:
                    note(tmp_path / "pid", str(os.getpid()))
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
        until(lambda: not any(map(alive, numbers(tmp_path / "pid"))))
        assert limited.submit(double, 1).result(WAIT) == 2

    def test_what_takes_an_executor_takes_an_engine(self, engine: Engine) -> None:
        futures = [engine.submit(double, n) for n in range(100)]
        done, not_done = concurrent.futures.wait(futures, WAIT)
        assert (len(done), not_done) == (100, set())
        plain: Any = futures
        assert len(list(concurrent.futures.as_completed(plain))) == 100
        assert {each.result() for each in as_completed(plain)} == set(range(0, 200, 2))
        slow = engine.submit(time.sleep, 0.2)
        first = concurrent.futures.wait([slow, *futures], WAIT, concurrent.futures.FIRST_COMPLETED)
        assert slow not in first.done or not self.concurrent

        async def main() -> Any:
            loop = asyncio.get_running_loop()
            one = await loop.run_in_executor(engine, double, 5)
            return one, await engine.submit(double, 6)

        assert asyncio.run(main()) == (10, 12)

    def test_callbacks_and_times(self, engine: Engine) -> None:
        before = time.time()
        seen: list[Any] = []
        called = threading.Event()
        future = engine.submit(time.sleep, 0.05)
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

    def test_timeout_of_result(self, engine: Engine) -> None:
        self._needs_concurrency()
        future = engine.submit(time.sleep, 0.3)
        with pytest.raises(concurrent.futures.TimeoutError):
            future.result(0.01)
        assert future.result(WAIT) is None

    def test_resources_and_explain(self, engine: Engine) -> None:
        self._needs_concurrency()
        blockers = [engine.submit(time.sleep, 0.5) for _ in range(2)]
        waiting = engine.submit(double, 1, resources={"cores": 2})
        there = engine.resources()
        assert (there.waiting, there.running, there.free[0].cores) == (1, 2, ())
        assert "waits: it needs 2 cores; there is not enough of: cores" in engine.explain(waiting)
        assert " runs " in engine.explain(blockers[0])
        assert waiting.result(WAIT) == 2
        assert "has ended well" in engine.explain(waiting)
        assert engine.drain(WAIT)
        assert engine.resources().free == engine.resources().total

    def test_submitting_from_many_threads(self, engine: Engine) -> None:
        results: dict[int, list[int]] = {}

        def submit(n: int) -> None:
            futures = [engine.submit(double, n * 1000 + i) for i in range(500)]
            results[n] = [future.result(WAIT) for future in futures]

        threads = [threading.Thread(target=submit, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == {n: [2 * (n * 1000 + i) for i in range(500)] for n in range(8)}

    def test_shutdown_waits(self) -> None:
        engine = self.make_engine()
        futures = [engine.submit(time.sleep, 0.01) for _ in range(20)]
        engine.shutdown()
        assert all(future.done() for future in futures)
        with pytest.raises(EngineClosedError, match="shut down"):
            engine.submit(double, 1)
        engine.shutdown()

    def test_shutdown_without_waiting(self) -> None:
        self._needs_concurrency()
        engine = self.make_engine()
        futures = [engine.submit(time.sleep, 0.05) for _ in range(6)]
        engine.shutdown(wait=False)
        assert [future.result(WAIT) for future in futures] == [None] * 6

    def test_shutdown_that_cancels(self) -> None:
        self._needs_concurrency()
        engine = self.make_engine()
        running = [engine.submit(time.sleep, 0.2) for _ in range(2)]
        waiting = [engine.submit(time.sleep, 600) for _ in range(10)]
        engine.shutdown(cancel_futures=True)
        assert [future.result(WAIT) for future in running] == [None, None]
        assert all(future.cancelled() for future in waiting)

    def test_use_after_a_fork(self, engine: Engine) -> None:
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                engine.submit(double, 1)
            except EngineClosedError as problem:
                os.write(write, str(problem).encode())
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        os.close(write)
        with open(read) as file:
            assert "make one after the fork" in file.read()
        assert engine.submit(double, 1).result(WAIT) == 2

    def test_what_is_known_of_a_command(self, engine: Engine) -> None:
        before = time.time()
        result = run(engine, shell("echo out; echo err >&2; sleep 0.1"))
        assert (result.exit_code, result.signal, result.ok) == (0, None, True)
        assert (result.stdout, result.text, result.stderr) == (b"out\n", "out\n", b"err\n")
        assert (result.stdout_path, result.stderr_path) == (None, None)
        assert before <= result.started <= result.ended - 0.1
        assert result.ended <= time.time()
        assert 0 <= result.cpu_seconds < 5
        assert result.peak_memory > 0
        assert result.node == os.uname().nodename

    def test_resources_used(self, engine: Engine) -> None:
        text = "x = bytearray(100_000_000); sum(i for i in range(3_000_000))"
        result = run(engine, TaskSpec([sys.executable, "-c", text]))
        assert result.peak_memory > 100_000_000
        assert result.cpu_seconds > 0.05

    def test_no_shell_is_involved(self, engine: Engine) -> None:
        words = ["%s|", "a b", "$HOME", "*", "it's", '"', "\\", "new\nline", "é", ""]
        result = run(engine, TaskSpec(["printf", *words]))
        assert result.text == "|".join(words[1:]) + "|"

    def test_failures(self, engine: Engine) -> None:
        problem = failure(engine, shell("echo so it ends >&2; exit 3"))
        assert problem.result.exit_code == 3
        assert f"sh ({engine.id}." in str(problem)
        assert "exited with code 3; the end of its standard error: so it ends" in str(problem)
        killed = failure(engine, shell("kill -9 $$"))
        assert (killed.result.exit_code, killed.result.signal) == (None, 9)
        assert "was ended by signal 9" in str(killed)
        assert run(engine, shell("exit 3", check=False)).exit_code == 3

    @pytest.mark.parametrize(
        ("command", "code", "message"),
        [
            (["nosuchprogram"], 127, "cannot find the executable nosuchprogram in the PATH"),
            (["/nosuch/program"], 127, "cannot execute /nosuch/program: No such file"),
            (["/etc/passwd"], 126, "cannot execute /etc/passwd: Permission denied"),
        ],
    )
    def test_what_cannot_be_started(
        self, engine: Engine, command: list[str], code: int, message: str
    ) -> None:
        future = engine.launch(TaskSpec(command))
        with pytest.raises(TaskFailed, match=f"could not be started: {message}") as caught:
            future.result(WAIT)
        assert (caught.value.exit_code, caught.value.result) == (code, None)  # as a shell says it
        assert message in engine.explain(future)
        assert engine.resources().free == engine.resources().total

    def test_files_and_directory(self, engine: Engine, tmp_path: Path) -> None:
        (tmp_path / "in").write_text("some input")
        there = str(tmp_path)
        result = run(
            engine,
            shell(
                "cat; pwd; echo err >&2", directory=there, stdin="in", stdout="out", stderr="err"
            ),
        )
        assert (result.stdout, result.stdout_path) == (b"", "out")
        assert (tmp_path / "out").read_text() == f"some input{tmp_path}\n"
        assert (tmp_path / "err").read_text() == "err\n"
        run(
            engine, shell("echo 1; echo 2 >&2; echo 3", directory=there, stdout="all", stderr="all")
        )
        assert (tmp_path / "all").read_text() == "1\n2\n3\n"
        for fields, message in (
            ({"directory": "/nosuch"}, "cannot enter the directory /nosuch"),
            ({"stdin": "/nosuch"}, "cannot open stdin file /nosuch"),
            ({"stdout": "/nosuch/x"}, "cannot open stdout file /nosuch/x"),
        ):
            assert message in str(failure(engine, shell("true", **fields)))
        os.mkfifo(tmp_path / "fifo")
        assert "a FIFO" in str(failure(engine, shell("true", stdin=str(tmp_path / "fifo"))))

    def test_environment(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FROM_HERE", "1")
        assert run(engine, shell('echo "$FROM_HERE"')).text == "1\n"
        monkeypatch.setenv("FROM_HERE", "2")
        assert run(engine, shell('echo "$FROM_HERE"')).text == "2\n"
        given = {"FROM_HERE": "3", "ODD": 'it\'s "$x"\n\\'}
        assert run(engine, shell('printf %s "$FROM_HERE$ODD"', environment=given)).text == (
            "3" + given["ODD"]
        )
        bare = run(engine, TaskSpec(["/usr/bin/env"], inherit_environment=False)).text.split("\n")
        assert {line.partition("=")[0] for line in bare if line} == {
            "EXAWORKS_TASK_ID",
            "OMP_NUM_THREADS",
        }

    def test_before_and_after(self, engine: Engine, tmp_path: Path) -> None:
        spec = shell(
            'echo "$GREETING $1"; exit 3',
            "it's",
            before=["export GREETING=hello", "cd /"],
            after=["pwd", "false"],
            check=False,
        )
        result = run(engine, spec)
        assert (result.exit_code, result.text) == (3, "hello it's\n/\n")
        broken = run(engine, shell("echo never", before=["exit 5"], check=False))
        assert (broken.exit_code, broken.stdout) == (5, b"")
        broken = run(engine, shell("echo never", before=["false"], check=False))
        assert (broken.exit_code, broken.stdout) == (1, b"")

    def test_gpus_are_bound(self) -> None:
        show = shell(
            'echo "$CUDA_VISIBLE_DEVICES/$ROCR_VISIBLE_DEVICES/$ZE_AFFINITY_MASK"; sleep 0.1',
            gpus=1,
        )
        with self.make_engine(4, gpus=2) as engine:
            found = [future.result(WAIT).text for future in engine.launch_many([show] * 6)]
            assert set(found) == {"0/0/0\n", "1/1/1\n"} if self.concurrent else {"0/0/0\n"}
            half = TaskSpec(show.command, gpus=0.5)
            assert len({f.result(WAIT).text for f in engine.launch_many([half] * 2)}) == 1
            none = run(engine, TaskSpec(show.command))
            assert none.text == "//\n"

    def test_priorities(self) -> None:
        self._needs_concurrency()
        with self.make_engine(1) as engine:
            blocker = engine.launch(TaskSpec(["sleep", "0.3"]))
            low = engine.launch(TaskSpec(["true"], priority=-1))
            usual = engine.launch(TaskSpec(["true"]))
            high = engine.launch(TaskSpec(["true"], priority=5))
            results = [future.result(WAIT) for future in (blocker, high, usual, low)]
            assert [r.started for r in results] == sorted(r.started for r in results)

    def test_memory_limit(self, engine: Engine) -> None:
        text = "import time; x = bytearray(300_000_000); time.sleep(600)"
        greedy = TaskSpec(["sh", "-c", f"{sys.executable} -c '{text}'; true"], memory=100 << 20)
        with pytest.raises(OutOfMemory, match="has used more than 100 MiB, its limit"):
            engine.launch(greedy).result(WAIT)
        assert run(engine, shell("sleep 0.3", memory=100 << 20)).ok

    def test_ranks_without_mpi(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        assert run(engine, shell("echo x", ranks=2, launcher="multiple")).text == "x\nx\n"
        with pytest.raises(InvalidTaskError, match=r"launcher: .*nosuch"):
            engine.launch(shell("true", ranks=2, launcher="nosuch"))
        monkeypatch.setenv("PATH", "/nosuch")
        with pytest.raises(UnsupportedError, match="no mpirun in PATH"):
            engine.launch(shell("true", ranks=2))

    def test_cancel_of_commands(self, engine: Engine, tmp_path: Path) -> None:
        self._needs_concurrency()
        path = tmp_path / "pids"
        text = 'echo $$ >>"$1"; sleep 600 & echo $! >>"$1"; wait'
        running = engine.launch(shell(text, str(path)))
        waiting = engine.launch(shell("true", cores=2))
        until(lambda: len(numbers(path)) == 2)
        assert " runs " in engine.explain(running)
        assert "waits: it needs 2 cores" in engine.explain(waiting)
        assert running.cancel()
        assert running.state is TaskState.CANCELED
        until(lambda: not any(map(alive, numbers(path))))
        assert waiting.result(WAIT).ok
        sleepers = engine.launch_many([TaskSpec(["sleep", "600"])] * 2)
        behind = engine.launch(TaskSpec(["sleep", "600"]))
        assert behind.cancel()
        assert [sleeper.cancel() for sleeper in sleepers] == [True, True]
        assert run(engine, shell("true", cores=2)).ok

    def test_what_does_not_want_to_end(self, engine: Engine, tmp_path: Path) -> None:
        """It ignores SIGTERM, and has a process in a session of its own, which does so, too."""
        self._needs_concurrency()
        path = tmp_path / "pids"
        future = engine.launch(shell(STUBBORN, str(path), grace=0.2))
        until(lambda: len(numbers(path)) == 2)
        assert future.cancel()
        until(lambda: not any(map(alive, numbers(path))))
        path.unlink()
        limited = engine.launch(shell(STUBBORN, str(path), grace=0.2, time_limit=0.5))
        with pytest.raises(TaskTimeout, match=r"has run for 0.5 s, its limit, and was ended"):
            limited.result(WAIT)
        until(lambda: not any(map(alive, numbers(path))))
        assert engine.drain(WAIT)
        assert engine.resources().free == engine.resources().total

    def test_what_is_left_in_its_group_goes_with_it(self, engine: Engine, tmp_path: Path) -> None:
        path = tmp_path / "pids"
        run(engine, shell('sleep 600 & echo $! >>"$1"', str(path)))
        until(lambda: not alive(numbers(path)[0]))

    def test_retries_of_commands(self, engine: Engine, tmp_path: Path) -> None:
        path = tmp_path / "runs"
        text = 'echo x >>"$1"; [ $(wc -l <"$1") -ge 3 ]'
        seen: list[Event] = []
        unsubscribe = subscribe(seen.append)
        try:
            future = engine.launch(shell(text, str(path), retries=2))
            assert future.result(WAIT).ok
        finally:
            unsubscribe()
        states = [event.state for event in seen if event.id == future.id]
        assert states == ["QUEUED", "ACTIVE"] * 3 + ["COMPLETED"]
        path.unlink()
        assert failure(engine, shell(text, str(path), retries=1)).result.exit_code == 1

    def test_bad_specs_run_nothing(self, engine: Engine, tmp_path: Path) -> None:
        with pytest.raises(InvalidTaskError, match="never run here: it needs 7 cores"):
            engine.launch_many([shell(f"touch {tmp_path}/x"), shell("true", cores=7)])
        assert engine.drain(WAIT)
        assert not (tmp_path / "x").exists()

    def test_a_function_as_a_spec(self, engine: Engine) -> None:
        spec = TaskSpec(function=pow, args=(2, 10), name="power")
        assert engine.launch(spec).result(WAIT) == 1024

    def test_shutdown_waits_for_commands(self) -> None:
        engine = self.make_engine()
        futures = engine.launch_many([TaskSpec(["sleep", "0.05"])] * 5)
        engine.shutdown()
        assert all(future.done() and future.result().ok for future in futures)

    def test_nothing_waits_for_ever(self, engine: Engine) -> None:
        """Ten thousand tasks, of all kinds."""
        futures = [engine.submit(double, n) for n in range(10_000)]
        futures += engine.launch_many([TaskSpec(["true"])] * 20)
        assert engine.drain(WAIT)
        assert all(future.done() for future in futures)
        assert [future.result() for future in futures[:10_000]] == list(range(0, 20_000, 2))

    @pytest.mark.parametrize("kind", [ValueError, OSError, StopIteration, SystemExit])
    def test_exceptions_of_all_kinds(self, engine: Engine, kind: type[BaseException]) -> None:
        def fail() -> None:
            raise kind("so it is")

        problem = engine.submit(fail).exception(WAIT)
        assert type(problem) is kind
        assert problem.args == ("so it is",)
        assert engine.submit(double, 2).result(WAIT) == 4

    def test_results_of_all_kinds(self, engine: Engine) -> None:
        def same(value: Any) -> Any:
            return value

        values = [None, True, 1.5, 10**100, "é\n", b"\0\xff", [1, [2]], {"a": {3}}, range(5), int]
        assert [engine.submit(same, value).result(WAIT) for value in values] == values

    def test_cores_are_shared(self, engine: Engine, tmp_path: Path) -> None:
        """Functions and commands together never have more cores than there are."""
        log = tmp_path / "log"
        log.touch()
        count = 'echo + >>"$1"; sleep 0.02; echo - >>"$1"'

        def call(path: str) -> None:
            os.system(f"sh -c '{count}' sh {path}")

        futures: list[Any] = []
        for n in range(30):
            if n % 3:
                futures.append(engine.launch(shell(count, str(log), cores=1 + n % 2)))
            else:
                futures.append(engine.submit(call, str(log)))
        for future in futures:
            future.result(WAIT)
        running = most = 0
        for word in log.read_text().split():
            running += 1 if word == "+" else -1
            most = max(most, running)
        assert running == 0
        assert most <= 2

    def test_cancel_what_has_ended(self, engine: Engine) -> None:
        future = engine.submit(double, 2)
        assert future.result(WAIT) == 4
        assert not future.cancel()
        assert future.state is TaskState.COMPLETED
        assert not future.cancelled()

    def test_ids_and_names(self, engine: Engine) -> None:
        futures = [engine.submit(double, 1) for _ in range(10)]
        assert len({future.id for future in futures}) == 10
        assert all(future.result(WAIT) == 2 for future in futures)
        assert futures[0].id in repr(futures[0])

    def test_events_tell_of_each_state(self, engine: Engine) -> None:
        seen: list[Event] = []
        unsubscribe = subscribe(seen.append)
        try:
            good = engine.submit(double, 1)
            bad = engine.launch(TaskSpec(["false"]))
            assert good.result(WAIT) == 2
            assert bad.exception(WAIT) is not None
            until(lambda: len([e for e in seen if e.id in (good.id, bad.id)]) >= 6)
        finally:
            unsubscribe()
        states = [[e.state for e in seen if e.id == each.id] for each in (good, bad)]
        assert states == [["QUEUED", "ACTIVE", "COMPLETED"], ["QUEUED", "ACTIVE", "FAILED"]]
        assert {e.component for e in seen} == {"tasks"}

    def test_an_exception_that_cannot_be_unpickled(self, engine: Engine) -> None:
        self._needs_workers()

        def fail() -> None:
            raise Odd(1, 2)

        with pytest.raises(RemoteError, match="Odd: 1 and 2"):
            engine.submit(fail).result(WAIT)

    @pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit, MemoryError])
    def test_exceptions_that_end_programs_end_no_worker(
        self, engine: Engine, kind: type[BaseException]
    ) -> None:
        self._needs_workers()

        def fail() -> None:
            raise kind(3)

        before = {engine.submit(os.getpid).result(WAIT) for _ in range(20)}
        with pytest.raises(kind):
            engine.submit(fail).result(WAIT)
        assert {engine.submit(os.getpid).result(WAIT) for _ in range(20)} <= before

    def test_what_cannot_be_pickled_is_named(self, engine: Engine) -> None:
        self._needs_workers()
        lock = threading.Lock()
        with pytest.raises(
            SerializationError, match=r"args.*\['deep'\]\[1\] \(of type _thread.lock"
        ):
            engine.submit(double, {"deep": [1, lock]})
        with pytest.raises(SerializationError, match=r"the variable 'lock' that .*uses"):
            engine.submit(lambda: lock)
        with pytest.raises(SerializationError, match=r"the result of .*lock"):
            engine.submit(lambda: threading.Lock()).result(WAIT)
        assert engine.submit(double, 1).result(WAIT) == 2

    def test_what_cannot_be_loaded(self, engine: Engine) -> None:
        self._needs_workers()

        class Trap:
            def __reduce__(self) -> Any:
                return (int, ("no number",))

        with pytest.raises(ValueError, match="no number"):
            engine.submit(double, Trap()).result(WAIT)
        with pytest.raises(SerializationError, match=r"cannot be unpickled here.*no number"):
            engine.submit(lambda: Trap()).result(WAIT)

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
    def test_a_worker_that_dies_costs_its_own_task_only(self, engine: Engine, number: int) -> None:
        self._needs_workers()
        list(engine.map(double, range(1000)))  # so that calls are sent ahead
        futures = [engine.submit(double, n) for n in range(2000)]
        victim = engine.submit(die, number)
        futures += [engine.submit(double, n) for n in range(2000)]
        with pytest.raises(WorkerLost, match=signal.Signals(number).name) as lost:
            victim.result(WAIT)
        assert lost.value.signal == number
        assert [future.result(WAIT) for future in futures] == [n * 2 for n in range(2000)] * 2

    def test_a_worker_that_exits(self, engine: Engine) -> None:
        self._needs_workers()
        with pytest.raises(WorkerLost, match="exited with code 3") as lost:
            engine.submit(os._exit, 3).result(WAIT)
        assert (lost.value.exit_code, lost.value.signal) == (3, None)
        assert engine.submit(double, 2).result(WAIT) == 4

    def test_no_task_runs_twice_unless_it_may(self, engine: Engine, tmp_path: Path) -> None:
        self._needs_workers()

        def once(n: int) -> None:
            note(tmp_path / "ran", str(n))
            if n % 100 == 50:
                die(signal.SIGKILL)

        futures = [engine.submit(once, n) for n in range(1000)]
        lost = [n for n, future in enumerate(futures) if future.exception(WAIT) is not None]
        assert lost == list(range(50, 1000, 100))
        ran = (tmp_path / "ran").read_text().split()
        assert sorted(map(int, ran)) == list(range(1000))

    def test_restartable_tasks_run_again(self, engine: Engine, tmp_path: Path) -> None:
        self._needs_workers()

        def second_time(name: str) -> str:
            note(tmp_path / name, "x")
            if len((tmp_path / name).read_text()) < 4:
                die(signal.SIGKILL)
            return "done"

        assert engine.configured(restartable=True).submit(second_time, "a").result(WAIT) == "done"
        assert engine.configured(retries=1).submit(second_time, "b").result(WAIT) == "done"
        with pytest.raises(WorkerLost):
            engine.configured(restartable=True).submit(die, signal.SIGKILL).result(WAIT)

    def test_cancel_what_runs(self, engine: Engine, tmp_path: Path) -> None:
        self._needs_workers()

        def work() -> None:
            try:
                note(tmp_path / "pid", str(os.getpid()))
                time.sleep(600)
            except KeyboardInterrupt:
                note(tmp_path / "end", "interrupted")
                raise

        future = engine.submit(work)
        until(lambda: numbers(tmp_path / "pid"))
        assert future.cancel()
        assert future.cancelled()
        until((tmp_path / "end").exists)
        pid = int((tmp_path / "pid").read_text())
        # the worker stays: as soon as it has reported, it takes tasks again
        until(lambda: pid in set(engine.map(lambda _: os.getpid(), range(50))))

    def test_cancel_what_does_not_want_to_end(self, engine: Engine, tmp_path: Path) -> None:
        self._needs_workers()

        def work() -> None:
            while True:
                try:
                    note(tmp_path / "pid", str(os.getpid()))
                    time.sleep(600)
                except KeyboardInterrupt:
                    continue

        future = engine.submit(work)
        until(lambda: numbers(tmp_path / "pid"))
        assert future.cancel()
        pid = numbers(tmp_path / "pid")[0]
        until(lambda: not alive(pid))
        assert list(engine.map(double, range(10))) == list(range(0, 20, 2))
