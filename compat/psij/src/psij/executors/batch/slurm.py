"""The executor for Slurm: that of :mod:`exaworks.psij`, with the methods that clients call."""

from __future__ import annotations

from exaworks.psij.executors.slurm import SlurmJobExecutor as _SlurmJobExecutor
from psij.executors.batch._scripts import WithSubmitScript
from psij.executors.batch.batch_scheduler_executor import (
    BatchSchedulerExecutor,
    BatchSchedulerExecutorConfig,
)

__all__ = ["SlurmExecutorConfig", "SlurmJobExecutor"]


class SlurmExecutorConfig(BatchSchedulerExecutorConfig):
    """Settings of the executor for Slurm."""


class SlurmJobExecutor(WithSubmitScript, _SlurmJobExecutor):
    """The executor for Slurm."""

    _NAME_ = "slurm"
    _VERSION_ = "0.9.12"


BatchSchedulerExecutor.register(SlurmJobExecutor)
