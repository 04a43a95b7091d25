"""The executor for machines without a scheduler, against the PSI/J semantics."""

import pytest

from exaworks.psij import Job, JobExecutor
from exaworks.psij.conformance import JobExecutorConformance
from exaworks.psij.executors.batch import BatchSchedulerExecutorConfig

pytestmark = pytest.mark.ssh


class TestSsh(JobExecutorConformance):
    same_machine = False

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        self.folder = tmp_path_factory.mktemp("far away")

    def queued_job(self, executor: JobExecutor) -> Job:
        self.first = Job(self.spec("/bin/sleep", "300"))
        executor.submit(self.first)
        spec = self.spec("/bin/true")
        spec.attributes.dependencies = {"afterany": [self.first]}
        waiting = Job(spec)
        executor.submit(waiting)
        return waiting

    def let_start(self, executor: JobExecutor) -> None:
        self.first.cancel()

    def make_executor(self) -> JobExecutor:
        settings = BatchSchedulerExecutorConfig(work_directory=self.folder)
        return JobExecutor.get_instance("ssh", url="ssh://cluster", config=settings)
