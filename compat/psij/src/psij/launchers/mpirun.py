"""The launcher ``mpirun``: see :mod:`exaworks.psij.launchers.mpi`."""

from exaworks.psij.launchers.mpi import MpirunLauncher as MPILauncher

__all__ = ["MPILauncher"]
