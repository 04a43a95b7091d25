"""Job states: see :mod:`exaworks.psij.job_state`."""

from exaworks.psij.job_state import (
    JobState,
    JobStateOrder,
)

__all__ = [
    "JobState",
    "JobStateOrder",
]
