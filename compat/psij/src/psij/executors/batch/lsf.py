"""The executor for LSF: that of :mod:`exaworks.psij`, with the methods that clients call."""

from __future__ import annotations

from exaworks.psij.executors.lsf import LsfJobExecutor as _LsfJobExecutor
from psij.executors.batch._scripts import WithSubmitScript
from psij.executors.batch.batch_scheduler_executor import (
    BatchSchedulerExecutor,
    BatchSchedulerExecutorConfig,
)

__all__ = ["LsfExecutorConfig", "LsfJobExecutor"]


class LsfExecutorConfig(BatchSchedulerExecutorConfig):
    """Settings of the executor for LSF."""


class LsfJobExecutor(WithSubmitScript, _LsfJobExecutor):
    """The executor for LSF."""

    _NAME_ = "lsf"
    _VERSION_ = "0.9.12"


BatchSchedulerExecutor.register(LsfJobExecutor)
