"""What the PBS executors do beyond the conformance tests, on a real PBS."""

from __future__ import annotations

import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from pbs_system import is_pro, make_executor, shell, which

from exaworks import psij
from exaworks.psij import (
    Job,
    JobAttributes,
    JobExecutor,
    JobState,
    Reason,
    ResourceSpecV1,
    SubmitException,
)
from patience import end, output, until

pytestmark = pytest.mark.pbs
only_pro = pytest.mark.skipif(not is_pro(), reason="this is about PBS Pro")
LATER = "203701010000"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return tmp_path / "work dir, with:all"


@pytest.fixture
def executor(work: Path) -> JobExecutor:
    return make_executor(work)


def later(**attributes: object) -> JobAttributes:
    """Attributes of a job that waits."""
    return JobAttributes(custom_attributes={"pbs.a": LATER, **attributes})


def running(*jobs: Job) -> None:
    for job in jobs:
        assert job.wait(90, JobState.ACTIVE) is not None, job
        assert job.status.state is JobState.ACTIVE, job


def test_a_time_limit(executor: JobExecutor) -> None:
    jobs = [
        shell(text, attributes=JobAttributes(timedelta(seconds=2)))
        for text in ("sleep 300", "trap 'exit 4' TERM; sleep 300 & wait")
    ]
    for job in jobs:
        executor.submit(job)
    for job in jobs:
        status = end(job)
        assert (status.state, status.reason) == (JobState.FAILED, Reason.TIMEOUT), status
        assert "time limit" in (status.message or "")


def test_deleted_by_somebody_else(executor: JobExecutor) -> None:
    jobs = [
        shell("sleep 300"),
        shell("trap 'exit 5' TERM; sleep 300 & wait"),
        shell("true", attributes=later()),
    ]
    for job in jobs:
        executor.submit(job)
    running(*jobs[:2])
    output("qdel", *(str(job.native_id) for job in jobs))
    for job in jobs:
        status = end(job)
        assert (status.state, status.reason) == (JobState.CANCELED, Reason.CANCELED), status
    assert jobs[2].status.exit_code is None


def test_an_array_with_some_cancelled(executor: JobExecutor, work: Path) -> None:
    jobs = [shell(f"exit {i % 3}", name=f"part-{i}") for i in range(59)]
    jobs.append(shell("sleep 300", name="part-59"))
    executor.submit_many(jobs)
    assert len({str(job.native_id).partition("[")[0] for job in jobs}) == 1
    assert "[7]" in str(jobs[7].native_id)
    running(jobs[-1])
    jobs[-1].cancel()
    _, not_done = psij.wait(jobs, 120)
    assert not not_done
    assert [job.status.exit_code for job in jobs[:-1]] == [i % 3 for i in range(59)]
    assert jobs[-1].status.state is JobState.CANCELED
    folders = [work / which() / name for name in ("elements", "nodes")]
    until(lambda: not [path for folder in folders for path in folder.iterdir()], 20)


def test_waiting_elements_are_deleted(executor: JobExecutor) -> None:
    jobs = [shell("sleep 300", attributes=later()) for _ in range(5)]
    executor.submit_many(jobs)
    output("qdel", str(jobs[2].native_id))
    status = end(jobs[2])
    assert (status.state, status.reason) == (JobState.CANCELED, Reason.CANCELED), status
    assert jobs[1].status.state is JobState.QUEUED
    for job in jobs[:2]:
        job.cancel()
    for job in jobs[:3]:
        assert end(job).state is JobState.CANCELED
    base, _, server = str(jobs[0].native_id).partition("[0]")
    output("qdel", f"{base}[]{server}")
    for job in jobs:
        assert end(job).state is JobState.CANCELED, job.status


def test_what_pbs_is_told(executor: JobExecutor) -> None:
    name = "a 'name' $(x) \\ | é " + "long" * 80
    job = shell(
        "true",
        name=name,
        attributes=JobAttributes(
            timedelta(hours=30),
            account="proj 1",
            custom_attributes={"pbs.a": LATER, "pbs.p": 5, "pbs.W.umask": "022", "pbs.r": "n"},
        ),
    )
    executor.submit(job)
    text = output("qstat", "-f", str(job.native_id))
    for line in ("Priority = 5", "Rerunable = False", "umask = 22", "Account_Name = proj 1"):
        assert f"    {line}\n" in text
    assert "walltime = 30:00:00\n" in text
    info = executor.info([job])[0]
    assert info.spec is not None
    assert info.spec.name == name
    assert info.spec.attributes.duration == timedelta(hours=30)
    assert info.status.state is JobState.QUEUED
    executor.hold(job)
    assert executor.info([job])[0].status.state is JobState.HELD
    assert job.native_id in executor.list()
    job.cancel()
    assert end(job).state is JobState.CANCELED


