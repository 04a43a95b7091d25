"""What goes wrong on a cluster, on one of our own that we can break."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from grid_engine_cluster import Cluster, why_no_own_cluster

from exaworks.psij import (
    Job,
    JobAttributes,
    JobExecutor,
    JobSpec,
    JobState,
    Reason,
    SubmitException,
)
from exaworks.psij.executors.batch import BatchSchedulerExecutorConfig
from patience import end, output, until

pytestmark = [
    pytest.mark.grid_engine,
    pytest.mark.skipif(why_no_own_cluster() is not None, reason=str(why_no_own_cluster())),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """One that notices soon if its execution daemon is silent."""
    cluster = Cluster(19900, SLOTS=8, UNHEARD="00:00:10")
    with pytest.MonkeyPatch.context() as patch:
        try:
            cluster("start")
            for name, value in cluster.environment().items():
                patch.setenv(name, value)
            yield cluster
        finally:
            cluster.purge()


@pytest.fixture(autouse=True)
def _mended(cluster: Cluster) -> Iterator[None]:
    yield
    cluster("start")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def executor(cluster: Cluster, work: Path) -> JobExecutor:
    return make_executor(work)


def make_executor(work: Path, **settings: object) -> JobExecutor:
    defaults = {"queue_polling_interval": 2, "initial_queue_polling_delay": 1}
    settings = {**defaults, "submit_patience": 0, **settings}
    config = BatchSchedulerExecutorConfig(work_directory=work, **settings)  # type: ignore[arg-type]
    return JobExecutor.get_instance("grid_engine", config=config)


def job_of(text: str, **custom: object) -> Job:
    named = {f"grid_engine.{name}": value for name, value in custom.items()}
    attributes = JobAttributes(timedelta(minutes=10), custom_attributes=named)
    return Job(JobSpec("/bin/sh", ["-c", text], attributes=attributes))


def submit(executor: JobExecutor, text: str, **custom: object) -> Job:
    job = job_of(text, **custom)
    executor.submit(job)
    return job


def running(*jobs: Job) -> None:
    for job in jobs:
        assert job.wait(60, JobState.ACTIVE) is not None, job
        assert job.status.state is JobState.ACTIVE, job


def killed_from_outside(mark: Path) -> str:
    """A job that leaves the number of its script, to be killed as if by the machine."""
    return f"echo $PPID >'{mark}'; sleep 300"


@pytest.fixture
def requests(cluster: Cluster) -> Iterator[Path]:
    """The file with the cell's defaults for qsub. (One's own would be those of all clusters.)"""
    file = Path(cluster.environment()["SGE_ROOT"]) / "default" / "common" / "sge_request"
    kept = file.read_text() if file.exists() else ""
    yield file
    file.write_text(kept)


def test_defaults_of_the_site_do_no_harm(
    executor: JobExecutor, requests: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    requests.write_text(
        "-cwd\n-b y\n-C %\n-N fromfile\n-o /none/there\n-e /none/there\n-i /none/there\n"
        "-sync y\n-now y\n-j n\n-S /bin/false\n-l h_rt=1\n-shell n\n"
    )
    monkeypatch.setenv("JOB_ID", "77")
    monkeypatch.setenv("SGE_TASK_ID", "78")
    monkeypatch.setenv("PE_HOSTFILE", "/etc/hostname")
    job = job_of('sleep 2; echo "$SGE_TASK_ID $PE_HOSTFILE"; cat "$PSIJ_NODEFILE"')
    assert job.spec is not None
    job.spec.stdout_path = tmp_path / "out"
    executor.submit(job)
    assert end(job).state is JobState.COMPLETED, job.status
    assert (tmp_path / "out").read_text().split("\n")[0] == "undefined "
    assert len((tmp_path / "out").read_text().split()) == 2
    several = [job_of(f"exit {code}") for code in range(3)]
    executor.submit_many(several)
    assert [end(each).exit_code for each in several] == [0, 1, 2]


def test_the_master_is_away_for_a_while(
    cluster: Cluster, executor: JobExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    short = submit(executor, "sleep 6; exit 3")
    long = submit(executor, "sleep 60; exit 4")
    stopped = submit(executor, "sleep 300")
    waiting = [job_of("true", a="203001010000") for _ in range(3)]
    executor.submit_many(waiting)
    running(short, long, stopped)
    with caplog.at_level(logging.INFO, "exaworks"):
        cluster("crash-qmaster")
        assert end(short).exit_code == 3  # it says so itself
        with pytest.raises(SubmitException, match="commlib error") as problem:
            stopped.cancel()
        assert problem.value.transient
        with pytest.raises(SubmitException, match="commlib error") as problem:
            submit(executor, "true")
        assert problem.value.transient
        with pytest.raises(SubmitException, match="commlib error"):
            executor.list()
        assert executor.unusable() is not None
        until(lambda: any("does not answer" in r.getMessage() for r in caplog.records), 60)
        assert {long.status.state, stopped.status.state} == {JobState.ACTIVE}
        cluster("start")
        assert executor.unusable() is None
        stopped.cancel()
        executor.cancel_many(waiting)  # type: ignore[attr-defined]
        assert end(stopped).state is JobState.CANCELED
        assert {end(job).state for job in waiting} == {JobState.CANCELED}
        assert end(long).exit_code == 4
        until(lambda: any("answers again" in r.getMessage() for r in caplog.records), 60)
    words = [r.getMessage() for r in caplog.records if "does not answer" in r.getMessage()]
    assert len(words) == 1


def test_the_execution_daemon_is_away_for_a_while(
    cluster: Cluster, executor: JobExecutor, tmp_path: Path
) -> None:
    short = submit(executor, "sleep 4; exit 5")
    stopped = submit(executor, "sleep 300")
    lost = submit(executor, killed_from_outside(tmp_path / "pid"))
    running(short, stopped, lost)
    until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip())
    cluster("crash-execd")
    assert end(short).exit_code == 5
    output("kill", "-9", (tmp_path / "pid").read_text().strip())
    until(lambda: "u" in output("qstat", "-f", "-q", "all.q").splitlines()[2].split()[-1])
    queued = submit(executor, "exit 6")
    assert {stopped.status.state, lost.status.state} == {JobState.ACTIVE}
    assert queued.status.state is JobState.QUEUED
    cluster("start")
    assert end(queued).exit_code == 6
    stopped.cancel()
    # the new daemon is not the parent of these jobs, and takes minutes to tell of their ends
    assert end(stopped, 300).state is JobState.CANCELED
    assert (end(lost, 300).state, lost.status.reason) == (JobState.CANCELED, Reason.CANCELED)


def test_a_job_that_is_started_again(executor: JobExecutor) -> None:
    again = submit(executor, '[ "$RESTARTED" = 0 ] && sleep 300; exit 5', r=True)
    seen: list[JobState] = []
    again.set_job_status_callback(lambda job, status: seen.append(status.state))
    running(again)
    output("qmod", "-rj", str(again.native_id))
    status = end(again)
    assert (status.exit_code, (status.metadata or {}).get("restarts")) == (5, 1), status
    assert "back into the queue" in (status.message or "")
    assert seen[-1] is JobState.FAILED


def test_limits_on_jobs(cluster: Cluster, executor: JobExecutor, work: Path) -> None:
    """Jobs of unlike resources, that cannot be an array."""
    cluster.set_global(max_u_jobs=2, max_aj_tasks=3)
    try:
        jobs = [job_of("sleep 1", p=-i) for i in range(5)]
        until(lambda: not executor.list())
        with pytest.raises(SubmitException, match="only 2 jobs are allowed per user") as problem:
            executor.submit_many(jobs)
        assert problem.value.transient
        rest = [job for job in jobs if job.native_id is None]
        patient = make_executor(work, on_queue_limit="wait")
        patient.submit_many(rest)
        assert {end(job).state for job in jobs} == {JobState.COMPLETED}
    finally:
        cluster.set_global(max_u_jobs=0, max_aj_tasks=75000)


def test_attaching_later(cluster: Cluster, executor: JobExecutor, work: Path) -> None:
    """To what ended while nobody looked, by the records and by the accounting alone."""
    jobs = [submit(executor, "exit 7"), submit(executor, "true")]
    gone = submit(executor, "sleep 300")
    running(gone)
    gone.cancel()
    jobs.append(gone)
    for job in jobs:
        end(job)
    cluster("crash-qmaster")
    cluster("start")
    for place in (work, work / "elsewhere"):
        again = [Job() for _ in jobs]
        for old, new in zip(jobs, again, strict=True):
            make_executor(place).attach(new, str(old.native_id))
        assert [(end(job).state, job.status.reason) for job in again] == [
            (JobState.FAILED, Reason.EXIT_CODE),
            (JobState.COMPLETED, None),
            (JobState.CANCELED, Reason.CANCELED),
        ]
    never = Job()
    executor.attach(never, "7654321")
    assert (end(never).state, never.status.reason) == (JobState.FAILED, Reason.LOST)
