"""The Slurm executor from another machine, against the PSI/J semantics."""

import subprocess

import pytest

from exaworks.psij import Job, JobAttributes, JobExecutor
from exaworks.psij.conformance import JobExecutorConformance
from exaworks.psij.executors.batch import BatchSchedulerExecutorConfig

pytestmark = [pytest.mark.slurm, pytest.mark.ssh]


@pytest.fixture(autouse=True)
def _no_slurm_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the other machine knows where the cluster is."""
    monkeypatch.delenv("SLURM_CONF", raising=False)


class TestSlurmOverSsh(JobExecutorConformance):
    launchers = ("single", "multiple", "srun")
    many = 100
    same_machine = False

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        self.folder = tmp_path_factory.mktemp("far away")

    def make_executor(self) -> JobExecutor:
        settings = BatchSchedulerExecutorConfig(work_directory=self.folder)
        return JobExecutor.get_instance("slurm", url="ssh://cluster", config=settings)

    def queued_job(self, executor: JobExecutor) -> Job:
        spec = self.spec("/bin/true")
        spec.attributes = JobAttributes(custom_attributes={"slurm.begin": "now+1hour"})
        self.waiting = Job(spec)
        executor.submit(self.waiting)
        return self.waiting

    def let_start(self, executor: JobExecutor) -> None:
        words = f"scontrol update jobid={self.waiting.native_id} starttime=now"
        subprocess.run(["sh", "-c", f"$EXAWORKS_SSH cluster {words}"], check=True)
