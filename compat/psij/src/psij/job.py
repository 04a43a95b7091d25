"""Jobs and their callbacks: see :mod:`exaworks.psij.job`."""

from exaworks.psij.job import (
    FunctionJobStatusCallback,
    Job,
    JobStatusCallback,
)

__all__ = [
    "FunctionJobStatusCallback",
    "Job",
    "JobStatusCallback",
]
