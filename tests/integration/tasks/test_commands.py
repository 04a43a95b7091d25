"""Commands on the local engine, with real processes."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from task_helpers import WAIT, alive, numbers

from exaworks.tasks import (
    InvalidTaskError,
    LocalEngine,
    TaskFailed,
    TaskResult,
    TaskSpec,
    WorkerLost,
)
from exaworks.tasks.local import command_runner
from patience import until


@pytest.fixture
def engine() -> Iterator[LocalEngine]:
    with LocalEngine(2) as engine:
        yield engine


def shell(text: str, *words: str, **fields: object) -> TaskSpec:
    return TaskSpec(["sh", "-c", text, "sh", *words], **fields)  # type: ignore[arg-type]


def run(engine: LocalEngine, spec: TaskSpec) -> TaskResult:
    result = engine.launch(spec).result(WAIT)
    assert isinstance(result, TaskResult)
    return result


def failure(engine: LocalEngine, spec: TaskSpec) -> TaskFailed:
    problem = engine.launch(spec).exception(WAIT)
    assert isinstance(problem, TaskFailed), problem
    return problem


# Results


def test_much_output_goes_to_a_file(tmp_path: Path) -> None:
    with LocalEngine(1, capture=1000, output_folder=tmp_path) as engine:
        result = run(engine, shell("printf %1000d 7; printf %1001d 8 >&2"))
        assert (len(result.stdout), result.stdout_path) == (1000, None)
        assert len(result.stderr) == 1000
        assert result.stderr_path is not None
        assert Path(result.stderr_path).parent == tmp_path
        assert Path(result.stderr_path).stat().st_size == 1001
        big = run(engine, shell("head -c 1000000000 /dev/zero"))
        assert big.stdout_path is not None
        assert Path(big.stdout_path).stat().st_size == 1_000_000_000
        assert big.peak_memory < 100_000_000
        os.unlink(big.stdout_path)
    with pytest.raises(InvalidTaskError, match="no folder where you can write"):
        LocalEngine(1, output_folder="/nosuch")


# Resources


def test_each_command_has_the_output_that_is_its_own() -> None:
    texts = ["", "printf out", "printf err >&2", "printf '%70000d' 7", "printf out; printf err >&2"]
    with LocalEngine(2) as engine:
        wanted = [run(engine, shell(text)) for text in texts]
        for number, future in enumerate(engine.launch_many([shell(text) for text in texts * 40])):
            result, same = future.result(WAIT), wanted[number % len(texts)]
            assert (result.stdout, result.stderr) == (same.stdout, same.stderr)
            for path in filter(None, (result.stdout_path, result.stderr_path)):
                os.unlink(path)
    assert [(len(each.stdout), each.stderr) for each in wanted] == [
        (0, b""), (3, b""), (0, b"err"), (1 << 16, b""), (3, b"err")
    ]  # fmt: skip


def test_what_has_forked_away_prints_to_nobody_else(tmp_path: Path) -> None:
    """Its file is not given to another command, as long as it may have it open."""
    go, begun = tmp_path / "go", tmp_path / "begun"
    go.touch()
    with LocalEngine(1) as engine:
        loop = "while [ -e $1 ]; do echo late; touch $2; sleep 0.005; done"
        text = 'setsid sh -c "$3" sh "$1" "$2" & while ! [ -e "$2" ]; do sleep 0.01; done'
        assert b"late" in run(engine, shell(text, str(go), str(begun), loop)).stdout
        for result in [future.result(WAIT) for future in engine.launch_many([shell("")] * 300)]:
            assert (result.stdout, result.stderr) == (b"", b"")
        go.unlink()


@pytest.mark.parametrize(
    "change",
    [
        "fcntl.fcntl(1, fcntl.F_SETFL, os.O_APPEND)",
        "os.fchmod(1, 0o444)",
        "os.lseek(1, 100, 0)",
        "os.ftruncate(1, 100)",
        "os.link('/proc/self/fd/1', sys.argv[1], src_dir_fd=1, follow_symlinks=True)",
    ],
)
def test_what_a_command_does_to_its_output_is_nothing_to_the_next(
    tmp_path: Path, change: str
) -> None:
    show = "import fcntl, os, sys; print(fcntl.fcntl(1, 3), os.lseek(1, 0, 1), *os.fstat(1)[:4:3])"
    with LocalEngine(1, output_folder=tmp_path) as engine:
        spec = TaskSpec([sys.executable, "-c", show])
        before = run(engine, spec).stdout
        script = f"import fcntl, os, sys; {change}"
        engine.launch(TaskSpec([sys.executable, "-c", script, str(tmp_path / "link")])).result(WAIT)
        assert run(engine, spec).stdout == before != b""


def test_binding_and_accounting() -> None:
    show = "import os; print(*sorted(os.sched_getaffinity(0)), os.environ['OMP_NUM_THREADS'])"
    with LocalEngine(2) as engine:
        cores = engine.resources().total[0].cores
        one = [engine.launch(TaskSpec([sys.executable, "-c", show])) for _ in range(6)]
        shown = {future.result(WAIT).text for future in one}
        assert shown == {f"{core} 1\n" for core in cores}
        both = run(engine, TaskSpec([sys.executable, "-c", show], cores=2))
        assert both.text == f"{cores[0]} {cores[1]} 2\n"


def test_never_more_than_there_is(engine: LocalEngine, tmp_path: Path) -> None:
    """Commands and functions share the cores."""
    count = 'echo + >>"$1"; sleep 0.02; echo - >>"$1"'
    log = tmp_path / "log"
    log.touch()

    def call() -> None:
        subprocess.run(["sh", "-c", count, "sh", str(log)], check=True)

    futures = [
        engine.launch(shell(count, str(log), cores=1 + n % 2)) if n % 3 else engine.submit(call)
        for n in range(60)
    ]
    for future in futures:
        future.result(WAIT)
    running = most = 0
    for word in log.read_text().split():
        running += 1 if word == "+" else -1
        most = max(most, running)
    assert (running, most) == (0, 2)


@pytest.mark.mpi
@pytest.mark.skipif(shutil.which("mpirun") is None, reason="there is no mpirun")
def test_mpi(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"):
        monkeypatch.setenv(name, "1")
    show = 'echo "rank ${OMPI_COMM_WORLD_RANK:-$PMI_RANK} of ${OMPI_COMM_WORLD_SIZE:-$PMI_SIZE}"'
    result = run(engine, shell(show, ranks=2))
    assert sorted(result.text.splitlines()) == ["rank 0 of 2", "rank 1 of 2"]
    with pytest.raises(InvalidTaskError, match="3 ranks of 1 core"):
        engine.launch(shell(show, ranks=3))


# Ending


STUBBORN = """
trap '' TERM
echo $$ >>"$1"
setsid sh -c 'trap "" TERM; echo $$ >>"$1"; while :; do sleep 1; done' sh "$1" &
while :; do sleep 1; done
"""


def test_what_has_forked_away_goes_with_the_engine(tmp_path: Path) -> None:
    path = tmp_path / "pids"
    away = shell('setsid sh -c "echo \\$\\$ >>$1; exec sleep 600" & sleep 0.2', str(path))
    with LocalEngine(1) as engine:
        begun = time.monotonic()
        run(engine, away)
        assert time.monotonic() - begun < 60
        until(lambda: len(numbers(path)) == 1)
    assert not alive(numbers(path)[0])


@pytest.mark.parametrize("restartable", [False, True])
def test_the_process_that_starts_commands_is_killed(
    engine: LocalEngine, tmp_path: Path, restartable: bool
) -> None:
    path = tmp_path / "pids"
    text = 'echo $$ >>"$1"; [ $(wc -l <"$1") -ge 2 ] || sleep 600'
    future = engine.launch(shell(text, str(path), restartable=restartable))
    until(lambda: len(numbers(path)) == 1)
    (commander,) = engine._commands._commanders.values()
    commander.kill()
    if restartable:
        assert future.result(WAIT).ok
    else:
        with pytest.raises(WorkerLost, match="SIGKILL"):
            future.result(WAIT)
    until(lambda: not any(map(alive, numbers(path))))
    assert run(engine, shell("true")).ok


def test_the_nursery_is_killed(engine: LocalEngine, tmp_path: Path) -> None:
    path = tmp_path / "pids"
    future = engine.launch(shell('echo $$ >>"$1"; sleep 600', str(path)))
    until(lambda: len(numbers(path)) == 1)
    os.kill(engine.nursery.pid, signal.SIGKILL)
    with pytest.raises(WorkerLost, match="its parent was killed"):
        future.result(WAIT)
    until(lambda: not alive(numbers(path)[0]))
    assert run(engine, shell("true")).ok


PARENT = """
import sys, time
from exaworks.tasks import LocalEngine, TaskSpec
engine = LocalEngine(2)
text = 'trap "" TERM; echo $$ >>"$1"; setsid sleep 600 & echo $! >>"$1"; sleep 600'
for _ in range(2):
    engine.launch(TaskSpec(["sh", "-c", text, "sh", sys.argv[1]]))
