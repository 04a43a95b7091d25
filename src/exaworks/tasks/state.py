"""The states of a task."""

from __future__ import annotations

from enum import Enum

__all__ = ["TaskState"]


class TaskState(Enum):
    """Where a task is. The names are those of :class:`exaworks.psij.JobState`."""

    QUEUED = "QUEUED"
    """It waits for resources."""
    ACTIVE = "ACTIVE"
    """It runs, or was handed to a worker that will run it next."""
    COMPLETED = "COMPLETED"
    """It has ended well."""
    FAILED = "FAILED"
    """It has ended otherwise."""
    CANCELED = "CANCELED"
    """It was cancelled."""

    @property
    def final(self) -> bool:
        """Whether nothing comes after it."""
        return self in (TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELED)
