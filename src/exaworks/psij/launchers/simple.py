"""Launchers that are a fixed command of their system with a few options."""

from __future__ import annotations

from exaworks.psij.job import Job
from exaworks.psij.job_launcher import PrefixLauncher
from exaworks.psij.validate import resources

__all__ = ["AprunLauncher", "JsrunLauncher", "SingleLauncher", "SrunLauncher"]


class SingleLauncher(PrefixLauncher):
    """Starts the executable once, on the lead node, whatever the process count."""

    def prefix(self, job: Job) -> list[str]:
        """No words."""
        return []


class SrunLauncher(PrefixLauncher):
    """Starts one process for each task of a Slurm allocation, with ``srun``."""

    def prefix(self, job: Job) -> list[str]:
        """``srun`` with nodes, tasks and cores.

        Cores are repeated because since Slurm 22.05 ``srun`` does not take over the allocation's
        ``--cpus-per-task`` (srun(1), "--cpus-per-task").
        """
        needs = resources(job)
        words = ["srun", f"--ntasks={needs.computed_process_count}"]
        if needs.node_count is not None or needs.computed_node_count > 1:
            words.append(f"--nodes={needs.computed_node_count}")
        if needs.cpu_cores_per_process is not None:
            words.append(f"--cpus-per-task={needs.cpu_cores_per_process}")
        return words


class AprunLauncher(PrefixLauncher):
    """Starts the processes with ``aprun`` of Cray ALPS."""

    def prefix(self, job: Job) -> list[str]:
        """``aprun -n N`` (aprun(1))."""
        return ["aprun", "-n", str(resources(job).computed_process_count)]


class JsrunLauncher(PrefixLauncher):
    """Starts the processes with ``jsrun`` of IBM Spectrum LSF."""

    def prefix(self, job: Job) -> list[str]:
        """``jsrun --np N`` (jsrun(1))."""
        return ["jsrun", "--np", str(resources(job).computed_process_count)]