time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_is_left_of_a_program_that_was_killed(tmp_path: Path, number: int) -> None:
    path = tmp_path / "pids"
    program = subprocess.Popen([sys.executable, "-c", PARENT, str(path)])
    until(lambda: len(numbers(path)) == 4)
    program.send_signal(number)
    program.wait()
    until(lambda: not any(map(alive, numbers(path))))


def test_a_full_disk(tmp_path: Path) -> None:
    """What a command prints has no room: it gets the error, and the next ones run."""
    small = tmp_path / "small"
    small.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(small)], capture_output=True
    )
    if done.returncode:
        pytest.skip(f"cannot mount a small file system: {done.stderr.decode()}")
    try:
        with LocalEngine(1, output_folder=small) as engine:
            full = run(engine, shell("dd if=/dev/zero bs=1k count=100; true", check=False))
            assert len(full.stdout) <= 64 << 10
            problem = failure(engine, shell("exec dd if=/dev/zero bs=1k count=100"))
            assert problem.result.exit_code == 1
            assert run(engine, shell("echo fine")).text == "fine\n"
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_no_room_for_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system has no room for more, commands wait until it has."""
    monkeypatch.setattr(command_runner, "MOST_COMMANDERS", 1)
    with LocalEngine(8) as engine:
        run(engine, shell("true"))
        (commander,) = engine._commands._commanders.values()
        assert commander.pid is not None
        used = len(os.listdir(f"/proc/{commander.pid}/fd"))
        few = used + 5  # for two commands at a time
        resource.prlimit(commander.pid, resource.RLIMIT_NOFILE, (few, few))
        futures = engine.launch_many([shell("sleep 0.1")] * 16)
        assert all(future.result(WAIT).ok for future in futures)


# Commands that are sent ahead


def test_a_long_command_holds_nobody_up(engine: LocalEngine) -> None:
    run_each = engine.launch_many([shell("true")] * 50)
    assert all(future.result(WAIT).ok for future in run_each)
    long = engine.launch(shell("sleep 600"))
    others = engine.launch_many([shell("true")] * 100)
    assert all(future.result(WAIT).ok for future in others)
    assert not long.done()
    assert long.cancel()


@pytest.mark.parametrize("what", ["commands", "functions"])
def test_nobody_waits_behind_a_long_task_because_of_a_large_one(
    engine: LocalEngine, what: str
) -> None:
    """Two cores: a long task, a task that needs both, and short ones that one core is free for."""

    def work(seconds: float) -> None:
        time.sleep(seconds)

    def launch(seconds: float) -> Any:
        if what == "functions":
            return engine.submit(work, seconds)
        return engine.launch(shell(f"sleep {seconds}"))

    for future in [launch(0) for _ in range(50)]:
        future.result(WAIT)
    for seconds in (0.2, 0.4):
        engine.launch(TaskSpec(["sleep", str(seconds)]))
    long, short = launch(600), [launch(0) for _ in range(8)]  # some are sent ahead behind it
    large = engine.launch(shell("true", cores=2))
    for future in short:
        future.result(WAIT)
    assert not large.done()
    assert long.cancel()
    assert large.result(WAIT).ok


def test_cancel_among_commands_that_were_sent_ahead(engine: LocalEngine, tmp_path: Path) -> None:
    text = 'echo "$1" >>"$2"; [ "$1" != 0 ] || sleep 0.3'
    path = tmp_path / "ran"
    engine.launch_many([shell("true")] * 50)
    assert engine.drain(WAIT)
    futures = engine.launch_many([shell(text, str(n), str(path)) for n in range(200)])
    cancelled = {n for n in range(1, 200, 3) if futures[n].cancel()}
    assert cancelled
    for n in set(range(200)) - cancelled:
        assert futures[n].result(WAIT).ok
    assert engine.drain(WAIT)
    until(lambda: engine.resources().free == engine.resources().total)
    ran = numbers(path)
    assert len(ran) == len(set(ran))
    assert set(range(200)) - cancelled <= set(ran)


def test_no_command_runs_twice(engine: LocalEngine, tmp_path: Path) -> None:
    """The processes that start commands are killed again and again."""
    path = tmp_path / "ran"
    stop = threading.Event()

    def killer() -> None:
        while not stop.wait(0.05):
            for commander in list(engine._commands._commanders.values())[:1]:
                commander.kill()

    thread = threading.Thread(target=killer)
    thread.start()
    try:
        text = 'echo "$1" >>"$2"'
        futures = engine.launch_many([shell(text, str(n), str(path)) for n in range(1000)])
        problems = [future.exception(WAIT) for future in futures]
    finally:
        stop.set()
        thread.join()
    assert all(problem is None or isinstance(problem, WorkerLost) for problem in problems)
    good = {n for n, problem in enumerate(problems) if problem is None}
    ran = numbers(path)
    assert len(ran) == len(set(ran))
    assert good <= set(ran)
    assert 700 < len(good) < 1000
    until(lambda: engine.resources().free == engine.resources().total)


# The whole


def test_many(engine: LocalEngine) -> None:
    specs = [TaskSpec(["echo", str(n)]) for n in range(3000)]
    futures = engine.launch_many(specs)
    assert [int(future.result(WAIT).text) for future in futures] == list(range(3000))


def test_shutdown_leaves_no_descriptors() -> None:
    def use() -> None:
        with LocalEngine(2) as engine:
            engine.launch_many([TaskSpec(["echo", "x"])] * 20)

    use()
    threads = threading.active_count()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        use()
    until(lambda: threading.active_count() <= threads)
    until(lambda: len(os.listdir("/proc/self/fd")) <= before)


def test_open_files_of_the_program_are_not_inherited(engine: LocalEngine, tmp_path: Path) -> None:
    with open(tmp_path / "x", "w") as file:
        os.set_inheritable(file.fileno(), True)
        shown = run(engine, TaskSpec(["ls", "/proc/self/fd"])).text.split()
    assert sorted(shown) == ["0", "1", "2", "3"]  # 3 is the folder that ls reads


def test_limits_of_the_program_hold(engine: LocalEngine) -> None:
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert int(run(engine, shell("ulimit -n")).text) == files
