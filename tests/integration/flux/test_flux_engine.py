"""The engine on Flux: the semantics of tasks, and ranks of tasks as jobs of a real instance."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from flux_instance import Instance

from exaworks.tasks import (
    Allocation,
    Engine,
    EngineFailed,
    InvalidTaskError,
    NodeLost,
    TaskFailed,
    TaskSpec,
    TaskTimeout,
    UnsupportedError,
)
from exaworks.tasks.conformance import EngineConformance, alive, numbers, run, shell, until
from exaworks.tasks.engines.flux import FluxEngine, FluxLaunch

pytestmark = pytest.mark.flux

WAIT = 60
HERE = "127.0.0.1"

WHERE = "echo $FLUX_TASK_RANK $(flux getattr rank)"
"""A rank tells its number, and that of its broker."""

STUBBORN = "trap '' TERM; echo $$ >>\"$1\"; while :; do sleep 0.1; done"

PROGRAM = """
import sys, time
from exaworks.tasks import TaskSpec
from exaworks.tasks.engines.flux import FluxEngine

engine = FluxEngine(address="127.0.0.1", cores_per_node=2)
engine.launch(TaskSpec(["sh", "-c", sys.argv[1], "sh", sys.argv[2]], ranks=2, nodes=2))
time.sleep(600)
"""


@pytest.fixture(autouse=True)
def _address(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLUX_URI", instance.uri)


def ready(engine: FluxEngine) -> FluxEngine:
    """An engine whose nodes are there."""
    assert engine.wait_ready(WAIT)
    return engine


@pytest.fixture
def both() -> Iterator[FluxEngine]:
    """An engine on both nodes, with two cores of each."""
    with ready(FluxEngine(address=HERE, cores_per_node=2)) as engine:
        yield engine


def places(text: str) -> dict[int, int]:
    """Which rank is on which broker."""
    words = [line.split() for line in text.splitlines()]
    found = {int(rank): int(broker) for rank, broker in words}
    assert len(found) == len(words)
    return found


def active_jobs(instance: Instance) -> int:
    """How many jobs of an instance have not ended."""
    return len(instance.flux("jobs", "--no-header", "--format={id}").split())


def agents() -> dict[int, int]:
    """The process of the agent of each broker, by what they were told."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            words = path.with_name("cmdline").read_bytes().split(b"\0")
            variables = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if any(b"exaworks.tasks.cluster.agent" in word for word in words) and words[1] == b"-c":
            for each in variables:
                if each.startswith(b"EXAWORKS_FLUX_NODE="):
                    found[int(each.rpartition(b"rank ")[2].rstrip(b")"))] = int(path.parent.name)
    return found


