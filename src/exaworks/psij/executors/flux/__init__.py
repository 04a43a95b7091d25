"""The executor ``flux``: jobs in an instance of Flux, without Flux's Python bindings."""

from exaworks.psij.executors.flux.config import FluxExecutorConfig
from exaworks.psij.executors.flux.executor import FluxJobExecutor

__all__ = ["FluxExecutorConfig", "FluxJobExecutor"]
