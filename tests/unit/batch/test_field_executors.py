"""The executors of schedulers in the field as a whole, with stand-ins for the commands."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from field_fakes import COBALT, NQSV, FakeScheduler

from exaworks.psij import Job, JobAttributes, JobSpec, JobState, Reason, SubmitException
from exaworks.psij.executors.batch import BatchSchedulerExecutorConfig, monitor
from exaworks.psij.executors.batch.executor import BatchExecutor
from exaworks.psij.executors.cobalt import CobaltJobExecutor
from exaworks.psij.executors.nqsv import NqsvJobExecutor
from patience import TIMEOUT, end

KINDS = {
    "cobalt": (CobaltJobExecutor, COBALT, "does not exist"),
    "nqsv": (NqsvJobExecutor, NQSV, "No such queue"),
}


@pytest.fixture
def fake(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> FakeScheduler:
    monkeypatch.setattr(monitor, "LOST_PATIENCE_WITHOUT_ACCOUNTING", 1.0)
    fake = FakeScheduler(tmp_path / "fake", KINDS[request.param][1])
    monkeypatch.setenv("PATH", f"{fake.folder / 'bin'}:{os.environ['PATH']}")
    return fake


@pytest.fixture
def executor(request: pytest.FixtureRequest, fake: FakeScheduler, tmp_path: Path) -> BatchExecutor:
    kind = KINDS[request.node.callspec.params["fake"]][0]
    return kind(config=BatchSchedulerExecutorConfig(work_directory=tmp_path / "work"))


def shell(text: str, **fields: object) -> Job:
    return Job(JobSpec("/bin/sh", ["-c", text], **fields))  # type: ignore[arg-type]


on_each = pytest.mark.parametrize("fake", KINDS, indirect=True)


@on_each
def test_cancelling(executor: BatchExecutor) -> None:
    job = shell("sleep 60")
    executor.submit(job)
    assert job.wait(TIMEOUT, [JobState.ACTIVE]) is not None
    job.cancel()
    assert end(job).state is JobState.CANCELED


@on_each
def test_the_time_limit(executor: BatchExecutor, fake: FakeScheduler) -> None:
    fake.set("late")
    job = shell(f"echo ready >'{fake.folder}/begun'; sleep 60")
    executor.submit(job)
    status = end(job)
    assert (status.state, (status.metadata or {})["reason"]) == (JobState.FAILED, Reason.TIMEOUT)


@on_each
def test_refusals(executor: BatchExecutor, request: pytest.FixtureRequest) -> None:
    words = KINDS[request.node.callspec.params["fake"]][2]
    with pytest.raises(SubmitException, match=words) as refused:
        executor.submit(shell("exit 0", attributes=JobAttributes(queue_name="bad")))
    assert not refused.value.is_transient


@pytest.mark.parametrize("fake", ["nqsv"], indirect=True)
def test_jobs_and_arrays_run(executor: BatchExecutor) -> None:
    job = shell("exit 3")
    executor.submit(job)
    assert (job.native_id, end(job).exit_code) == ("101.nqsv", 3)
    many = [shell(f"exit {i}") for i in range(3)]
    executor.submit_many(many)
    assert [job.native_id for job in many] == [f"102[{i}].nqsv" for i in (1, 2, 3)]
    assert [end(job).exit_code for job in many] == [0, 1, 2]


@pytest.mark.parametrize("fake", ["cobalt"], indirect=True)
def test_jobs_run_with_the_environment_if_it_is_wanted(
    executor: BatchExecutor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
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
