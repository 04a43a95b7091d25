"""The executor for this machine: see :mod:`exaworks.psij.executors.local`."""

from exaworks.psij.executors.local import LocalExecutorConfig, LocalJobExecutor

__all__ = ["LocalExecutorConfig", "LocalJobExecutor"]
