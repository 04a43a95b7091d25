"""Executors that come with the package. Each is one module of this folder."""

from exaworks.psij.descriptor import Descriptor

__all__ = ["BUILTIN"]

_HERE = "exaworks.psij.executors"

BUILTIN = (
    Descriptor("local", "0.3.0", f"{_HERE}.local.LocalJobExecutor", nice_name="This machine"),
    Descriptor("slurm", "0.3.0", f"{_HERE}.slurm.SlurmJobExecutor", nice_name="Slurm"),
)
