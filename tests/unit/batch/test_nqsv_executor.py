"""The executor for NQSV as a whole, with a stand-in for NQSV's commands."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from field_fakes import NQSV, FakeScheduler

from exaworks.psij import Job, JobAttributes, JobSpec, JobState, Reason, SubmitException
from exaworks.psij.executors.batch import BatchSchedulerExecutorConfig, monitor
from exaworks.psij.executors.nqsv import NqsvJobExecutor
from patience import TIMEOUT, end


@pytest.fixture
def nqsv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeScheduler:
    monkeypatch.setattr(monitor, "LOST_PATIENCE_WITHOUT_ACCOUNTING", 1.0)
    fake = FakeScheduler(tmp_path / "fake", NQSV)
    monkeypatch.setenv("PATH", f"{fake.folder / 'bin'}:{os.environ['PATH']}")
    return fake


@pytest.fixture
def executor(nqsv: FakeScheduler, tmp_path: Path) -> NqsvJobExecutor:
    return NqsvJobExecutor(config=BatchSchedulerExecutorConfig(work_directory=tmp_path / "work"))


def shell(text: str, **fields: object) -> Job:
    return Job(JobSpec("/bin/sh", ["-c", text], **fields))  # type: ignore[arg-type]


def test_jobs_and_arrays_run(executor: NqsvJobExecutor, tmp_path: Path) -> None:
    job = shell("exit 3")
    executor.submit(job)
    assert (job.native_id, end(job).exit_code) == ("101.nqsv", 3)
    many = [shell(f"exit {i}") for i in range(3)]
    executor.submit_many(many)
    assert [job.native_id for job in many] == [f"102[{i}].nqsv" for i in (1, 2, 3)]
    assert [end(job).exit_code for job in many] == [0, 1, 2]


def test_cancelling(executor: NqsvJobExecutor) -> None:
    job = shell("sleep 60")
    executor.submit(job)
    assert job.wait(TIMEOUT, [JobState.ACTIVE]) is not None
    job.cancel()
    assert end(job).state is JobState.CANCELED


def test_the_time_limit(executor: NqsvJobExecutor, nqsv: FakeScheduler) -> None:
    nqsv.set("late")
    job = shell(f"echo ready >'{nqsv.folder}/begun'; sleep 60")
    executor.submit(job)
    status = end(job)
    assert (status.state, (status.metadata or {})["reason"]) == (JobState.FAILED, Reason.TIMEOUT)


def test_refusals(executor: NqsvJobExecutor) -> None:
    with pytest.raises(SubmitException, match="No such queue") as refused:
        executor.submit(shell("exit 0", attributes=JobAttributes(queue_name="bad")))
    assert not refused.value.is_transient
