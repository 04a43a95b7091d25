"""The executor for NQSV: that of :mod:`exaworks.psij`, with the methods that clients call."""

from __future__ import annotations

from exaworks.psij.executors.nqsv import NqsvJobExecutor as _NqsvJobExecutor
from psij.executors.batch._scripts import WithSubmitScript
from psij.executors.batch.batch_scheduler_executor import (
    BatchSchedulerExecutor,
    BatchSchedulerExecutorConfig,
)

__all__ = ["NQSVExecutorConfig", "NQSVJobExecutor"]


class NQSVExecutorConfig(BatchSchedulerExecutorConfig):
    """Settings of the executor for NQSV."""


class NQSVJobExecutor(WithSubmitScript, _NqsvJobExecutor):
    """The executor for NQSV."""

    _NAME_ = "nqsv"
    _VERSION_ = "0.9.12"


BatchSchedulerExecutor.register(NQSVJobExecutor)
