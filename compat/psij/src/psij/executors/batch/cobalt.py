"""The executor for Cobalt: that of :mod:`exaworks.psij`, with the methods that clients call."""

from __future__ import annotations

from exaworks.psij.executors.cobalt import CobaltJobExecutor as _CobaltJobExecutor
from psij.executors.batch._scripts import WithSubmitScript
from psij.executors.batch.batch_scheduler_executor import (
    BatchSchedulerExecutor,
    BatchSchedulerExecutorConfig,
)

__all__ = ["CobaltExecutorConfig", "CobaltJobExecutor"]


class CobaltExecutorConfig(BatchSchedulerExecutorConfig):
    """Settings of the executor for Cobalt."""


class CobaltJobExecutor(WithSubmitScript, _CobaltJobExecutor):
    """The executor for Cobalt."""

    _NAME_ = "cobalt"
    _VERSION_ = "0.9.12"


BatchSchedulerExecutor.register(CobaltJobExecutor)
