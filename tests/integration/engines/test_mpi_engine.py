"""The engine on MPI: agents started by mpiexec, and within mpi4py.futures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from engine_cases import HERE, AgentCases, ready

from exaworks.tasks import EngineFailed, InvalidTaskError, TaskSpec
from exaworks.tasks.cluster.engine import ClusterEngine
from exaworks.tasks.engines.mpi import MPIEngine, nodes_of_this_job

IN_A_POOL = """
from mpi4py.futures import MPIPoolExecutor
from exaworks.tasks.engines.mpi import MPIEngine

if __name__ == "__main__":
    with MPIPoolExecutor(1) as pool:
        with MPIEngine(pool=pool, address="127.0.0.1", cores_per_node=2) as engine:
            assert engine.wait_ready(60)
            print(sum(engine.map(abs, range(-100, 0))))
        print(pool.submit(pow, 2, 5).result(60))
"""


@pytest.mark.mpi
class TestMPI(AgentCases):
    def make_engine(self, cores: int = 2, gpus: int = 0) -> ClusterEngine:
        return ready(MPIEngine(1, address=HERE, cores_per_node=cores, gpus_per_node=gpus))


@pytest.mark.mpi
def test_ranks_with_mpi() -> None:
    """Several ranks on one node, by the same MPI that has started the agent."""
    with MPIEngine(1, address=HERE, cores_per_node=2) as engine:
        text = "echo $OMPI_COMM_WORLD_RANK/$OMPI_COMM_WORLD_SIZE"
        found = engine.launch(TaskSpec(["sh", "-c", text], ranks=2)).result(60).text
        assert sorted(found.split()) in (["0/2", "1/2"], ["/", "/"])  # another MPI has other names


@pytest.mark.mpi
@pytest.mark.mpi4py
def test_workers_of_mpi4py(tmp_path: Path) -> None:
    """The pool is free again when the engine is shut down."""
    program = tmp_path / "program.py"
    program.write_text(IN_A_POOL)
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["5050", "32"], done.stderr


def test_nonsense(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidTaskError, match="nodes must be a whole number"):
        MPIEngine(0)
    monkeypatch.setenv("PATH", "/nosuch")
    with pytest.raises(EngineFailed, match="no mpiexec in PATH: load an MPI"):
        MPIEngine()


def test_nodes_of_batch_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_JOB_NUM_NODES", "PBS_NODEFILE", "PE_HOSTFILE"):
        monkeypatch.delenv(name, raising=False)
    assert nodes_of_this_job() == 1
    nodes = tmp_path / "nodes"
    nodes.write_text("a\na\nb\n")
    monkeypatch.setenv("PBS_NODEFILE", str(nodes))
    assert nodes_of_this_job() == 2
    monkeypatch.setenv("PBS_NODEFILE", str(tmp_path / "none"))
    with pytest.raises(EngineFailed, match="PBS_NODEFILE names a file that cannot be read"):
        nodes_of_this_job()
