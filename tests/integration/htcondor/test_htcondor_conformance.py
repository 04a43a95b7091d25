"""The HTCondor executor against the PSI/J semantics, on a real one."""

import subprocess

import pytest

from exaworks.psij import Job, JobAttributes, JobExecutor
from exaworks.psij.conformance import JobExecutorConformance

pytestmark = pytest.mark.htcondor


class TestHTCondor(JobExecutorConformance):
    timeout = 90.0

    def make_executor(self) -> JobExecutor:
        return JobExecutor.get_instance("htcondor")

    def queued_job(self, executor: JobExecutor) -> Job:
        spec = self.spec("/bin/true")
        spec.attributes = JobAttributes(
            custom_attributes={"htcondor.requirements": 'Machine == "none"'}
        )
        self.waiting = Job(spec)
        executor.submit(self.waiting)
        return self.waiting

    def let_start(self, executor: JobExecutor) -> None:
        words = ["condor_qedit", str(self.waiting.native_id), "Requirements", "true"]
        subprocess.run(words, check=True)
