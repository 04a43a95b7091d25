"""The executor for this machine against the PSI/J semantics."""

import shutil
from pathlib import Path

import pytest

from exaworks.psij import Job, JobExecutor, JobState
from exaworks.psij.conformance import JobExecutorConformance
from exaworks.psij.executors.local import LocalExecutorConfig

MPI = ("mpirun", "mpiexec") if shutil.which("mpirun") else ()


class TestLocal(JobExecutorConformance):
    timeout = 30.0
    many = 500

    @pytest.fixture(autouse=True)
    def _home(self, local_home: Path) -> None:
        """Each test has a keeper of its own."""

    def make_executor(self) -> JobExecutor:
        return JobExecutor.get_instance("local")

    def queued_job(self, executor: JobExecutor) -> Job:
        self.narrow = JobExecutor.get_instance(
            "local", config=LocalExecutorConfig(max_running_jobs=1)
        )
        self.blocker = Job(self.spec("/bin/sleep", "300"))
        self.narrow.submit(self.blocker)
        self.reach(self.blocker, JobState.ACTIVE)
        job = Job(self.spec("/bin/true"))
        self.narrow.submit(job)
        assert job.status.state is JobState.QUEUED
        return job

    def let_start(self, executor: JobExecutor) -> None:
        self.blocker.cancel()
