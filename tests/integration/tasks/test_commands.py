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

import pytest
from task_helpers import WAIT, alive, numbers

from exaworks.core.events import Event, subscribe
from exaworks.tasks import (
    InvalidTaskError,
    LocalEngine,
    OutOfMemory,
    TaskFailed,
    TaskResult,
    TaskSpec,
    TaskState,
    TaskTimeout,
    UnsupportedError,
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


def test_what_is_known_of_a_command(engine: LocalEngine) -> None:
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


def test_resources_used(engine: LocalEngine) -> None:
    text = "x = bytearray(100_000_000); sum(i for i in range(3_000_000))"
    result = run(engine, TaskSpec([sys.executable, "-c", text]))
    assert result.peak_memory > 100_000_000
    assert result.cpu_seconds > 0.05


def test_no_shell_is_involved(engine: LocalEngine) -> None:
    words = ["%s|", "a b", "$HOME", "*", "it's", '"', "\\", "new\nline", "é", ""]
    result = run(engine, TaskSpec(["printf", *words]))
    assert result.text == "|".join(words[1:]) + "|"


def test_failures(engine: LocalEngine) -> None:
    problem = failure(engine, shell("echo so it ends >&2; exit 3"))
    assert problem.result.exit_code == 3
    assert "sh (local-" in str(problem)
    assert "exited with code 3; the end of its standard error: so it ends" in str(problem)
    killed = failure(engine, shell("kill -9 $$"))
    assert (killed.result.exit_code, killed.result.signal) == (None, 9)
    assert "was ended by signal 9" in str(killed)
    assert run(engine, shell("exit 3", check=False)).exit_code == 3


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["nosuchprogram"], "cannot find the executable nosuchprogram in the PATH"),
        (["/nosuch/program"], "cannot execute /nosuch/program: No such file"),
        (["/etc/passwd"], "cannot execute /etc/passwd: Permission denied"),
    ],
)
def test_what_cannot_be_started(engine: LocalEngine, command: list[str], message: str) -> None:
    future = engine.launch(TaskSpec(command))
    with pytest.raises(TaskFailed, match=f"could not be started: {message}"):
        future.result(WAIT)
    assert message in engine.explain(future)
    assert engine.resources().free == engine.resources().total


