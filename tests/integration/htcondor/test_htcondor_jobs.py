"""Jobs of all kinds on a real HTCondor."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from htcondor_pool import custom, essence, quick, shell, told

from exaworks import psij
from exaworks.psij import (
    InvalidJobException,
    Job,
    JobAttributes,
    JobExecutor,
    JobState,
    Reason,
    ResourceSpecV1,
    SubmitException,
)
from patience import end

pytestmark = pytest.mark.htcondor


@pytest.fixture
def executor(tmp_path: Path) -> JobExecutor:
    return quick(tmp_path / 'it\'s a "$ work" #dir')


def test_what_the_scheduler_is_told(executor: JobExecutor) -> None:
    attributes = custom(timedelta(minutes=5), requirements='Machine == "none"', priority=7)
    attributes.account = "group_a"
    job = shell(
        "true",
        name="1 'name' $(x) \\ | é",
        attributes=attributes,
        resources=ResourceSpecV1(process_count=2, cpu_cores_per_process=3, memory=10**8),
    )
    executor.submit(job)
    facts = told(job)
    assert facts["JobBatchName"] == "1 'name' _(x) _ | é"
    assert (facts["RequestCpus"], facts["RequestMemory"]) == (6, 96)
    assert facts["AllowedJobDuration"] == 300
    assert facts["AcctGroup"] == "group_a"
    info = executor.info([job])[0]
    assert info.spec is not None
    assert info.spec.attributes.duration == timedelta(minutes=5)
    assert info.spec.attributes.account == "group_a"
    assert info.current_info is not None
    assert info.current_info.priority == 7
    job.cancel()
    assert essence(end(job)) == (JobState.CANCELED, Reason.CANCELED, None)


@pytest.mark.parametrize(
    ("attributes", "resources", "message"),
    [
        (JobAttributes(queue_name="q"), ResourceSpecV1(), "has no queues"),
        (JobAttributes(reservation_id="q"), ResourceSpecV1(), "has no reservations"),
        (custom(), ResourceSpecV1(node_count=2), "vanilla universe"),
        (custom(), ResourceSpecV1(exclusive_node_use=True), "whole node"),
    ],
)
def test_what_cannot_be_said(
    executor: JobExecutor, attributes: JobAttributes, resources: ResourceSpecV1, message: str
) -> None:
    with pytest.raises(InvalidJobException, match=message):
        executor.submit(shell("true", attributes=attributes, resources=resources))


def test_refusals_are_in_the_schedulers_words(executor: JobExecutor) -> None:
    job = shell("true", attributes=custom(requirements="((("))
    with pytest.raises(SubmitException, match="Parse error") as problem:
        executor.submit(job)
    assert not problem.value.transient
    assert job.status.state is JobState.NEW


def test_an_array_of_200_with_one_cancelled(executor: JobExecutor) -> None:
    jobs = [shell(f"exit {i % 3}") for i in range(199)]
    jobs.append(shell("sleep 300"))
    executor.submit_many(jobs)
    assert len({str(job.native_id).partition(".")[0] for job in jobs}) == 1
    jobs[-1].wait(120, JobState.ACTIVE)
    jobs[-1].cancel()
    _, not_done = psij.wait(jobs, 120)
    assert not not_done
    assert [job.status.exit_code for job in jobs[:-1]] == [i % 3 for i in range(199)]
    assert jobs[-1].status.state is JobState.CANCELED


def test_the_time_limit(executor: JobExecutor) -> None:
    job = shell("sleep 300", attributes=JobAttributes(timedelta(seconds=5)))
    executor.submit(job)
    status = end(job)
    assert (status.state, status.reason) == (JobState.FAILED, Reason.TIMEOUT), status
    assert "exceeded allowed job duration" in (status.message or "")


def test_somebody_else_cancels_and_holds(executor: JobExecutor) -> None:
    running, waiting = shell("sleep 300"), shell("true", attributes=custom(requirements="false"))
    executor.submit(running)
    executor.submit(waiting)
    running.wait(60, JobState.ACTIVE)
    with pytest.raises(SubmitException):
        executor.hold(running)
    executor.hold(waiting)
    assert executor.info([waiting])[0].status.state is JobState.HELD
    for job in (running, waiting):
        subprocess.run(["condor_rm", str(job.native_id)], check=True)
        assert end(job).state is JobState.CANCELED


def test_a_job_that_is_started_again(executor: JobExecutor, tmp_path: Path) -> None:
    job = shell(f"[ -e '{tmp_path}/first' ] && exit 5; touch '{tmp_path}/first'; sleep 300")
    executor.submit(job)
    job.wait(60, JobState.ACTIVE)
    for word in ("condor_hold", "condor_release"):
        subprocess.run([word, str(job.native_id)], check=True)
    status = end(job)
    assert (status.exit_code, (status.metadata or {}).get("restarts")) == (5, 1), status


def test_a_job_that_ignores_the_end(executor: JobExecutor) -> None:
    job = shell("trap '' TERM; while :; do sleep 1; done", attributes=custom(job_max_vacate_time=3))
    executor.submit(job)
    job.wait(60, JobState.ACTIVE)
    job.cancel()
    assert end(job).state is JobState.CANCELED


@pytest.mark.parametrize("value", ["x\nqueue 7\n", 'it\'s $(HOME) \\ "é" `id`\n\x1b[1m'])
def test_odd_environments_are_inherited(
    executor: JobExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("ODD", value)
    monkeypatch.setenv("EXAWORKS_JOB", "7.7")
    job = shell('printf %s "$ODD"; echo "$EXAWORKS_JOB" >&2')
    assert job.spec is not None
    job.spec.stdout_path, job.spec.stderr_path = tmp_path / "out", tmp_path / "err"
    executor.submit(job)
    assert executor.find([job.id]) == {job.id: job.native_id}
    assert end(job).state is JobState.COMPLETED, job.status
    assert (tmp_path / "out").read_bytes().decode() == value
    assert (tmp_path / "err").read_text().strip() == job.native_id


def test_attaching_later(executor: JobExecutor) -> None:
    """By what HTCondor says alone."""
    ended, gone, never = shell("exit 7"), shell("sleep 300"), Job()
    executor.submit_many([ended, gone])
    gone.wait(60, JobState.ACTIVE)
    gone.cancel()
    assert {end(ended).exit_code, end(gone).state} == {7, JobState.CANCELED}
    other = quick(Path.cwd() / "other")
    again = [Job(), Job()]
    for old, new in zip((ended, gone), again, strict=True):
        other.attach(new, str(old.native_id))
    assert essence(end(again[0])) == (JobState.FAILED, Reason.EXIT_CODE, 7)
    assert (end(again[1]).state, again[1].status.reason) == (JobState.CANCELED, Reason.CANCELED)
    other.attach(never, "7654321.0")
    assert essence(end(never))[:2] == (JobState.FAILED, Reason.LOST)
