"""Allocations on this machine: the semantics of tasks, and what is special about nodes."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from nested_cases import NestedCases

from exaworks.psij import JobExecutor
from exaworks.tasks import (
    Allocation,
    AllocationSpec,
    Engine,
    EngineFailed,
    EnginePool,
    InvalidTaskError,
    LocalEngine,
    NodeLost,
    TaskSpec,
    UnsupportedError,
)
from exaworks.tasks.conformance import EngineConformance, until

WAIT = 60


@contextlib.contextmanager
def allocation(**more: Any) -> Iterator[Allocation]:
    """An allocation that is ready, and ended whatever happens."""
    given = {"cores_per_node": 2, **more}
    with Allocation(**given) as made:
        try:
            assert made.wait_ready(WAIT)
            yield made
        except BaseException:
            made.job.cancel()
            raise


def agent_of(engine: Engine) -> int:
    """The process id of the agent of an engine with one node."""
    nursery = engine.submit(os.getppid).result(WAIT)
    return int(Path(f"/proc/{nursery}/stat").read_text().rsplit(")", 1)[1].split()[1])


class TestAllocation(EngineConformance):
    def make_engine(self, cores: int = 2, gpus: int = 0) -> Engine:
        made = Allocation(cores_per_node=cores, gpus_per_node=gpus)
        assert made.wait_ready(WAIT)
        return made


class TestPool(EngineConformance):
    def make_engine(self, cores: int = 2, gpus: int = 0) -> Engine:
        pool = EnginePool(AllocationSpec(cores_per_node=cores, gpus_per_node=gpus))
        assert pool.wait_ready(WAIT)
        return pool


class TestJobsInAnAllocation(NestedCases):
    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _allocation(cls) -> Iterator[None]:
        with allocation(cores_per_node=4) as cls.allocation:
            yield

    allocation: Allocation

    def make_executor(self) -> JobExecutor:
        return self.allocation.executor


def test_nothing_is_left_of_a_program_that_is_killed(tmp_path: Path) -> None:
    text = (
        "import os, time\n"
        "from exaworks.tasks import Allocation, TaskSpec\n"
        "a = Allocation(cores_per_node=2)\n"
        "a.launch(TaskSpec(['sleep', '600']))\n"
        "print(a.submit(os.getppid).result(60), flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True) as run:
        try:
            assert run.stdout is not None
            nursery = Path(f"/proc/{int(run.stdout.readline())}")
            assert nursery.exists()
        finally:
            run.kill()
    until(lambda: not nursery.exists())


def test_an_agent_that_is_killed() -> None:
    with allocation() as engine:
        agent = agent_of(engine)
        lost = engine.submit(time.sleep, 600)
        waiting = [engine.launch(TaskSpec(["true"], cores=2)) for _ in range(3)]
        os.kill(agent, signal.SIGKILL)
        with pytest.raises(NodeLost, match=r"was lost .* the task was not run again"):
            lost.result(WAIT)
        for each in waiting:
            with pytest.raises(EngineFailed, match="cannot run any more: there are no nodes"):
                each.result(WAIT)
        with pytest.raises(EngineFailed, match="runs nothing any more"):
            engine.submit(abs, -1)
        with pytest.raises(EngineFailed):
            engine.wait_ready(WAIT)


def test_a_node_that_goes_gives_back_what_has_not_begun(tmp_path: Path) -> None:
    """SIGTERM, as at the end of a walltime: a command may end in its own way."""
    text = 'trap "echo bye >$0; exit 0" TERM; echo >$0.begun; while :; do sleep 0.1; done'
    with EnginePool([AllocationSpec(cores_per_node=1)] * 2) as pool:
        assert pool.wait_ready(WAIT)
        polite = pool.launch(TaskSpec(["sh", "-c", text, str(tmp_path / "end")]))
        until((tmp_path / "end.begun").exists)
        link = next(link for link in pool._links.values() if link.lanes)
        waiting = [pool.submit(abs, -n) for n in range(100)]
        os.kill(link.pid, signal.SIGTERM)
        assert polite.result(WAIT).ok
        assert (tmp_path / "end").read_text() == "bye\n"
        assert [each.result(WAIT) for each in waiting] == list(range(100))


def test_tasks_that_cannot_finish_are_not_started() -> None:
    with allocation(walltime=60) as engine:
        remaining = engine.remaining
        assert remaining is not None
        assert 30 < remaining <= 60
        with pytest.raises(InvalidTaskError, match=r"time limit is 61 s, and the walltime .* 60 s"):
            engine.configured(time_limit=61).submit(abs, -1)
        until(lambda: (engine.remaining or 0) < 59)
        long = engine.configured(time_limit=59).submit(abs, -1)
        short = engine.configured(time_limit=5).submit(abs, -2)
        assert engine.submit(abs, -3).result(WAIT) == 3
        assert short.result(WAIT) == 2
        assert "no node that has room for it will be there for 59 s" in engine.explain(long)
        assert long.cancel()


def test_a_pool_grows_and_shrinks() -> None:
    spec = AllocationSpec(cores_per_node=1)
    with EnginePool(spec, min=0, max=2, idle=0.5) as pool:
        assert pool.allocations == 0
        futures = [pool.submit(time.sleep, 0.5) for _ in range(16)]
        most = 0
        while not all(future.done() for future in futures):
            most = max(most, pool.allocations)
            time.sleep(0.01)
        assert most == 2
        until(lambda: pool.allocations == 0)
        pool.scale(1)
        assert pool.allocations == 1
        assert pool.submit(abs, -1).result(WAIT) == 1
        with pytest.raises(InvalidTaskError, match="from min to max allocations"):
            pool.scale(-1)


def test_an_allocation_of_a_pool_dies() -> None:
    """What was running there goes on elsewhere if it may, and the allocation is replaced."""
    with EnginePool(AllocationSpec(cores_per_node=1), min=2, max=2) as pool:
        assert pool.wait_ready(WAIT)
        restartable = pool.configured(restartable=True)
        futures = [restartable.submit(time.sleep, 0.3) for _ in range(20)]
        until(lambda: sum(future.running() for future in futures) >= 2)
        os.kill(next(iter(pool._links.values())).pid, signal.SIGKILL)
        assert [future.result(WAIT) for future in futures] == [None] * 20
        assert pool.counts["failed"] == 0


def test_bad_requests() -> None:
    for request, message in (
        ({"nodes": 0}, "nodes must be a whole number of at least 1"),
        ({"cores": 2}, "an allocation has no 'cores'; it has: nodes, executor"),
        ({"executor": "nosuch"}, "executor: There is no executor 'nosuch'"),
        ({"engine": "nosuch"}, "There is no engine 'nosuch'; there are: "),
        ({"engine": "dask"}, "the engine 'dask' cannot be started in an allocation"),
        ({"walltime": -1}, "walltime must be positive"),
        (
            {"executor": "ssh", "url": "ssh://host"},
            r"must be able to reach this program: .*address",
        ),
    ):
        with pytest.raises(InvalidTaskError, match=message):
            Allocation(**request)  # type: ignore[arg-type]
    with LocalEngine(1) as engine, pytest.raises(UnsupportedError, match="always the same size"):
        engine.scale(2)


def test_a_python_that_has_no_exaworks(tmp_path: Path) -> None:
    """The reason is in the error, in the words of the interpreter."""
    with (
        Allocation(cores_per_node=1, python="/bin/false") as engine,
        pytest.raises(EngineFailed, match=r"local job .*FAILED: exit code 1"),
    ):
        engine.wait_ready(WAIT)


def test_strangers_are_not_let_in() -> None:
    """Who does not know the secret can neither be an agent nor disturb one."""
    with allocation() as engine:
        port = engine._door.port
        for words in (b"", b"GET / HTTP/1.0\r\n\r\n", bytes(64), bytes(10_000)):
            with socket.create_connection(("127.0.0.1", port)) as stranger:
                assert stranger.recv(16) == b"EXAWORKS-TASKS-1"
                with contextlib.suppress(OSError):
                    stranger.sendall(words)
                    stranger.shutdown(socket.SHUT_WR)
                    while stranger.recv(1000):
                        pass
        assert engine.submit(abs, -1).result(WAIT) == 1
        assert len(engine.resources().total) == 1


def test_the_secret_is_not_in_the_environment_of_tasks() -> None:
    with allocation() as engine:
        text = engine.launch(TaskSpec(["env"])).result(WAIT).text
        assert "EXAWORKS_AGENT" not in text
        assert engine.submit(os.environ.get, "EXAWORKS_AGENT").result(WAIT) is None
