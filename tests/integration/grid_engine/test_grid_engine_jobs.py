"""Jobs of all kinds on a real Grid Engine."""

from __future__ import annotations

import os
import shutil
import stat
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from grid_engine_cluster import LATER, accounted, custom, essence, quick, shell

from exaworks import psij
from exaworks.psij import (
    InvalidJobException,
    Job,
    JobAttributes,
    JobExecutor,
    JobSpec,
    JobState,
    Reason,
    ResourceSpecV1,
    SubmitException,
)
from exaworks.psij.executors.batch import BatchSchedulerExecutorConfig
from patience import end, output, until

pytestmark = pytest.mark.grid_engine


@pytest.fixture
def executor(tmp_path: Path) -> JobExecutor:
    return quick(tmp_path / "work: dir")


def test_resources(executor: JobExecutor, tmp_path: Path) -> None:
    show = 'echo "$PE $NSLOTS"; wc -l <"$PSIJ_NODEFILE"; sort -u "$PSIJ_NODEFILE" | wc -l'
    cases = {
        "plain": (ResourceSpecV1(), custom(), "1", 1, None),
        "deep": (ResourceSpecV1(cpu_cores_per_process=3), custom(pe="smp"), "smp 3", 1, None),
        "many": (
            ResourceSpecV1(process_count=2, cpu_cores_per_process=3, memory=2 * 2**20),
            custom(pe="mpi"), "mpi 6", 2, "mem_free=342K",
        ),
        "given": (ResourceSpecV1(), custom(pe="smp 2-4"), "smp 4", 4, None),
        "alone": (ResourceSpecV1(exclusive_node_use=True), custom(), "1", 1, "exclusive=true"),
        "gpus": (ResourceSpecV1(gpu_cores_per_process=2), custom(), "1", 1, "gpu=2"),
        "limit": (ResourceSpecV1(), custom(timedelta(minutes=2)), "1", 1, "h_rt=120"),
    }  # fmt: skip
    jobs = {}
    for name, (resources, attributes, *_) in cases.items():
        fields = {"resources": resources, "attributes": attributes}
        jobs[name] = shell(show, stdout_path=tmp_path / name, **fields)
    executor.submit_many(jobs.values())
    for name, (_, _, slots, processes, request) in cases.items():
        assert end(jobs[name]).state is JobState.COMPLETED, (name, jobs[name].status)
        shown = (tmp_path / name).read_text().split("\n")
        assert [shown[0].strip(), *shown[1:3]] == [slots, str(processes), "1"], name
        if request is not None:
            assert request in accounted(jobs[name])["category"], name


def test_a_parallel_environment_must_be_named(executor: JobExecutor) -> None:
    job = shell("true", resources=ResourceSpecV1(process_count=2))
    with pytest.raises(InvalidJobException, match=r"grid_engine\.pe"):
        executor.submit(job)
    assert job.status.state is JobState.NEW


def test_what_the_scheduler_is_told(executor: JobExecutor) -> None:
    name = "1 'name' $(x) \\ | é,=<&>"
    job = shell(
        "true",
        name=name,
        directory="/usr/lib",
        resources=ResourceSpecV1(process_count=2),
        attributes=JobAttributes(
            duration=timedelta(minutes=20),
            queue_name="debug.q",
            account="proj1",
            custom_attributes={
                "sge.pe": "smp",
                "grid_engine.a": LATER,
                "grid_engine.ac": "mine=two words",
                "grid_engine.r": False,
                "grid_engine.notify": None,
                "grid_engine.m": False,
                "grid_engine.p": -10,
            },
        ),
    )
    before = datetime.now().replace(microsecond=0)
    executor.submit(job)
    shown = output("qstat", "-j", str(job.native_id))
    facts = dict(line.split(":", 1) for line in shown.splitlines() if ":" in line)
    facts = {key: value.strip() for key, value in facts.items()}
    assert facts["notify"] == "TRUE"
    assert "mine=two words" in facts["context"]
    assert facts["hard resource_list"] == "h_rt=1200"
    assert facts["project"] == "proj1"
    info = executor.info([job])[0]
    assert info.status.state is JobState.QUEUED
    assert info.spec is not None
    assert info.spec.name == name
    assert str(info.spec.directory) == "/usr/lib"
    assert info.spec.attributes.duration == timedelta(minutes=20)
    assert info.spec.attributes.queue_name == "debug.q"
    assert info.spec.attributes.account == "proj1"
    assert info.spec.resources == ResourceSpecV1(process_count=2)
    known = info.current_info
    assert known is not None
    assert known.submission_time is not None
    assert before <= known.submission_time <= datetime.now()
    assert known.priority == -10
    assert (known.estimated_start or "").startswith("2030-01-01T00:00:00")
    job.cancel()
    assert essence(end(job)) == (JobState.CANCELED, Reason.CANCELED, None)


@pytest.mark.parametrize("value", ["x\n#$ -N injected\n#$ -q none\n", "\n#$ -l nosuch=1"])
def test_arguments_are_not_options(executor: JobExecutor, tmp_path: Path, value: str) -> None:
    job = Job(JobSpec("/usr/bin/printf", ["%s", value], stdout_path=tmp_path / "out", name="own"))
    executor.submit(job)
    assert end(job).state is JobState.COMPLETED, job.status
    assert (tmp_path / "out").read_text() == value
    assert accounted(job)["jobname"] == "own"


