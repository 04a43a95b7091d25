"""The PBS executors against the PSI/J semantics, on a real PBS."""

from __future__ import annotations

import subprocess

import pytest
from pbs_system import which

from exaworks.psij import Job, JobAttributes, JobExecutor
from exaworks.psij.conformance import JobExecutorConformance

pytestmark = pytest.mark.pbs


class TestPbs(JobExecutorConformance):
    timeout = 120.0

    def make_executor(self) -> JobExecutor:
        return JobExecutor.get_instance(which())

    def queued_job(self, executor: JobExecutor) -> Job:
        spec = self.spec("/bin/true")
        spec.attributes = JobAttributes(custom_attributes={"pbs.a": "203701010000"})
        self.waiting = Job(spec)
        executor.submit(self.waiting)
        return self.waiting

    def let_start(self, executor: JobExecutor) -> None:
        subprocess.run(["qalter", "-a", "202001010000", str(self.waiting.native_id)], check=True)
