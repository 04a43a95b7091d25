"""The executor for Torque, and other descendants of the first PBS."""

from __future__ import annotations

from exaworks.psij.executors import pbs_options, pbs_output
from exaworks.psij.executors.batch import BatchExecutor, Option, Request
from exaworks.psij.executors.pbs_common import PbsAdapter
from exaworks.psij.executors.pbs_survey import PbsClassicSurveyor
from exaworks.psij.job_spec import JobSpec
from exaworks.psij.runner import LocalRunner, Runner
from exaworks.psij.survey import Survey, conduct

__all__ = ["PBSClassicAdapter", "PBSClassicJobExecutor"]


class PBSClassicAdapter(PbsAdapter):
    """What there is to know about Torque.

    It lists jobs for some minutes after their end (server attribute ``keep_completed``), and has
    no other history.
    """

    name = "pbs_classic"
    title = "Torque"
    shell_index = "$PBS_ARRAYID"
    codes = pbs_output.CLASSIC_CODES
    most_elements = 5000
    qstat = ("qstat", "-f", "-1")

    def options(self, request: Request) -> list[Option]:
        """See :meth:`SchedulerAdapter.options`."""
        return pbs_options.classic_options(request)

    def setup(self, spec: JobSpec) -> list[str]:
        """See :meth:`SchedulerAdapter.setup`."""
        lines = [pbs_options.OWN_LOG]
        needs = spec.resources
        cores = getattr(needs, "cpu_cores_per_process", None) or 1
        if cores > 1:  # PBS_NODEFILE has a line for each core
            lines.append(f'command -p awk \'NR % {cores} == 1\' "$PBS_NODEFILE" >"$_psij_nodefile"')
        return lines


class PBSClassicJobExecutor(BatchExecutor):
    """Submits to Torque with its commands: ``qsub``, ``qstat``, ``qselect``, ``qdel``.

    Custom attributes named ``pbs.X`` (``pbs_classic.X``, ``torque.X``) become the option ``-X`` of
    qsub if X is a letter, else the resource ``-l X=value``; ``pbs.W.X`` becomes ``-W X=value``.
    """

    _NAME_ = "pbs_classic"
    _VERSION_ = "0.3.0"
    ADAPTER = PBSClassicAdapter

    @classmethod
    def survey(cls, runner: Runner | None = None) -> Survey | None:
        """What Torque says about its queues and nodes; ``None`` if it is not here."""
        return conduct(PbsClassicSurveyor(), runner or LocalRunner())
