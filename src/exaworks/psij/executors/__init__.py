"""Executors that come with the package. Each is one module of this folder."""

from exaworks.core.plugins import Descriptor

__all__ = ["BUILTIN"]

_HERE = "exaworks.psij.executors"

BUILTIN = (
    Descriptor("local", "0.3.0", f"{_HERE}.local.LocalJobExecutor", nice_name="This machine"),
    Descriptor("ssh", "0.3.0", f"{_HERE}.ssh.SshJobExecutor", nice_name="A machine over SSH"),
    Descriptor("slurm", "0.3.0", f"{_HERE}.slurm.SlurmJobExecutor", nice_name="Slurm"),
    Descriptor(
        "grid_engine",
        "0.3.0",
        f"{_HERE}.grid_engine.GridEngineJobExecutor",
        ["sge", "uge"],
        nice_name="Grid Engine",
    ),
    Descriptor("flux", "0.3.0", f"{_HERE}.flux.FluxJobExecutor", nice_name="Flux"),
    Descriptor(
        "pbspro",
        "0.3.0",
        f"{_HERE}.pbspro.PBSProJobExecutor",
        ["pbs"],
        nice_name="PBS Pro and OpenPBS",
    ),
    Descriptor(
        "pbs_classic",
        "0.3.0",
        f"{_HERE}.pbs_classic.PBSClassicJobExecutor",
        ["torque"],
        nice_name="Torque",
    ),
    Descriptor("oar", "0.3.0", f"{_HERE}.oar.OarJobExecutor", nice_name="OAR"),
    Descriptor(
        "htcondor",
        "0.3.0",
        f"{_HERE}.htcondor.HTCondorJobExecutor",
        ["condor"],
        nice_name="HTCondor",
    ),
    Descriptor("lsf", "0.3.0", f"{_HERE}.lsf.LsfJobExecutor", nice_name="IBM Spectrum LSF"),
    Descriptor("cobalt", "0.3.0", f"{_HERE}.cobalt.CobaltJobExecutor", nice_name="Cobalt"),
    Descriptor("nqsv", "0.3.0", f"{_HERE}.nqsv.NqsvJobExecutor", nice_name="NEC NQSV"),
)
