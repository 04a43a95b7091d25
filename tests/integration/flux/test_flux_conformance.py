"""The executor for Flux against the PSI/J semantics, on a real instance."""

from __future__ import annotations

import pytest
from flux_instance import Instance

from exaworks.psij import Job, JobExecutor, JobState, ResourceSpecV1
from exaworks.psij.conformance import JobExecutorConformance
from exaworks.psij.executors.flux import FluxExecutorConfig

pytestmark = pytest.mark.flux


class TestFlux(JobExecutorConformance):
    launchers = ("single", "multiple", "mpirun", "srun")
    submit_with = "socket"

    @pytest.fixture(autouse=True)
    def _address(self, instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FLUX_URI", instance.uri)

    def make_executor(self) -> JobExecutor:
        config = FluxExecutorConfig(submit_with=self.submit_with)
        return JobExecutor.get_instance("flux", config=config)

    def queued_job(self, executor: JobExecutor) -> Job:
        everything = ResourceSpecV1(node_count=2, exclusive_node_use=True)
        self.blocker = Job(self.spec("/bin/sleep", "300", resources=everything))
        waiting = Job(self.spec("/bin/true"))
        executor.submit(self.blocker)
        executor.submit(waiting)
        self.reach(self.blocker, JobState.ACTIVE)
        return waiting

    def let_start(self, executor: JobExecutor) -> None:
        self.blocker.cancel()


class TestFluxByCommand(TestFlux):
    """The same as it is done for guests: submission by command, watching job by job."""

    submit_with = "command"