def test_odd_environments_are_inherited(
    executor: JobExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = "a,b=c\n#$ -N x\n\x1b[1m <&>\"'\\ $HOME ü"
    monkeypatch.setenv("ODD", odd)
    job = shell('printf %s "$ODD"; sleep 1', stdout_path=tmp_path / "out")
    executor.submit(job)
    assert executor.find([job.id]) == {job.id: job.native_id}
    assert executor.info([job])
    assert end(job).state is JobState.COMPLETED, job.status
    assert (tmp_path / "out").read_bytes().decode() == odd


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        (JobAttributes(queue_name="nosuch"), 'unknown queue "nosuch"'),
        (JobAttributes(account="nosuch"), 'project "nosuch"'),
        (JobAttributes(reservation_id="77"), "reservation id 77"),
        (custom(l="nosuch=1"), 'unknown resource "nosuch"'),
        (custom(pe="nosuch"), 'environment "nosuch"'),
        (custom(nosuch=1), "nosuch"),
        (custom(l="gpu=99", w="e"), "no suitable queues"),
    ],
)
def test_refusals_are_in_the_schedulers_words(
    executor: JobExecutor, attributes: JobAttributes, message: str
) -> None:
    job = shell("true", attributes=attributes)
    with pytest.raises(SubmitException, match=message) as problem:
        executor.submit(job)
    assert not problem.value.transient
    assert job.status.state is JobState.NEW


def test_a_work_directory_that_cannot_be_said(tmp_path: Path) -> None:
    executor = quick(tmp_path / "a,b")
    with pytest.raises(InvalidJobException, match="work_directory"):
        executor.submit(shell("true"))


def test_an_array_of_200_with_one_cancelled(executor: JobExecutor, tmp_path: Path) -> None:
    jobs = [shell(f"exit {i % 3}", name=f"part-{i}") for i in range(199)]
    jobs.append(shell("sleep 300", name="part-199"))
    executor.submit_many(jobs)
    assert len({str(job.native_id).partition(".")[0] for job in jobs}) == 1
    assert str(jobs[7].native_id).endswith(".8")
    jobs[-1].wait(60, JobState.ACTIVE)
    jobs[-1].cancel()
    _, not_done = psij.wait(jobs, 90)
    assert not not_done
    assert [job.status.exit_code for job in jobs[:-1]] == [i % 3 for i in range(199)]
    assert jobs[-1].status.state is JobState.CANCELED
    assert accounted(jobs[0])["jobname"] == "part"
    elements = tmp_path / "work: dir" / "grid_engine" / "elements"
    until(lambda: not list(elements.iterdir()), 10)


def counting_qstat(folder: Path) -> tuple[Path, Path]:
    """A folder for ``PATH`` in which qstat notes each call before it does its work."""
    folder.mkdir()
    notes, wrapper = folder / "notes", folder / "qstat"
    wrapper.write_text(f'#!/bin/sh\necho >>"{notes}"\nexec {shutil.which("qstat")} "$@"\n')
    wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR)
    return folder, notes


def test_a_thousand_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has its own exit code; the number of commands does not grow with the jobs."""
    folder, notes = counting_qstat(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    config = BatchSchedulerExecutorConfig(work_directory=tmp_path / "work")
    executor = JobExecutor.get_instance("grid_engine", config=config)
    last = custom(p=-1000)  # jobs of other tests must not wait behind these
    jobs = [shell(f"exit {i % 5}", attributes=last) for i in range(1000)]
    started = time.monotonic()
    executor.submit_many(jobs)
    _, not_done = psij.wait(jobs, 400)
    took = time.monotonic() - started
    assert not not_done
    assert [job.status.exit_code for job in jobs] == [i % 5 for i in range(1000)]
    queries = len(notes.read_text().splitlines()) if notes.exists() else 0
    assert queries <= 2 + took / 10, (queries, took)


def test_jobs_are_found_by_their_own_ids(executor: JobExecutor, tmp_path: Path) -> None:
    jobs = [shell("true"), shell("true", directory=tmp_path), shell("true", directory=tmp_path)]
    executor.submit_many(jobs)
    waiting = [shell("true", attributes=custom(a=LATER)) for _ in range(3)]
    executor.submit(waiting[0])
    executor.submit_many(waiting[1:])
    expected = {job.id: job.native_id for job in (*jobs, *waiting)}
    assert executor.find([*expected, "0" * 36]) == expected
    executor.cancel_many(waiting)  # type: ignore[attr-defined]
    for job in (*jobs, *waiting):
        end(job)


def test_an_answer_in_another_language_and_time_zone(
    executor: JobExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    try:
        job = shell("sleep 300")
        executor.submit(job)
        job.wait(60, JobState.ACTIVE)
        info = executor.info([job])[0].current_info
        assert info is not None
        assert info.dispatch_time is not None
        assert abs((datetime.now() - info.dispatch_time).total_seconds()) < 60
        job.cancel()
        assert end(job).state is JobState.CANCELED
    finally:
        monkeypatch.undo()
        time.tzset()
