"""Flows on real workers: the result is that of the program run in its order."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exaworks.flow import (
    DependencyError,
    Flow,
    FlowFuture,
    Retry,
    bash_app,
    join_app,
    mpi_app,
    python_app,
)
from exaworks.tasks import (
    Allocation,
    InvalidTaskError,
    LocalEngine,
    TaskFailed,
    TaskState,
    TaskTimeout,
    WorkerLost,
)
from patience import until

WAIT = 120


@pytest.fixture(scope="module")
def engine() -> Iterator[LocalEngine]:
    with LocalEngine(2) as engine:
        yield engine


@pytest.fixture
def flow(engine: LocalEngine) -> Iterator[Flow]:
    with Flow(engine) as flow:
        yield flow


def note(path: Path, text: object) -> None:
    with open(path, "a") as file:
        file.write(f"{text}\n")


def notes(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


# Random programs


@st.composite
def programs(draw: st.DrawFn) -> list[tuple[str, list[int]]]:
    """What each call does, and which earlier ones it needs."""
    size = draw(st.integers(1, 25))
    what = st.sampled_from(["add"] * 12 + ["fail", "die", "again"])
    return [
        (
            draw(what),
            draw(st.lists(st.integers(0, number - 1), max_size=3, unique=True)) if number else [],
        )
        for number in range(size)
    ]


def work(folder: str, number: int, what: str, inputs: list[int]) -> int:
    ran = Path(folder) / str(number)
    note(ran, "x")
    if what == "fail":
        raise ValueError(number)
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "again" and len(notes(ran)) == 1:
        raise OSError("the first time")
    return number + sum(inputs)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(programs())
def test_a_random_program_has_the_result_of_its_order(
    engine: LocalEngine, tmp_path_factory: pytest.TempPathFactory, program: Any
) -> None:
    folder = tmp_path_factory.mktemp("ran")
    wanted: list[int | None] = []  # None: it fails, or is not run
    for number, (what, needs) in enumerate(program):
        inputs = [wanted[need] for need in needs]
        well = what not in ("fail", "die") and None not in inputs
        wanted.append(number + sum(filter(None, inputs)) if well else None)
    with Flow(engine) as flow:
        futures: list[FlowFuture[int]] = []
        app = python_app(flow=flow, retries=1)(work)
        once = app.options(retries=0)
        for number, (what, needs) in enumerate(program):
            call = app if what == "again" else once
            futures.append(call(str(folder), number, what, [futures[need] for need in needs]))
        for number, (future, value) in enumerate(zip(futures, wanted, strict=True)):
            what, needs = program[number]
            problem = future.exception(WAIT)
            ran = len(notes(folder / str(number)))
            if value is not None:
                assert future.result(WAIT) == value
                assert ran == (2 if what == "again" else 1)
                continue
            if any(wanted[need] is None for need in needs):
                assert isinstance(problem, DependencyError)
                assert program[int(str(problem.failed.id).rsplit(".", 1)[1]) - 1][0] in (
                    "fail",
                    "die",
                )
                assert ran == 0
            else:
                assert isinstance(problem, ValueError if what == "fail" else WorkerLost)
                assert ran == 1


def add(*numbers: int) -> int:
    return sum(numbers)


def test_many_calls(flow: Flow) -> None:
    """A stencil: each needs three of the row before."""
    row = flow.map(add, range(100))
    for _ in range(100):
        row = [flow.call(add, *row[max(0, i - 1) : i + 2]) for i in range(100)]
    values = list(range(100))
    for _ in range(100):
        values = [sum(values[max(0, i - 1) : i + 2]) for i in range(100)]
    assert [each.result(WAIT) for each in row] == values


# Commands


@bash_app
def greet(name: str, stdout: str | None = None) -> str:
    return f"echo hello {name}; echo to $0 >&2"


def test_commands(flow: Flow, tmp_path: Path) -> None:
    result = greet("you").result(WAIT)
    assert (result.text, result.exit_code) == ("hello you\n", 0)
    greet("file", stdout=str(tmp_path / "out")).result(WAIT)
    assert (tmp_path / "out").read_text() == "hello file\n"
    words = bash_app(lambda *words: ["printf", "%s|", *words])
    assert words(greet("you").attribute("text"), "!").result(WAIT).text == "hello you\n|!|"
    assert words("a b", "$HOME", "'").result(WAIT).text == "a b|$HOME|'|"
    elsewhere = bash_app(directory=str(tmp_path), environment={"A": "5"})(lambda: "pwd; echo $A")
    assert elsewhere().result(WAIT).text.split() == [str(tmp_path.resolve()), "5"]


def test_a_command_that_fails(flow: Flow) -> None:
    fails = bash_app(lambda: "echo so it went >&2; exit 3")
    with pytest.raises(TaskFailed, match=r"exited with code 3.* so it went") as failed:
        fails().result(WAIT)
    assert failed.value.exit_code == 3
    dependent = flow.call(len, fails())
    with pytest.raises(DependencyError, match=r"failed: TaskFailed: .* so it went"):
        dependent.result(WAIT)
    with pytest.raises(InvalidTaskError, match=r"must return a line of shell, .*, not 5"):
        bash_app(lambda: 5)().result(WAIT)


@pytest.mark.mpi
@pytest.mark.skipif(shutil.which("mpirun") is None, reason="there is no mpirun")
def test_ranks(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMPI_ALLOW_RUN_AS_ROOT", "1")
    monkeypatch.setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")

    @mpi_app(ranks=2)
    def where(word: str) -> list[str]:
        return ["sh", "-c", f"echo {word} $OMPI_COMM_WORLD_RANK"]

    text = where(flow.call(str.upper, "rank")).result(WAIT).text
    assert sorted(text.splitlines()) == ["RANK 0", "RANK 1"]


# Limits


def test_time_limits_end_the_work(flow: Flow, tmp_path: Path) -> None:
    def loop(path: str) -> None:
        note(Path(path), os.getpid())
        while True:
            time.sleep(0.01)

    limited = python_app(time_limit=0.5)(loop)
    with pytest.raises(TaskTimeout):
        limited(str(tmp_path / "function")).result(WAIT)
    line = "echo $$ >$0; sleep 600"
    command = bash_app(time_limit=0.5)(lambda path: ["sh", "-c", line, path])
    with pytest.raises(TaskTimeout):
        command(str(tmp_path / "command")).result(WAIT)
    pid = int((tmp_path / "command").read_text())
    until(lambda: not Path(f"/proc/{pid}").exists())


def test_cancelling_ends_the_work(flow: Flow, tmp_path: Path) -> None:
    sleep = bash_app(lambda path: ["sh", "-c", "echo $$ >$0; sleep 600", path])
    first = sleep(str(tmp_path / "pid"))
    second = flow.call(len, first)
    until(lambda: notes(tmp_path / "pid"))
    assert first.state is TaskState.ACTIVE
    assert "runs as a child of process" in first.explain()
    assert f"waits for {first.step}" in second.explain()
    assert first.cancel()
    with pytest.raises(CancelledError):
        second.result(WAIT)
    pid = int((tmp_path / "pid").read_text())
    until(lambda: not Path(f"/proc/{pid}").exists())


def test_a_worker_that_dies_is_tried_again(flow: Flow, tmp_path: Path) -> None:
    def mostly(path: str) -> str:
        note(Path(path), "x")
        if len(notes(Path(path))) < 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return "done"

    app = python_app(
        retries=Retry(3, delay=0.05, when=lambda each, _: isinstance(each, WorkerLost))
    )
    assert app(mostly)(str(tmp_path / "ran")).result(WAIT) == "done"


# Apps that call apps


@python_app
def plus(a: int, b: int) -> int:
    return a + b


@join_app
def fibonacci(n: int) -> Any:
    return plus(n, 0) if n < 2 else plus(fibonacci(n - 1), fibonacci(n - 2))


@python_app
def in_a_worker(n: int) -> int:
    return plus(n, 1) * 2  # type: ignore[operator]


def test_graphs_that_grow(flow: Flow) -> None:
    assert fibonacci(10).result(WAIT) == 55
    assert in_a_worker(4).result(WAIT) == 10


# Other engines


@pytest.mark.parametrize("other", ["allocation", "two at once"])
def test_the_same_program_elsewhere(other: str) -> None:
    if other == "allocation":
        with Allocation(cores_per_node=2) as allocation, Flow(allocation):
            assert fibonacci(7).result(WAIT) == 13
            assert greet("you").result(WAIT).text == "hello you\n"
        return
    with (
        LocalEngine(1) as one,
        Allocation(cores_per_node=1) as two,
        Flow(engines={"one": one, "two": two}),
    ):
        far = plus.options(engine="two")
        last = plus(0, 0)
        for _ in range(20):
            last = plus(far(last, 1), 1)
        assert last.result(WAIT) == 40


# Ends

PROGRAM = """
import random, sys, time
from pathlib import Path
from exaworks.flow import Flow, python_app

