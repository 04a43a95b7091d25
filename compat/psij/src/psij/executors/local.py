"""The executor for this machine: see :mod:`exaworks.psij.executors.local`."""

from exaworks.psij.executors.local import LocalExecutorConfig
from exaworks.psij.executors.local import LocalJobExecutor as _LocalJobExecutor
from psij.executors._listing import CompleteInfo

__all__ = ["LocalExecutorConfig", "LocalJobExecutor"]


class LocalJobExecutor(CompleteInfo, _LocalJobExecutor):
    """The executor for this machine."""

    _NAME_ = "local"
    _VERSION_ = "0.9.12"
