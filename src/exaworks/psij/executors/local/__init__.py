"""The executor for this machine: processes started directly, kept by the keeper."""

from exaworks.psij.executors.local.config import LocalExecutorConfig
from exaworks.psij.executors.local.executor import LocalJobExecutor

__all__ = ["LocalExecutorConfig", "LocalJobExecutor"]