class TestFluxEngine(EngineConformance):
    def make_engine(self, cores: int = 2, gpus: int = 0) -> Engine:
        return ready(FluxEngine(1, address=HERE, cores_per_node=cores, gpus_per_node=gpus))

    def test_ranks_without_mpi(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        """Flux starts ranks itself, whatever there is in PATH."""
        assert run(engine, shell("echo x", ranks=2, launcher="multiple")).text == "x\nx\n"
        with pytest.raises(InvalidTaskError, match=r"launcher: .*nosuch"):
            engine.launch(shell("true", ranks=2, launcher="nosuch"))
        monkeypatch.setenv("PATH", "/nosuch")
        echo = TaskSpec(["/bin/echo", "x"], ranks=2)
        assert run(engine, echo).text == "x\nx\n"


def test_functions_run_on_both_nodes(both: FluxEngine) -> None:
    names = {node.name for node in both.resources().total}
    host = os.uname().nodename
    assert names == {f"{host} (rank 0)", f"{host} (rank 1)"}
    running = [both.launch(shell("flux getattr rank; sleep 0.3")) for _ in range(4)]
    assert Counter(each.result(WAIT).text for each in running) == {"0\n": 2, "1\n": 2}


def test_an_agent_has_as_many_cores_as_flux(instance: Instance) -> None:
    there = int(instance.flux("resource", "list", "--no-header", "--format={ncores}").split()[0])
    with ready(FluxEngine(address=HERE)) as engine:
        assert sum(len(node.cores) for node in engine.resources().total) == there


def test_the_secret_is_in_no_command_line(both: FluxEngine) -> None:
    lines = b"".join(path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline"))
    assert b"exaworks.tasks.cluster.agent" in lines
    assert both._secret.hex().encode() not in lines
    assert b"EXAWORKS_AGENT=" not in lines


def test_ranks_on_both_nodes(both: FluxEngine) -> None:
    text = run(both, shell(WHERE, ranks=4)).text
    assert sorted(places(text)) == [0, 1, 2, 3]
    assert Counter(places(text).values()) == {0: 2, 1: 2}
    text = run(both, shell(WHERE, ranks=2, nodes=2)).text
    assert Counter(places(text).values()) == {0: 1, 1: 1}
    text = run(both, shell(WHERE, ranks=2, nodes=2, cores=2)).text
    assert Counter(places(text).values()) == {0: 1, 1: 1}
    text = run(both, shell("echo $FLUX_JOB_SIZE", ranks=2, launcher="flux")).text
    assert text == "2\n2\n"


def test_uneven_ranks(both: FluxEngine) -> None:
    """Two on one node, one on the other, in the order of the nodes that the engine has chosen."""
    assert Counter(places(run(both, shell(WHERE, ranks=3)).text).values()) in (
        {0: 2, 1: 1},
        {0: 1, 1: 2},
    )
    for _ in range(2):  # the blocker may be on either node
        blocker = both.launch(shell("flux getattr rank; sleep 2"))
        until(blocker.running)
        found = places(run(both, shell(WHERE, ranks=3)).text)
        busy = int(blocker.result(WAIT).text)
        assert Counter(found.values()) == {busy: 1, 1 - busy: 2}


def test_several_at_a_time(both: FluxEngine, tmp_path: Path) -> None:
    """Flux has room for all that the engine has room for."""
    text = 'echo + >>"$1"; sleep 1; echo - >>"$1"'
    futures = [both.launch(shell(text, str(tmp_path / "log"), ranks=2, nodes=2)) for _ in range(4)]
    for future in futures:
        future.result(WAIT)
    running = most = 0
    for word in (tmp_path / "log").read_text().split():
        running += 1 if word == "+" else -1
        most = max(most, running)
    assert most == 4
    assert both.resources().free == both.resources().total


def test_cores_come_back(both: FluxEngine) -> None:
    """Those of ranks on one node, and on both."""
    for nodes in (1, 1, 1, 2, None):
        assert run(both, shell("true", ranks=2, nodes=nodes)).ok
    assert [run(both, shell("true", cores=2)).ok for _ in range(4)] == [True] * 4
    assert run(both, shell("true", ranks=4)).ok


def test_output_is_complete(both: FluxEngine, tmp_path: Path) -> None:
    text = "seq 20000; echo error >&2"
    result = run(both, shell(text, ranks=2, nodes=2, stdout=str(tmp_path / "out")))
    lines = (tmp_path / "out").read_text().split()
    assert Counter(lines) == {str(number): 2 for number in range(1, 20_001)}
    assert result.stderr == b"error\n" * 2


def test_input_goes_to_all_ranks(both: FluxEngine, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("some input\n" * 1000)
    result = run(both, TaskSpec(["wc", "-l"], ranks=2, nodes=2, stdin=str(tmp_path / "in")))
    assert result.text == "1000\n" * 2


def test_words_and_variables_arrive_as_they_are(both: FluxEngine, tmp_path: Path) -> None:
    words = ["{{id}}", "a b", "$HOME", "it's", "", "é", os.fsdecode(b"\xff{{")]
    spec = TaskSpec(["printf", "%s|", *words], ranks=2, nodes=2)
    expected = os.fsencode("|".join(words) + "|")
    assert run(both, spec).stdout == expected * 2
    spec = shell('echo "$ODD"; pwd', ranks=2, environment={"ODD": "{{x}}'"}, directory="/")
    assert sorted(run(both, spec).text.split()) == ["/", "/", "{{x}}'", "{{x}}'"]
    bare = TaskSpec(["/bin/sh", "-c", "echo $HOME."], ranks=2, inherit_environment=False)
    assert run(both, bare).text == ".\n.\n"


def test_before_and_after_ranks(both: FluxEngine) -> None:
    spec = shell("echo $GIVEN", ranks=2, before=["export GIVEN=1"], after=["echo after"])
    assert run(both, spec).text == "1\n1\nafter\n"


def test_pmi(both: FluxEngine) -> None:
    """An MPI finds out by it which ranks there are."""
    text = run(both, TaskSpec(["flux", "pmi", "barrier"], ranks=3)).text
    assert "completed pmi barrier on 3 tasks" in text


def test_exit_codes_and_signals(both: FluxEngine) -> None:
    spec = shell("exit $((FLUX_TASK_RANK * 3))", ranks=2, nodes=2)
    with pytest.raises(TaskFailed, match="exited with code 3"):
        both.launch(spec).result(WAIT)
    killed = both.launch(shell("kill -9 $$", ranks=2, nodes=2, check=False)).result(WAIT)
    assert killed.exit_code == 128 + 9
    with pytest.raises(TaskFailed, match="nosuch: No such file or directory"):
        both.launch(TaskSpec(["nosuch"], ranks=2, nodes=2)).result(WAIT)
    # A rank that fails ends the others.
    begun = time.monotonic()
    fails = shell('[ "$FLUX_TASK_RANK" = 0 ] && exit 5; exec sleep 600', ranks=2, nodes=2)
    with pytest.raises(TaskFailed, match="exited with code 5"):
        both.launch(fails).result(WAIT)
    assert time.monotonic() - begun < WAIT / 2


def test_one_that_ends_early_ends_no_other(both: FluxEngine) -> None:
    text = '[ "$FLUX_TASK_RANK" = 0 ] || { sleep 3; echo late; }'
    assert run(both, shell(text, ranks=2, nodes=2)).text == "late\n"


def test_cancel_of_ranks(both: FluxEngine, instance: Instance, tmp_path: Path) -> None:
    path = tmp_path / "pids"
    ends = shell('trap "echo end >>$2; exit" TERM; echo $$ >>"$1"; sleep 600 & wait',
                 str(path), str(tmp_path / "ends"), ranks=2, nodes=2)  # fmt: skip
    future = both.launch(ends)
    until(lambda: len(numbers(path)) == 2)
    assert "runs on " in both.explain(future)
    assert future.cancel()
    until(lambda: not any(map(alive, numbers(path))))
    assert (tmp_path / "ends").read_text() == "end\n" * 2
    until(lambda: not active_jobs(instance))
    assert both.drain(WAIT)
    until(lambda: both.resources().free == both.resources().total)


@pytest.mark.parametrize("grace", [0.2, 1.0, 6.0])
def test_ranks_that_do_not_want_to_end(
    both: FluxEngine, instance: Instance, tmp_path: Path, grace: float
) -> None:
    path = tmp_path / "pids"
    spec = shell(STUBBORN, str(path), ranks=3, time_limit=1.5, grace=grace)
    with pytest.raises(TaskTimeout, match=r"has run for 1\.5 s, its limit"):
        both.launch(spec).result(WAIT)
    assert len(numbers(path)) == 3
    until(lambda: not any(map(alive, numbers(path))))
    until(lambda: not active_jobs(instance))
    assert both.drain(WAIT)


def test_ranks_have_the_whole_grace(both: FluxEngine, tmp_path: Path) -> None:
    """Also one that is longer than what Flux gives to jobs that are cancelled."""
    text = "trap 'sleep 7; echo done >>\"$1\"; exit' TERM; sleep 600 & wait"
    done = tmp_path / "done"
    future = both.launch(shell(text, str(done), ranks=2, nodes=2, time_limit=1.0, grace=15))
    with pytest.raises(TaskTimeout):
        future.result(WAIT)
    assert done.read_text() == "done\n" * 2


def test_ranks_with_gpus_are_refused() -> None:
    with ready(FluxEngine(address=HERE, cores_per_node=2, gpus_per_node=2)) as engine:
        with pytest.raises(UnsupportedError, match=r"other GPUs .* launcher='mpirun'"):
            engine.launch(shell("true", ranks=2, gpus=1))
        shown = engine.launch(shell("echo $CUDA_VISIBLE_DEVICES", gpus=1)).result(WAIT).text
        assert shown in ("0\n", "1\n")


def test_more_cores_than_flux_has(instance: Instance) -> None:
    """What Flux cannot give, the task is told at once."""
    with ready(FluxEngine(address=HERE, cores_per_node=50)) as engine:
        future = engine.launch(shell("true", ranks=50, nodes=1))
        with pytest.raises(TaskFailed, match="unsatisfiable request"):
            future.result(WAIT)


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_agent(both: FluxEngine, instance: Instance, tmp_path: Path, victim: int) -> None:
    """What it ran is ended, and may run elsewhere; its jobs of Flux are cancelled."""
    path, again = tmp_path / "pids", tmp_path / "again"
    spread = both.launch(shell(STUBBORN, str(path), ranks=2, nodes=2))
    text = 'flux getattr rank >>"$1"; [ $(wc -l <"$1") -ge 2 ] || exec sleep 600'
    until(lambda: len(numbers(path)) == 2)
    tasks = [both.launch(shell(text, f"{again}{number}", restartable=True)) for number in range(2)]
    until(lambda: all(len(numbers(Path(f"{again}{number}"))) == 1 for number in range(2)))
    os.kill(agents()[victim], signal.SIGKILL)
    with pytest.raises(NodeLost, match=rf"the node .* \(rank {victim}\) was lost"):
        spread.result(WAIT)
    until(lambda: not any(map(alive, numbers(path))))
    until(lambda: not active_jobs(instance))
    (moved,) = [n for n in range(2) if numbers(Path(f"{again}{n}"))[0] == victim]
    assert tasks[moved].result(WAIT).ok
    assert numbers(Path(f"{again}{moved}")) == [victim, 1 - victim]
    assert tasks[1 - moved].cancel()
    with pytest.raises(InvalidTaskError, match="can never run here"):
        both.launch(shell("true", ranks=2, nodes=2))
    assert run(both, shell("flux getattr rank", ranks=2)).text == f"{1 - victim}\n" * 2


def test_a_killed_program(instance: Instance, tmp_path: Path) -> None:
    """Nothing of it stays, neither agents nor jobs."""
    path = tmp_path / "pids"
    before = set(agents().values())
    program = subprocess.Popen([sys.executable, "-c", PROGRAM, STUBBORN, str(path)])
    until(lambda: len(numbers(path)) == 2)
    started = set(agents().values()) - before
    assert len(started) == 2
    program.kill()
    program.wait()
    until(lambda: not any(map(alive, [*started, *numbers(path)])))
    until(lambda: not active_jobs(instance))


def test_nothing_is_left(instance: Instance) -> None:
    def folders() -> set[Path]:
        return set(Path("/tmp").glob("exaworks-flux-*"))

    before, begun = folders(), time.monotonic()
    with ready(FluxEngine(address=HERE, cores_per_node=2)) as engine:
        assert engine.launch(shell("true", ranks=2)).result(WAIT).ok
        assert engine.launch(shell("true", ranks=2, nodes=2)).result(WAIT).ok
        assert len(folders() - before) == 2
    assert not folders() - before
    assert time.monotonic() - begun < WAIT / 2


def test_a_lost_broker(own_instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLUX_URI", own_instance.uri)
    with ready(FluxEngine(address=HERE, cores_per_node=2)) as engine:
        spread = engine.launch(shell("exec sleep 600", ranks=2, nodes=2))
        until(lambda: active_jobs(own_instance) == 1)
        pid = int(own_instance.flux("exec", "-r", "1", "flux", "getattr", "broker.pid"))
        os.kill(pid, signal.SIGKILL)
        with pytest.raises((NodeLost, TaskFailed)):
            spread.result(WAIT)
        until(lambda: [node.name[-2] for node in engine.resources().total] == ["0"])
        assert run(engine, shell("flux getattr rank", ranks=2, nodes=1)).text == "0\n0\n"
        assert engine.submit(pow, 2, 5).result(WAIT) == 32
    with ready(FluxEngine(address=HERE, cores_per_node=2)) as engine:
        assert len(engine.resources().total) == 1
    with pytest.raises(EngineFailed, match="1 nodes are up; 2 are wanted"):
        FluxEngine(2, address=HERE)


def test_an_allocation_of_one_node() -> None:
    with Allocation(executor="flux", cores_per_node=2, address=HERE) as allocation:
        assert allocation.wait_ready(WAIT)
        assert list(allocation.map(abs, range(-10, 0))) == list(range(10, 0, -1))
        assert sorted(places(run(allocation, shell(WHERE, ranks=2)).text)) == [0, 1]


def test_an_allocation_of_two_nodes(instance: Instance) -> None:
    """A job of two nodes, in which an instance of its own starts the ranks."""
    with Allocation(2, executor="flux", cores_per_node=2, address=HERE) as allocation:
        assert allocation.wait_ready(WAIT)
        assert len(allocation.resources().total) == 2
        assert list(allocation.map(abs, range(-10, 0))) == list(range(10, 0, -1))
        found = places(run(allocation, shell(WHERE, ranks=3)).text)
        assert sorted(Counter(found.values()).values()) == [1, 2]
        assert active_jobs(instance) == 1
    until(lambda: not active_jobs(instance))


def test_an_allocation_that_starts_flux_here() -> None:
    """Any executor can have an instance started in its job."""
    with Allocation(executor="local", engine="flux", cores_per_node=2) as allocation:
        assert allocation.wait_ready(WAIT)
        assert sorted(places(run(allocation, shell(WHERE, ranks=2)).text)) == [0, 1]


def test_where_it_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidTaskError, match="nodes must be a whole number"):
        FluxEngine(0)
    with pytest.raises(EngineFailed, match="2 nodes are up; 3 are wanted"):
        FluxEngine(3)
    monkeypatch.setenv("FLUX_URI", "local:///nosuch")
    with pytest.raises(EngineFailed, match="does not answer"):
        FluxEngine()
    monkeypatch.delenv("FLUX_URI")
    with pytest.raises(EngineFailed, match=r"in no Flux instance .*flux alloc"):
        FluxEngine()
    monkeypatch.setenv("PATH", "/nosuch")
    with pytest.raises(EngineFailed, match="there is no flux in PATH"):
        FluxEngine()


@pytest.mark.parametrize(
    ("variable", "nodes", "expected"),
    [
        ("FLUX_JOB_ID", 3, "flux start sh"),
        ("SLURM_JOB_ID", 3, "srun --nodes=3 --ntasks=3 --ntasks-per-node=1 --mpi=pmi2 "),
        ("PBS_JOBID", 3, "mpiexec -n 3 -ppn 1 flux start sh"),
        ("PBS_JOBID", 1, "flux start sh"),
    ],
)
def test_words_in_a_batch_job(tmp_path: Path, variable: str, nodes: int, expected: str) -> None:
    """An instance over all nodes, and agents in it; the job itself finds out how."""
    for name in ("flux", "srun", "mpiexec"):
        (tmp_path / name).write_text('#!/bin/sh\necho "${0##*/} $*"\n')
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        FluxLaunch().words(["python3", "-c", "agent"], nodes),
        env={"PATH": f"{tmp_path}:{os.defpath}", variable: "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith(expected)
    assert done.stdout.rstrip().endswith("python3 -c agent")


def test_an_instance_that_is_not_whole(tmp_path: Path) -> None:
    """Brokers that do not find each other say so."""
    done = subprocess.run(
        FluxLaunch().words(["python3", "-c", "agent"], 2),
        env={**os.environ, "FLUX_JOB_ID": "1"},  # which is not true, so that there is no PMI
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Flux has started over 1 of 2 nodes: it has found no PMI" in done.stderr
