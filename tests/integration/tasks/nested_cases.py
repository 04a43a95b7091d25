"""The semantics of PSI/J for jobs in an engine of four cores."""

from __future__ import annotations

from exaworks.psij import Job, JobExecutor, JobState, ResourceSpecV1
from exaworks.psij.conformance import JobExecutorConformance


class NestedCases(JobExecutorConformance):
    """How a job waits there."""

    blocker: Job

    def queued_job(self, executor: JobExecutor) -> Job:
        everything = ResourceSpecV1(cpu_cores_per_process=4)
        self.blocker = Job(self.spec("/bin/sleep", "300", resources=everything))
        executor.submit(self.blocker)
        self.reach(self.blocker, JobState.ACTIVE)
        job = Job(self.spec("/bin/true"))
        executor.submit(job)
        assert job.status.state is JobState.QUEUED
        return job

    def let_start(self, executor: JobExecutor) -> None:
        self.blocker.cancel()
