"""Allocations of several nodes on a real Slurm, with each engine that can be booted there."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from slurm_cluster import Cluster, why_no_own_cluster

from exaworks.psij import Job, JobExecutor, JobSpec, JobState, ResourceSpecV1
from exaworks.tasks import (
    Allocation,
    AllocationSpec,
    EngineFailed,
    EnginePool,
    InvalidTaskError,
    NodeLost,
    TaskFailed,
    TaskSpec,
    TaskTimeout,
    UnsupportedError,
    as_completed,
)
from patience import end, output, until

pytestmark = pytest.mark.slurm
WAIT = 120
HERE = "127.0.0.1"


def host_name(seconds: float) -> str:
    time.sleep(seconds)
    return os.uname().nodename


def allocate(nodes: int = 2, **more: object) -> Allocation:
    """A small allocation, ready."""
    given = {"cores_per_node": 2, "walltime": 600, "address": HERE, **more}
    allocation = Allocation(nodes, executor="slurm", **given)  # type: ignore[arg-type]
    assert allocation.wait_ready(WAIT)
    return allocation


@pytest.mark.parametrize("engine", ["slurm", pytest.param("mpi", marks=pytest.mark.mpi)])
def test_tasks_on_all_nodes(engine: str) -> None:
    with allocate(3, engine=engine) as allocation:
        there = allocation.resources()
        assert len({node.name for node in there.total}) == 3
        assert [len(node.cores) for node in there.total] == [2, 2, 2]
        futures = [allocation.submit(host_name, 0.2) for _ in range(12)]
        hosts = Counter(future.result(WAIT) for future in futures)
        assert set(hosts) == {node.name for node in there.total}
        result = allocation.launch(TaskSpec(["hostname"])).result(WAIT)
        assert result.text.strip() == result.node
        assert list(allocation.map(abs, range(-3000, 0))) == list(range(3000, 0, -1))
        with pytest.raises(InvalidTaskError, match="there are 3 nodes with 2 cores"):
            allocation.submit(abs, 1, resources={"cores": 3})
        assert allocation.remaining is not None
        assert 0 < allocation.remaining <= 600
    status = end(allocation.job)
    assert (status.state, status.exit_code) == (JobState.COMPLETED, 0)


def ranks(allocation: Allocation, count: int, **more: object) -> list[tuple[str, str]]:
    """On which node each rank has run, and its number."""
    text = "echo $(hostname) $SLURM_PROCID"
    spec = TaskSpec(["sh", "-c", text], ranks=count, **more)  # type: ignore[arg-type]
    lines = allocation.launch(spec).result(WAIT).text.splitlines()
    return sorted(tuple(line.split()) for line in lines)  # type: ignore[misc]


def steps_of_tasks(allocation: Allocation) -> list[str]:
    """The steps that have the names of tasks."""
    job = f"--jobs={allocation.job.native_id}"
    names = output("squeue", "--noheader", "--steps", job, "--format=%j").split()
    return [name for name in names if name.startswith(allocation.id)]


def test_ranks_over_nodes() -> None:
    with allocate(3) as allocation:
        spread = ranks(allocation, 6, nodes=3)
        assert sorted(Counter(host for host, _ in spread).values()) == [2, 2, 2]
        assert sorted(number for _, number in spread) == list("012345")
        uneven = ranks(allocation, 5)
        assert sorted(Counter(host for host, _ in uneven).values()) == [1, 2, 2]
        assert len({host for host, _ in ranks(allocation, 2, nodes=1)}) == 1
        assert Counter(host for host, _ in ranks(allocation, 3, cores=2)).most_common(1)[0][1] == 1
        # They hold what they need on every node while they run.
        running = allocation.launch(TaskSpec(["sleep", "600"], ranks=3, cores=2))
        until(lambda: " runs on node" in allocation.explain(running))
        waiting = allocation.submit(abs, -1)
        assert "not enough of: cores" in allocation.explain(waiting)
        assert running.cancel()
        assert waiting.result(WAIT) == 1
        until(lambda: not steps_of_tasks(allocation))
        stubborn = TaskSpec(["sh", "-c", "trap '' TERM; sleep 600 & wait; wait"], ranks=3, grace=1)
        running = allocation.launch(stubborn)
        until(lambda: steps_of_tasks(allocation))
        assert running.cancel()
        until(lambda: not steps_of_tasks(allocation))
        until(lambda: allocation.resources().free == allocation.resources().total)
        failed = allocation.launch(TaskSpec(["sh", "-c", "exit $SLURM_PROCID"], ranks=4))
        with pytest.raises(TaskFailed, match="exited with code 3"):
            failed.result(WAIT)
        with pytest.raises(TaskTimeout):
            allocation.launch(TaskSpec(["sleep", "600"], ranks=4, time_limit=1)).result(WAIT)
        assert allocation.drain(WAIT)
        until(lambda: allocation.resources().free == allocation.resources().total)
        with pytest.raises(UnsupportedError, match="several nodes are started by srun"):
            allocation.launch(TaskSpec(["true"], ranks=2, nodes=2, launcher="mpirun"))


def test_many_tasks_of_all_kinds_never_have_more_than_there_is(tmp_path: Path) -> None:
    log = tmp_path / "log"
    text = 'echo "+ $(hostname)" >>"$0"; sleep 0.05; echo "- $(hostname)" >>"$0"'
    with allocate(2) as allocation:
        words = ["sh", "-c", text, str(log)]
        specs = [TaskSpec(words, ranks=1 + n % 4) for n in range(24)]
        for future in as_completed(allocation.launch_many(specs)):
            assert future.result(WAIT).ok
    running: Counter[str] = Counter()
    for line in log.read_text().splitlines():
        sign, host = line.split()
        running[host] += 1 if sign == "+" else -1
        assert running[host] <= 2
    assert not +running


def test_a_job_of_slurm_that_is_there(tmp_path: Path) -> None:
    """The engine ``slurm``, in a program that runs in a job of several nodes."""
    program = tmp_path / "program.py"
    program.write_text(
        "import os\n"
        "from exaworks.tasks import get_engine\n"
        "with get_engine('slurm', address='127.0.0.1', cores_per_node=1) as engine:\n"
        "    assert engine.wait_ready(60)\n"
        "    futures = [engine.submit(os.uname) for _ in range(20)]\n"
        "    print(len(engine.resources().total), {f.result(60).sysname for f in futures})\n"
    )
    job = Job(
        JobSpec(
            sys.executable,
            [str(program)],
            stdout_path=tmp_path / "out",
            stderr_path=tmp_path / "err",
            resources=ResourceSpecV1(node_count=2, processes_per_node=1, cpu_cores_per_process=2),
            launcher="single",
        )
    )
    JobExecutor.get_instance("slurm").submit(job)
    status = end(job)
    assert status.exit_code == 0, (tmp_path / "err").read_text()
    assert (tmp_path / "out").read_text() == "2 {'Linux'}\n"


def test_no_job_is_left_of_a_program_that_is_killed(tmp_path: Path) -> None:
    text = (
        "import time\n"
        "from exaworks.tasks import Allocation\n"
        "a = Allocation(2, executor='slurm', cores_per_node=1, walltime=600, address='127.0.0.1')\n"
        "assert a.wait_ready(60)\n"
        "print(a.job.native_id, flush=True)\n"
        "a.submit(time.sleep, 600).result()\n"
    )
    with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True) as run:
        try:
            assert run.stdout is not None
            number = run.stdout.readline().strip()
            assert number in output("squeue", "--noheader", "--format=%i").split()
        finally:
            run.kill()
    until(lambda: number not in output("squeue", "--noheader", "--format=%i").split())


def test_what_slurm_refuses() -> None:
    with pytest.raises(EngineFailed, match=r"slurm job cannot be submitted.*nosuch"):
        allocate(1, queue="nosuch")


def test_a_pool_of_jobs() -> None:
    """A job that is cancelled gives what waits to the other one."""
    spec = AllocationSpec(1, executor="slurm", cores_per_node=1, walltime=600)
    with EnginePool([spec, spec], address=HERE) as pool:
        assert pool.wait_ready(WAIT)
        restartable = pool.configured(restartable=True)
        futures = [restartable.submit(host_name, 0.5) for _ in range(8)]
        until(lambda: all(future.running() for future in futures[:2]))
        jobs = [source.job for source in pool.sources]
        jobs[0].cancel()
        assert all(future.result(WAIT) for future in futures)
        assert end(jobs[0]).state is JobState.CANCELED
    assert end(jobs[1]).state is JobState.COMPLETED


# A cluster to break


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    reason = why_no_own_cluster()
    if reason is not None:
        pytest.skip(reason)
    return Cluster(20600, NODES=3, KILL_WAIT=2, NODE_TIMEOUT=10, MSG_TIMEOUT=3, ACCOUNTING=0)


@pytest.mark.parametrize("engine", ["slurm", pytest.param("mpi", marks=pytest.mark.mpi)])
def test_a_node_dies(cluster: Cluster, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every task gets a verdict; those that may be run again are, where there is room."""
    monkeypatch.setenv("SLURM_CONF", cluster.conf)
    try:
        cluster("start")
        with allocate(3, engine=engine) as allocation:
            restartable = allocation.configured(restartable=True)
            again = [restartable.submit(host_name, 3) for _ in range(12)]
            once = [allocation.submit(host_name, 3) for _ in range(6)]
            commands = [allocation.launch(TaskSpec(["sleep", "3"])) for _ in range(6)]
            until(lambda: allocation.resources().running >= 6)
            cluster("crash-node", "node2")
            problems = [f.exception(WAIT) for f in (*once, *commands)]
            assert all(isinstance(each, (NodeLost, EngineFailed, type(None))) for each in problems)
            if engine == "slurm":
                assert {f.result(WAIT) for f in again} <= {"node1", "node3"}
                assert len(allocation.resources().total) == 2
            else:  # an MPI ends all of its processes with one of them
                verdicts = [f.exception(WAIT) for f in again]
                assert all(v is None or isinstance(v, EngineFailed) for v in verdicts)
                with pytest.raises(EngineFailed, match="runs nothing any more"):
                    allocation.submit(abs, 1)
    finally:
        cluster.purge()
