"""The executor for Cobalt as a whole, with a stand-in for Cobalt's commands."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from field_fakes import COBALT, FakeScheduler

from exaworks.psij import Job, JobAttributes, JobSpec, JobState, Reason, SubmitException
from exaworks.psij.executors.batch import BatchSchedulerExecutorConfig, monitor
from exaworks.psij.executors.cobalt import CobaltJobExecutor
from patience import TIMEOUT, end


@pytest.fixture
def cobalt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeScheduler:
    monkeypatch.setattr(monitor, "LOST_PATIENCE_WITHOUT_ACCOUNTING", 1.0)
    fake = FakeScheduler(tmp_path / "fake", COBALT)
    monkeypatch.setenv("PATH", f"{fake.folder / 'bin'}:{os.environ['PATH']}")
    return fake


@pytest.fixture
def executor(cobalt: FakeScheduler, tmp_path: Path) -> CobaltJobExecutor:
    return CobaltJobExecutor(config=BatchSchedulerExecutorConfig(work_directory=tmp_path / "work"))


def shell(text: str, **fields: object) -> Job:
    return Job(JobSpec("/bin/sh", ["-c", text], **fields))  # type: ignore[arg-type]


def test_jobs_run_with_the_environment_if_it_is_wanted(
    executor: CobaltJobExecutor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FIELD_TEST", 'it\'s "here"\n$x')
    monkeypatch.setenv("COBALT_JOBID", "7")
    text = '[ "$FIELD_TEST" = "$1" ] && [ "$COBALT_JOBID" != 7 ]; exit $?'
    job = Job(JobSpec("/bin/sh", ["-c", text, "sh", os.environ["FIELD_TEST"]]))
    bare = shell('exit "${FIELD_TEST:-3}"', inherit_environment=False)
    executor.submit_many([job, bare])
    assert {job.native_id, bare.native_id} == {"101", "102"}
    assert end(job).exit_code == 0
    assert end(bare).exit_code == 3
    assert not list((tmp_path / "work").rglob("*.env"))


def test_cancelling(executor: CobaltJobExecutor) -> None:
    job = shell("sleep 60")
    executor.submit(job)
    assert job.wait(TIMEOUT, [JobState.ACTIVE]) is not None
    job.cancel()
    assert end(job).state is JobState.CANCELED


def test_the_time_limit(executor: CobaltJobExecutor, cobalt: FakeScheduler) -> None:
    cobalt.set("late")
    job = shell(f"echo ready >'{cobalt.folder}/begun'; sleep 60")
    executor.submit(job)
    status = end(job)
    assert (status.state, (status.metadata or {})["reason"]) == (JobState.FAILED, Reason.TIMEOUT)


def test_refusals(executor: CobaltJobExecutor) -> None:
    with pytest.raises(SubmitException, match="does not exist") as refused:
        executor.submit(shell("exit 0", attributes=JobAttributes(queue_name="bad")))
    assert not refused.value.is_transient
