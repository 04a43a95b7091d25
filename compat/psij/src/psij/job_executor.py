"""Executors: see :mod:`exaworks.psij.job_executor`."""

from exaworks.psij.job_executor import (
    JobExecutor,
)

__all__ = [
    "JobExecutor",
]
