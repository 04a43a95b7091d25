"""The executor for LSF as a whole, with a stand-in for LSF's commands."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from field_fakes import LSF, FakeScheduler

from exaworks import psij
from exaworks.psij import Job, JobAttributes, JobSpec, JobState, Reason, SubmitException
from exaworks.psij.executors.batch import BatchSchedulerExecutorConfig
from exaworks.psij.executors.lsf import LsfJobExecutor
from patience import TIMEOUT, end, until


@pytest.fixture
def lsf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeScheduler:
    fake = FakeScheduler(tmp_path / "fake lsf", LSF)
    monkeypatch.setenv("PATH", f"{fake.folder / 'bin'}:{os.environ['PATH']}")
    return fake


@pytest.fixture
def executor(lsf: FakeScheduler, tmp_path: Path) -> LsfJobExecutor:
    return LsfJobExecutor(config=BatchSchedulerExecutorConfig(work_directory=tmp_path / "work"))


def shell(text: str, **fields: object) -> Job:
    return Job(JobSpec("/bin/sh", ["-c", text], **fields))  # type: ignore[arg-type]


def test_jobs_and_arrays_run(lsf: FakeScheduler, executor: LsfJobExecutor, tmp_path: Path) -> None:
    lsf.set("busy")
    out = tmp_path / "out put"
    job = shell('echo "$PSIJ_NODEFILE"; cat "$PSIJ_NODEFILE"; exit 3', stdout_path=out)
    executor.submit(job)
    assert (job.native_id, end(job).exit_code) == ("101", 3)
    assert out.read_text().splitlines()[1:] == ["node1", "node1"]
    many = [shell(f"exit {i}") for i in range(3)]
    executor.submit_many(many)
    assert [job.native_id for job in many] == ["102[1]", "102[2]", "102[3]"]
    assert [end(job).exit_code for job in many] == [0, 1, 2]
    work = tmp_path / "work" / "lsf"
    assert sorted(p.name for p in (work / "records" / "fake").iterdir()) == [
        "101", "102[1]", "102[2]", "102[3]",
    ]  # fmt: skip
    again = psij.Job()
    executor.attach(again, "102[3]")
    assert end(again).exit_code == 2


def test_cancelling(lsf: FakeScheduler, executor: LsfJobExecutor) -> None:
    job = shell("sleep 60")
    executor.submit(job)
    assert job.wait(TIMEOUT, [JobState.ACTIVE]) is not None
    job.cancel()
    assert end(job).state is JobState.CANCELED
    job.cancel()


def test_the_run_limit(lsf: FakeScheduler, executor: LsfJobExecutor, tmp_path: Path) -> None:
    """As LSF does at the run limit: SIGUSR2 for all processes of the job."""
    begun = tmp_path / "begun"
    job = shell(f"echo $PPID >'{begun}.new'; mv '{begun}.new' '{begun}'; kill -USR2 $PPID $$")
    lsf.set("why.101", "TERM_RUNLIMIT: job killed after reaching LSF run time limit")
    executor.submit(job)
    status = end(job)
    assert begun.exists()
    assert (status.state, (status.metadata or {})["reason"]) == (JobState.FAILED, Reason.TIMEOUT)
    assert "TERM_RUNLIMIT" in (status.message or "")


def test_arguments_that_look_like_options(lsf: FakeScheduler, executor: LsfJobExecutor) -> None:
    text = "\n#BSUB -q bad\n'\\ %J\\n\n# BSUB -J x[1-9]\n"
    same = '[ "$1" = "$WANTED" ] && [ ${#1} = 39 ]'
    job = Job(JobSpec("/bin/sh", ["-c", same, "sh", text], environment={"WANTED": text}))
    assert len(text) == 39
    executor.submit(job)
    assert end(job).exit_code == 0
    assert job.native_id == "101"


def test_refusals(lsf: FakeScheduler, tmp_path: Path) -> None:
    settings = BatchSchedulerExecutorConfig(
        work_directory=tmp_path / "work", on_queue_limit="raise", submit_patience=0.0
    )
    executor = LsfJobExecutor(config=settings)
    with pytest.raises(SubmitException, match="No such queue") as refused:
        executor.submit(shell("exit 0", attributes=JobAttributes(queue_name="bad")))
    assert not refused.value.is_transient
    lsf.set("down")
    with pytest.raises(SubmitException, match="LSF is down") as refused:
        executor.submit(shell("exit 0"))
    assert refused.value.is_transient
    lsf.unset("down")
    lsf.set("limit")
    with pytest.raises(SubmitException, match="threshold") as refused:
        executor.submit(shell("exit 0"))
    assert refused.value.is_transient


def test_lsf_that_is_down_for_a_while(lsf: FakeScheduler, executor: LsfJobExecutor) -> None:
    job = shell("sleep 0.5; exit 4")
    executor.submit(job)
    lsf.set("down")
    until(lambda: len(lsf.lines("queries")) > 0 or job.status.final)
    lsf.unset("down")
    assert end(job).exit_code == 4
