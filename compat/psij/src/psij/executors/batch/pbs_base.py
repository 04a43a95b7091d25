"""Settings of the executors for PBS."""

from psij.executors.batch.batch_scheduler_executor import BatchSchedulerExecutorConfig

__all__ = ["PBSExecutorConfig"]


class PBSExecutorConfig(BatchSchedulerExecutorConfig):
    """Settings of the executors for PBS Pro and Torque."""
