"""Launchers for MPI programs."""

from __future__ import annotations

from exaworks.psij.job import Job
from exaworks.psij.job_launcher import PrefixLauncher
from exaworks.psij.validate import resources

__all__ = ["MpiexecLauncher", "MpirunLauncher"]

# Open MPI counts cores as slots and refuses to start more processes than slots; a job may well
# ask for more processes than this machine has cores. Other MPIs do not know the option. What is
# installed is only known where the job runs.
_MPIRUN = (
    'case $(mpirun --version 2>/dev/null) in *"Open MPI"*) set -- --oversubscribe "$@";; esac; '
    'exec mpirun -n "$0" "$@"'
)


class MpirunLauncher(PrefixLauncher):
    """Starts the processes with ``mpirun``; Open MPI may use more processes than cores."""

    def prefix(self, job: Job) -> list[str]:
        """A shell that finds out which MPI it is, and becomes ``mpirun -n N``."""
        return ["/bin/sh", "-c", _MPIRUN, str(resources(job).computed_process_count)]


class MpiexecLauncher(PrefixLauncher):
    """Starts the processes with ``mpiexec -n N``, as the MPI standard proposes."""

    def prefix(self, job: Job) -> list[str]:
        """``mpiexec -n N`` (MPI 4.1, section 11.5)."""
        return ["mpiexec", "-n", str(resources(job).computed_process_count)]
