"""The Grid Engine executor against the PSI/J semantics, on a real one."""

import subprocess

import pytest

from exaworks.psij import Job, JobAttributes, JobExecutor
from exaworks.psij.conformance import JobExecutorConformance

pytestmark = pytest.mark.grid_engine


class TestGridEngine(JobExecutorConformance):
    many = 100
    timeout = 180.0  # a signal that is lost is sent again after a minute

    def make_executor(self) -> JobExecutor:
        return JobExecutor.get_instance("grid_engine")

    def attributes(self) -> JobAttributes:
        return JobAttributes(custom_attributes={"grid_engine.pe": "smp"})

    def queued_job(self, executor: JobExecutor) -> Job:
        spec = self.spec("/bin/true")
        spec.attributes = JobAttributes(custom_attributes={"grid_engine.a": "203001010000"})
        self.waiting = Job(spec)
        executor.submit(self.waiting)
        return self.waiting

    def let_start(self, executor: JobExecutor) -> None:
        words = ["qalter", "-a", "202001010000", str(self.waiting.native_id)]
        subprocess.run(words, check=True)