@only_pro
def test_resources(executor: JobExecutor, tmp_path: Path) -> None:
    show = 'wc -l <"$PSIJ_NODEFILE"; echo "$NCPUS"'
    cases = {
        "plain": (None, ["1", "1"]),
        "wide": (ResourceSpecV1(node_count=1, processes_per_node=3), ["3", "3"]),
        "deep": (
            ResourceSpecV1(process_count=1, cpu_cores_per_process=2, memory=50 * 2**20),
            ["1", "2"],
        ),
        "spread": (ResourceSpecV1(process_count=2), ["2", "1"]),
        "alone": (ResourceSpecV1(exclusive_node_use=True), ["1", "1"]),
    }
    for name, (needs, expected) in cases.items():
        job = shell(show, resources=needs, stdout_path=tmp_path / name)
        executor.submit(job)
        assert end(job).state is JobState.COMPLETED, (name, job.status)
        assert (tmp_path / name).read_text().split() == expected, name
        assert job.status.metadata is not None
        assert job.status.metadata["nodes"]


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        (JobAttributes(queue_name="nosuchqueue"), "queue"),
        (JobAttributes(custom_attributes={"pbs.nosuchresource": 1}), "nosuchresource|resource"),
    ],
)
def test_refusals_are_in_the_words_of_pbs(
    executor: JobExecutor, attributes: JobAttributes, message: str
) -> None:
    job = shell("true", attributes=attributes)
    with pytest.raises(SubmitException, match=f"(?i){message}") as problem:
        executor.submit(job)
    assert not problem.value.transient
    assert job.status.state is JobState.NEW
    job.spec.attributes = None  # type: ignore[union-attr]
    executor.submit(job)
    assert end(job).state is JobState.COMPLETED


def test_variables_of_the_user_change_nothing(
    executor: JobExecutor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PBS_DPREFIX", "#NOTHING")
    monkeypatch.setenv("PBS_JOBID", "77.elsewhere")
    monkeypatch.setenv("PBS_NODEFILE", "/no/such/file")
    monkeypatch.setenv("ODD", "quote ' \" comma , line\nbreak \\ end")
    job = shell('printf "%s|%s" "$PBS_JOBID" "$ODD"', stdout_path=tmp_path / "out")
    executor.submit(job)
    assert job.wait(60, JobState.ACTIVE) is not None
    assert end(job).state is JobState.COMPLETED
    assert (tmp_path / "out").read_text().startswith(f"{job.native_id}|quote ' \" comma , line\n")


def test_jobs_are_found_by_their_own_ids(executor: JobExecutor, tmp_path: Path) -> None:
    ended = [shell("true"), shell("true", directory=tmp_path), shell("true", directory=tmp_path)]
    executor.submit_many(ended)
    waiting = [shell("true", attributes=later()) for _ in range(3)]
    executor.submit_many(waiting)
    lone = shell("false", attributes=later())
    executor.submit(lone)
    for job in ended:
        end(job)
    jobs = [*ended, *waiting, lone]
    expected = {job.id: job.native_id for job in jobs}
    assert executor.find([*expected, "0" * 36]) == expected
    for job in (*waiting, lone):
        job.cancel()
        end(job)
    assert executor.unusable() is None


@only_pro
def test_a_work_directory_that_pbs_cannot_name(tmp_path: Path) -> None:
    executor = make_executor(tmp_path / "wörk")
    failing = shell("exit 3")
    waiting = shell("true", attributes=later())
    executor.submit(failing)
    executor.submit(waiting)
    assert end(failing).exit_code == 3
    assert executor.find([waiting.id]) == {waiting.id: waiting.native_id}
    waiting.cancel()
    assert end(waiting).state is JobState.CANCELED


def test_logs_of_successful_jobs_do_not_stay(executor: JobExecutor, work: Path) -> None:
    job = shell("true")
    executor.submit(job)
    assert end(job).state is JobState.COMPLETED
    until(lambda: job.native_id not in executor.list(), 60)
    assert list((work / which() / "log").iterdir()) == []


def test_killing_the_submitter_loses_nothing(
    executor: JobExecutor, work: Path, tmp_path: Path
) -> None:
    program = f"""
import sys
from exaworks.psij import Job, JobExecutor, JobExecutorConfig, JobSpec, JobState
config = JobExecutorConfig(work_directory=sys.argv[1])
ex = JobExecutor.get_instance({which()!r}, config=config)
jobs = [Job(JobSpec("/bin/sh", ["-c", f"sleep {{i}}; exit 4{{i}}"])) for i in (0, 3)]
ex.submit_many(jobs)
jobs[1].wait(60, JobState.ACTIVE)
print(*(job.native_id for job in jobs), flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program, str(work)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        ids = process.stdout.readline().split()
        process.kill()
    assert len(ids) == 2
    # by their records, and by what PBS itself still knows; with and without the server's name
    for place, strip in ((work, False), (tmp_path / "empty", True)):
        jobs = [Job() for _ in ids]
        for job, native_id in zip(jobs, ids, strict=True):
            wanted = native_id.partition(".")[0] if strip else native_id
            make_executor(place).attach(job, wanted)
        assert [end(job).exit_code for job in jobs] == [40, 43], [job.status for job in jobs]


def test_a_survey(executor: JobExecutor) -> None:
    survey = type(executor).survey()  # type: ignore[attr-defined]
    assert survey is not None
    assert survey.executor == which()
    assert survey.cluster
    assert any(queue.default for queue in survey.queues)
    assert sum(group.count or 0 for group in survey.nodes) >= 1
    assert all(group.cores for group in survey.nodes)


@only_pro
def test_a_server_that_does_not_answer(
    executor: JobExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shutil.which("qsub")
    monkeypatch.setenv("PBS_SERVER", "no-such-host.invalid")
    job = shell("true")
    with pytest.raises(SubmitException) as problem:
        executor.submit(job)
    assert problem.value.transient, problem.value
    assert executor.unusable() is not None
