"""The executor for PBS Professional and OpenPBS."""

from __future__ import annotations

from collections.abc import Collection

from exaworks.psij.executors import pbs_options, pbs_output
from exaworks.psij.executors.batch import BatchExecutor, Option, Request
from exaworks.psij.executors.pbs_common import PbsAdapter, by_array
from exaworks.psij.executors.pbs_survey import PbsProSurveyor
from exaworks.psij.job_spec import JobSpec
from exaworks.psij.runner import Command, LocalRunner, Runner
from exaworks.psij.survey import Survey, conduct

__all__ = ["PBSProAdapter", "PBSProJobExecutor"]


class PBSProAdapter(PbsAdapter):
    """What there is to know about PBS Pro and OpenPBS.

    Jobs that have not ended are asked about without the history, which may have very many jobs;
    only those that are missing then are looked for in it.
    """

    name = "pbspro"
    title = "PBS Pro"
    shell_index = "$PBS_ARRAY_INDEX"
    codes = pbs_output.PRO_CODES
    most_elements = 10000  # pbs_server_attributes(7B), max_array_size
    # without -E, OpenPBS 23.06 prints only the first of several jobs as JSON
    qstat = ("qstat", "-f", "-E", "-F", "json")

    def options(self, request: Request) -> list[Option]:
        """See :meth:`SchedulerAdapter.options`."""
        return pbs_options.pro_options(request)

    def setup(self, spec: JobSpec) -> list[str]:
        """See :meth:`SchedulerAdapter.setup`."""
        return [pbs_options.OWN_LOG]

    def accounting_commands(self, native_ids: Collection[str]) -> list[Command]:
        """See :meth:`SchedulerAdapter.accounting_commands`."""
        return self._asking(native_ids, "-x")

    def words(self, native_ids: Collection[str]) -> list[str]:
        """See :meth:`PbsAdapter.words`. Elements become ranges, as ``4[0-2].server``."""
        found, arrays = by_array(native_ids)
        for array, indices in arrays.items():
            base, _, server = array.partition("[]")
            ranges: list[list[int]] = []
            for index in sorted(set(indices)):
                if ranges and index == ranges[-1][1] + 1:
                    ranges[-1][1] = index
                else:
                    ranges.append([index, index])
            found += [
                f"{base}[{a}]{server}" if a == b else f"{base}[{a}-{b}]{server}" for a, b in ranges
            ]
        return found


class PBSProJobExecutor(BatchExecutor):
    """Submits to PBS Pro or OpenPBS with ``qsub``, ``qstat``, ``qselect``, ``qdel``.

    Custom attributes named ``pbs.X`` (or ``pbspro.X``) become the option ``-X`` of qsub if X is a
    letter, else the resource ``-l X=value``; ``pbs.W.X`` becomes ``-W X=value``.
    """

    _NAME_ = "pbspro"
    _VERSION_ = "0.3.0"
    ADAPTER = PBSProAdapter

    @classmethod
    def survey(cls, runner: Runner | None = None) -> Survey | None:
        """What PBS says about its queues and nodes; ``None`` if it is not here."""
        return conduct(PbsProSurveyor(), runner or LocalRunner())
