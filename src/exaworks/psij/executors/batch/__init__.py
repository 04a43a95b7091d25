"""What is needed to support a batch scheduler: an adapter, and the executor that uses it."""

from exaworks.psij.executors.batch.adapter import (
    Accepted,
    Answer,
    Details,
    Hint,
    Observation,
    Option,
    Rejected,
    Request,
    SchedulerAdapter,
    Site,
)
from exaworks.psij.executors.batch.config import BatchSchedulerExecutorConfig
from exaworks.psij.executors.batch.executor import BatchExecutor

__all__ = [
    "Accepted",
    "Answer",
    "BatchExecutor",
    "BatchSchedulerExecutorConfig",
    "Details",
    "Hint",
    "Observation",
    "Option",
    "Rejected",
    "Request",
    "SchedulerAdapter",
    "Site",
]
