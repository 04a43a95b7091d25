"""Job attributes: see :mod:`exaworks.psij.job_attributes`."""

from exaworks.psij.job_attributes import (
    JobAttributes,
)

__all__ = [
    "JobAttributes",
]