folder = Path(sys.argv[1])

def note(name, text):
    with open(folder / name, "a", buffering=1) as file:
        file.write(f"{text}\\n")

@python_app(cache=True)
def step(folder, number, *inputs):
    time.sleep(0.002)
    with open(f"{folder}/ran", "a") as file:
        file.write(f"{number}\\n")
    return number + sum(inputs)

with Flow(store=folder / "results.db") as flow:
    calls = []
    rng = random.Random(5)
    for number in range(1500):
        needs = rng.sample(calls, min(len(calls), 3))
        call = step(str(folder), number, *needs)
        call.add_done_callback(lambda call, n=number: call.exception() or note("seen", n))
        calls.append(call)
    flow.wait()
note("result", sum(call.result() for call in calls))
"""


def result_of_the_program() -> int:
    values: list[int] = []
    rng = random.Random(5)
    for number in range(1500):
        values.append(number + sum(rng.sample(values, min(len(values), 3))))
    return sum(values)


def come_to(count: int, path: Path, program: subprocess.Popen[bytes]) -> None:
    """Wait until there are so many notes, or the program has ended."""
    until(lambda: len(notes(path)) >= count or program.poll() is not None)


def test_killed_a_hundred_times_and_run_again(tmp_path: Path) -> None:
    """The result is the same, and no call is run again that the program had seen the end of."""
    rng = random.Random()
    kills = 0
    while not (tmp_path / "result").exists():
        seen, ran = set(notes(tmp_path / "seen")), notes(tmp_path / "ran")
        before = Counter(ran)
        with subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path)]) as program:
            if kills < 100:  # when it has begun, or has come a little further
                more = rng.randrange(5)
                come_to(len(ran) + more, tmp_path / "ran", program)
                time.sleep(rng.uniform(0, 0.01 if more else 0.3))
                kills += program.poll() is None
                program.kill()
        after = Counter(notes(tmp_path / "ran"))
        assert not [number for number in seen if after[number] != before[number]]
    assert kills == 100
    assert (tmp_path / "result").read_text().split() == [str(result_of_the_program())]
    assert set(notes(tmp_path / "ran")) == {str(number) for number in range(1500)}
    assert not list(tmp_path.glob("results.db.damaged*"))


INTERRUPTED = """
import os, signal, sys, threading, time
from exaworks.flow import Flow, bash_app
line = "echo $$ >>" + sys.argv[1] + "; sleep 600"
with Flow(cache=True, store=sys.argv[1] + ".db") as flow:
    calls = [bash_app(lambda n: line)(n) for n in range(10)]
    print("ready", flush=True)
    flow.wait()
"""


def test_ctrl_c_ends_it_and_tells_how_to_go_on(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(pids)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        until(lambda: notes(pids))
        program.send_signal(signal.SIGINT)
        _, err = program.communicate(timeout=WAIT)
    assert program.returncode not in (0, None)
    assert "10 calls that had not ended were cancelled" in err
    assert "KeyboardInterrupt" in err
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in notes(pids)))


def test_a_program_without_a_block_ends_by_itself(tmp_path: Path) -> None:
    text = (
        "from exaworks.flow import python_app\n"
        "@python_app\n"
        "def slow(n):\n"
        "    import time; time.sleep(0.3); open(n, 'w').close(); return n\n"
        f"slow({str(tmp_path / 'one')!r}); slow({str(tmp_path / 'two')!r})\n"
    )
    subprocess.run([sys.executable, "-c", text], check=True, timeout=WAIT)
    assert (tmp_path / "one").exists()
    assert (tmp_path / "two").exists()
