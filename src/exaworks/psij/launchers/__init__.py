"""Launchers that come with the package. Each is one class in a module of this folder."""

from exaworks.core.plugins import Descriptor

__all__ = ["BUILTIN"]

_HERE = "exaworks.psij.launchers"

BUILTIN = (
    Descriptor("single", "0.3.0", f"{_HERE}.simple.SingleLauncher"),
    Descriptor("multiple", "0.3.0", f"{_HERE}.multiple.MultipleLauncher"),
    Descriptor("mpirun", "0.3.0", f"{_HERE}.mpi.MpirunLauncher"),
    Descriptor("mpiexec", "0.3.0", f"{_HERE}.mpi.MpiexecLauncher"),
    Descriptor("srun", "0.3.0", f"{_HERE}.simple.SrunLauncher", nice_name="Slurm srun"),
    Descriptor("aprun", "0.3.0", f"{_HERE}.simple.AprunLauncher", nice_name="ALPS aprun"),
    Descriptor("jsrun", "0.3.0", f"{_HERE}.simple.JsrunLauncher", ["jrun"], "LSF jsrun"),
)
