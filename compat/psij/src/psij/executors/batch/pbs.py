"""The executor for PBS Pro: that of :mod:`exaworks.psij`, with the methods that clients call."""

from __future__ import annotations

from exaworks.psij.executors.pbspro import PBSProJobExecutor as _PBSProJobExecutor
from psij.executors.batch._scripts import WithSubmitScript
from psij.executors.batch.batch_scheduler_executor import BatchSchedulerExecutor

__all__ = ["PBSJobExecutor"]


class PBSJobExecutor(WithSubmitScript, _PBSProJobExecutor):
    """The executor for PBS Pro."""

    _NAME_ = "pbs"
    _VERSION_ = "0.9.12"


BatchSchedulerExecutor.register(PBSJobExecutor)
