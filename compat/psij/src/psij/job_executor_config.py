"""Settings of executors: see :mod:`exaworks.psij.job_executor_config`."""

from exaworks.psij.job_executor_config import (
    JobExecutorConfig,
)

__all__ = [
    "JobExecutorConfig",
]
