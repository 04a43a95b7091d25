"""MPI: an agent on each node, started by mpiexec or within the workers of mpi4py.futures."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Any, ClassVar

from exaworks.tasks.cluster.boot import SETTINGS
from exaworks.tasks.cluster.carrier import CarrierSource
from exaworks.tasks.cluster.engine import ClusterEngine
from exaworks.tasks.cluster.launch import Launch, ProcessSource
from exaworks.tasks.cluster.source import Source
from exaworks.tasks.engine import Features
from exaworks.tasks.errors import EngineFailed, InvalidTaskError

__all__ = ["MPIEngine", "MPILaunch"]


class MPILaunch(Launch):
    """With mpiexec. If an agent or its node dies, an MPI ends all of them."""

    name: ClassVar[str] = "mpiexec"

    def words(self, agent: list[str], nodes: int) -> list[str]:
        """See :meth:`Launch.words`."""
        if is_open_mpi():
            return [
                "mpiexec", "-n", str(nodes), "--map-by", "ppr:1:node", "--bind-to", "none",
                "-x", SETTINGS, *agent,
            ]  # fmt: skip
        return [
            "mpiexec", "-n", str(nodes), "-ppn", "1", "-bind-to", "none", "-genvlist", SETTINGS,
            *agent,
        ]  # fmt: skip


def is_open_mpi() -> bool:
    """Whether mpiexec is that of Open MPI; else it is taken for one of MPICH's kin (Hydra).

    Raises:
        EngineFailed: there is none.
    """
    try:
        done = subprocess.run(["mpiexec", "--version"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError) as problem:
        raise EngineFailed(f"mpiexec cannot be run: {problem}") from problem
    return "OpenRTE" in done.stdout or "Open MPI" in done.stdout or "PRRTE" in done.stdout


class MPIEngine(ClusterEngine):
    """Runs tasks wherever MPI starts processes.

    ::

        with MPIEngine(nodes=4) as engine:  # within a batch job of four nodes
            ...

        with MPIPoolExecutor(3) as pool, MPIEngine(pool=pool, nodes=3) as engine:
            ...

    Of MPI nothing is used but that it starts an agent on each node. Commands of several ranks run
    on one node.
    """

    name: ClassVar[str] = "mpi"
    features: ClassVar[Features] = Features(
        "on nodes that MPI starts processes on", several_nodes=True, allocation=True
    )
    launch_in_job: ClassVar[type[Launch]] = MPILaunch

    def __init__(self, nodes: int | None = None, *, pool: Any = None, **settings: Any) -> None:
        """Start agents.

        Args:
            nodes: on how many nodes; ``None``: all of the batch job that this program runs in, or
                this one.
            pool: an ``mpi4py.futures.MPIPoolExecutor`` whose workers are to run them, one on each
                of so many nodes; ``None``: mpiexec starts them.
            settings: see :class:`ClusterEngine`.

        Raises:
            EngineFailed: there is no mpiexec.
            InvalidTaskError: a value makes no sense.
        """
        if nodes is not None and (type(nodes) is not int or nodes < 1):
            raise InvalidTaskError(f"nodes must be a whole number of at least 1, not {nodes!r}")
        source: Source
        if pool is not None:
            source = CarrierSource(pool.submit, nodes or 1, "mpi4py.futures")
        else:
            reason = self.unusable()
            if reason is not None:
                raise EngineFailed(reason)
            source = ProcessSource(MPILaunch(), nodes or nodes_of_this_job(), "mpiexec")
        super().__init__([source], **settings)

    @classmethod
    def unusable(cls) -> str | None:
        """See :meth:`Engine.unusable`."""
        if shutil.which("mpiexec") is None:
            return "there is no mpiexec in PATH: load an MPI (on Debian: apt install openmpi-bin)"
        return None


def nodes_of_this_job() -> int:
    """How many nodes the batch job has that this program runs in; 1 if it runs in none."""
    count = os.environ.get("SLURM_JOB_NUM_NODES")
    if count:
        return int(count)
    for name in ("PBS_NODEFILE", "LSB_DJOB_HOSTFILE", "PE_HOSTFILE", "OAR_NODEFILE"):
        path = os.environ.get(name)
        if path:
            try:
                with open(path) as file:
                    return len({line.split()[0] for line in file if line.strip()}) or 1
            except OSError as problem:
                raise EngineFailed(f"{name} names a file that cannot be read: {problem}") from None
    return 1
