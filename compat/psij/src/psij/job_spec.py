"""Job specifications: see :mod:`exaworks.psij.job_spec`."""

from exaworks.psij.job_spec import (
    JobSpec,
)

__all__ = [
    "JobSpec",
]
