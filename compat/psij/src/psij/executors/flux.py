"""The executor for Flux."""

from __future__ import annotations

from exaworks.psij.executors.flux import FluxJobExecutor as _FluxJobExecutor
from psij.executors._listing import CompleteInfo

__all__ = ["FluxJobExecutor"]


class FluxJobExecutor(CompleteInfo, _FluxJobExecutor):
    """The executor for Flux."""

    _NAME_ = "flux"
    _VERSION_ = "0.9.12"
