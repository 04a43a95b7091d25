"""The executor for Torque: that of :mod:`exaworks.psij`, with the methods that clients call."""

from __future__ import annotations

from exaworks.psij.executors.pbs_classic import PBSClassicJobExecutor as _PBSClassicJobExecutor
from psij.executors.batch._scripts import WithSubmitScript
from psij.executors.batch.batch_scheduler_executor import BatchSchedulerExecutor

__all__ = ["PBSClassicJobExecutor"]


class PBSClassicJobExecutor(WithSubmitScript, _PBSClassicJobExecutor):
    """The executor for Torque."""

    _NAME_ = "pbs_classic"
    _VERSION_ = "0.9.12"


BatchSchedulerExecutor.register(PBSClassicJobExecutor)
