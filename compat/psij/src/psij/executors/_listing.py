"""What Open OnDemand's adapter takes for granted in the jobs that ``info`` returns."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from datetime import timedelta

from exaworks.psij import Job, JobExecutor, ResourceSpecV1

__all__ = ["CompleteInfo"]


class CompleteInfo(JobExecutor):
    """Fills in what is unknown, so that every attribute can be formatted.

    A job that has not started has its submission time as ``dispatch_time`` (its ``wall_time`` is
    0), and a job without a time limit a ``duration`` of zero.
    """

    def info(
        self, jobs: Sequence[Job] | None = None, owner: str | None = None
    ) -> builtins.list[Job]:
        """See :meth:`exaworks.psij.JobExecutor.info`."""
        found = super().info(jobs, owner)
        for job in found:
            info, spec = job.current_info, job.spec
            if info is not None and info.dispatch_time is None:
                info.dispatch_time = info.submission_time
            if spec is not None:
                spec.resources = spec.resources or ResourceSpecV1()
                spec.attributes.duration = spec.attributes.duration or timedelta(0)
        return found
