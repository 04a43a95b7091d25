"""The Slurm executor against the PSI/J semantics, on a real cluster."""

import subprocess

import pytest

from exaworks.psij import Job, JobAttributes, JobExecutor
from exaworks.psij.conformance import JobExecutorConformance

pytestmark = pytest.mark.slurm


class TestSlurm(JobExecutorConformance):
    launchers = ("single", "multiple", "srun")
    many = 100

    def make_executor(self) -> JobExecutor:
        return JobExecutor.get_instance("slurm")

    def queued_job(self, executor: JobExecutor) -> Job:
        spec = self.spec("/bin/true")
        spec.attributes = JobAttributes(custom_attributes={"slurm.begin": "now+1hour"})
        self.waiting = Job(spec)
        executor.submit(self.waiting)
        return self.waiting

    def let_start(self, executor: JobExecutor) -> None:
        words = ["scontrol", "update", f"jobid={self.waiting.native_id}", "starttime=now"]
        subprocess.run(words, check=True)
