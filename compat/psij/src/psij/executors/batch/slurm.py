"""The executor for Slurm: that of :mod:`exaworks.psij`, with the methods that clients call."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import IO, Any

from exaworks.psij import Job
from exaworks.psij.executors.slurm import SlurmJobExecutor as _SlurmJobExecutor
from psij.executors._listing import CompleteInfo
from psij.executors.batch.batch_scheduler_executor import (
    BatchSchedulerExecutor,
    BatchSchedulerExecutorConfig,
)

__all__ = ["SlurmExecutorConfig", "SlurmJobExecutor"]


class SlurmExecutorConfig(BatchSchedulerExecutorConfig):
    """Settings of the executor for Slurm."""


class SlurmJobExecutor(CompleteInfo, _SlurmJobExecutor):
    """The executor for Slurm."""

    _NAME_ = "slurm"
    _VERSION_ = "0.9.12"

    def _create_script_context(self, job: Job) -> dict[str, Any]:
        return {"job": job}

    def generate_submit_script(
        self, job: Job, context: dict[str, Any], submit_file: IO[str]
    ) -> None:
        """Write the script that would be submitted."""
        spec = copy.deepcopy(job.spec)
        if spec is not None and spec.directory is not None:
            spec.directory = Path(spec.directory).absolute()
        submit_file.write(self.render(Job(spec)).script or "")


BatchSchedulerExecutor.register(SlurmJobExecutor)
