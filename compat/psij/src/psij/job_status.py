"""Job statuses: see :mod:`exaworks.psij.job_status`."""

from exaworks.psij.job_status import (
    JobStatus,
    Reason,
)

__all__ = [
    "JobStatus",
    "Reason",
]
