"""The OAR executor against the PSI/J semantics, on a real one."""

import subprocess

import pytest

from exaworks.psij import Job, JobAttributes, JobExecutor
from exaworks.psij.conformance import JobExecutorConformance

pytestmark = pytest.mark.oar


class TestOar(JobExecutorConformance):
    timeout = 120.0

    def make_executor(self) -> JobExecutor:
        return JobExecutor.get_instance("oar")

    def queued_job(self, executor: JobExecutor) -> Job:
        """OAR lets nobody hold a job that is about to start, so it waits for another."""
        self.first = Job(self.spec("/bin/sleep", "300"))
        executor.submit(self.first)
        spec = self.spec("/bin/true")
        spec.attributes = JobAttributes(
            custom_attributes={"oar.anterior": str(self.first.native_id)}
        )
        waiting = Job(spec)
        executor.submit(waiting)
        return waiting

    def let_start(self, executor: JobExecutor) -> None:
        subprocess.run(["oardel", str(self.first.native_id)], check=True)