def test_files_and_directory(engine: LocalEngine, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("some input")
    there = str(tmp_path)
    result = run(
        engine,
        shell("cat; pwd; echo err >&2", directory=there, stdin="in", stdout="out", stderr="err"),
    )
    assert (result.stdout, result.stdout_path) == (b"", "out")
    assert (tmp_path / "out").read_text() == f"some input{tmp_path}\n"
    assert (tmp_path / "err").read_text() == "err\n"
    run(engine, shell("echo 1; echo 2 >&2; echo 3", directory=there, stdout="all", stderr="all"))
    assert (tmp_path / "all").read_text() == "1\n2\n3\n"
    for fields, message in (
        ({"directory": "/nosuch"}, "cannot enter the directory /nosuch"),
        ({"stdin": "/nosuch"}, "cannot open stdin file /nosuch"),
        ({"stdout": "/nosuch/x"}, "cannot open stdout file /nosuch/x"),
    ):
        assert message in str(failure(engine, shell("true", **fields)))
    os.mkfifo(tmp_path / "fifo")
    assert "a FIFO" in str(failure(engine, shell("true", stdin=str(tmp_path / "fifo"))))


def test_environment(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_before_and_after(engine: LocalEngine, tmp_path: Path) -> None:
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


# Resources


def test_binding_and_accounting() -> None:
    show = "import os; print(*sorted(os.sched_getaffinity(0)), os.environ['OMP_NUM_THREADS'])"
    with LocalEngine(2) as engine:
        cores = engine.resources().total[0].cores
        one = [engine.launch(TaskSpec([sys.executable, "-c", show])) for _ in range(6)]
        shown = {future.result(WAIT).text for future in one}
        assert shown == {f"{core} 1\n" for core in cores}
        both = run(engine, TaskSpec([sys.executable, "-c", show], cores=2))
        assert both.text == f"{cores[0]} {cores[1]} 2\n"


def test_gpus_are_bound() -> None:
    show = shell(
        'echo "$CUDA_VISIBLE_DEVICES/$ROCR_VISIBLE_DEVICES/$ZE_AFFINITY_MASK"; sleep 0.1', gpus=1
    )
    with LocalEngine(4, gpus=["3", "GPU-5"]) as engine:
        found = [future.result(WAIT).text for future in engine.launch_many([show] * 6)]
        assert set(found) == {"3/3/3\n", "GPU-5/GPU-5/GPU-5\n"}
        half = TaskSpec(show.command, gpus=0.5)
        assert len({f.result(WAIT).text for f in engine.launch_many([half] * 2)}) == 1
        none = run(engine, TaskSpec(show.command))
        assert none.text == "//\n"


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


def test_priorities() -> None:
    with LocalEngine(1) as engine:
        blocker = engine.launch(TaskSpec(["sleep", "0.3"]))
        low = engine.launch(TaskSpec(["true"], priority=-1))
        usual = engine.launch(TaskSpec(["true"]))
        high = engine.launch(TaskSpec(["true"], priority=5))
        results = [future.result(WAIT) for future in (blocker, high, usual, low)]
        assert [r.started for r in results] == sorted(r.started for r in results)


def test_memory_limit(engine: LocalEngine) -> None:
    text = "import time; x = bytearray(300_000_000); time.sleep(600)"
    greedy = TaskSpec(["sh", "-c", f"{sys.executable} -c '{text}'; true"], memory=100 << 20)
    with pytest.raises(OutOfMemory, match="has used more than 100 MiB, its limit"):
        engine.launch(greedy).result(WAIT)
    assert run(engine, shell("sleep 0.3", memory=100 << 20)).ok


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


def test_ranks_without_mpi(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(engine, shell("echo x", ranks=2, launcher="multiple")).text == "x\nx\n"
    with pytest.raises(InvalidTaskError, match=r"launcher: .*nosuch"):
        engine.launch(shell("true", ranks=2, launcher="nosuch"))
    monkeypatch.setenv("PATH", "/nosuch")
    with pytest.raises(UnsupportedError, match="no mpirun in PATH"):
        engine.launch(shell("true", ranks=2))


# Ending


def test_cancel(engine: LocalEngine, tmp_path: Path) -> None:
    path = tmp_path / "pids"
    text = 'echo $$ >>"$1"; sleep 600 & echo $! >>"$1"; wait'
    running = engine.launch(shell(text, str(path)))
    waiting = engine.launch(shell("true", cores=2))
    until(lambda: len(numbers(path)) == 2)
    assert "runs as a child of process" in engine.explain(running)
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


STUBBORN = """
trap '' TERM
echo $$ >>"$1"
setsid sh -c 'trap "" TERM; echo $$ >>"$1"; while :; do sleep 1; done' sh "$1" &
while :; do sleep 1; done
"""


def test_what_does_not_want_to_end(engine: LocalEngine, tmp_path: Path) -> None:
    """It ignores SIGTERM, and has a process in a session of its own, which does so, too."""
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


def test_what_is_left_in_its_group_goes_with_it(engine: LocalEngine, tmp_path: Path) -> None:
    path = tmp_path / "pids"
    run(engine, shell('sleep 600 & echo $! >>"$1"', str(path)))
    until(lambda: not alive(numbers(path)[0]))


def test_what_has_forked_away_goes_with_the_engine(tmp_path: Path) -> None:
    path = tmp_path / "pids"
    away = shell('setsid sh -c "echo \\$\\$ >>$1; exec sleep 600" & sleep 0.2', str(path))
    with LocalEngine(1) as engine:
        begun = time.monotonic()
        run(engine, away)
        assert time.monotonic() - begun < 60
        until(lambda: len(numbers(path)) == 1)
    assert not alive(numbers(path)[0])


def test_retries(engine: LocalEngine, tmp_path: Path) -> None:
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


# The whole


def test_many(engine: LocalEngine) -> None:
    specs = [TaskSpec(["echo", str(n)]) for n in range(3000)]
    futures = engine.launch_many(specs)
    assert [int(future.result(WAIT).text) for future in futures] == list(range(3000))


def test_bad_specs_run_nothing(engine: LocalEngine, tmp_path: Path) -> None:
    with pytest.raises(InvalidTaskError, match="never run here: it needs 7 cores"):
        engine.launch_many([shell(f"touch {tmp_path}/x"), shell("true", cores=7)])
    assert engine.drain(WAIT)
    assert not (tmp_path / "x").exists()


def test_a_function_as_a_spec(engine: LocalEngine) -> None:
    spec = TaskSpec(function=pow, args=(2, 10), name="power")
    assert engine.launch(spec).result(WAIT) == 1024


def test_shutdown_waits_for_commands() -> None:
    engine = LocalEngine(1)
    futures = engine.launch_many([TaskSpec(["sleep", "0.05"])] * 5)
    engine.shutdown()
    assert all(future.done() and future.result().ok for future in futures)


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
