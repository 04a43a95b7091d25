"""What goes wrong on a cluster, on one of our own that we can break."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from slurm_cluster import Cluster, why_no_own_cluster

from exaworks.psij import (
    Job,
    JobAttributes,
    JobExecutor,
    JobSpec,
    JobState,
    JobStatus,
    Reason,
    ResourceSpecV1,
    SubmitException,
)
from exaworks.psij.executors.batch import BatchSchedulerExecutorConfig
from patience import end, output, until

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(why_no_own_cluster() is not None, reason=str(why_no_own_cluster())),
]

EXTRA = """PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
RequeueExit=99
PartitionName=scavenge Nodes=ALL PriorityTier=0 PreemptMode=CANCEL State=UP"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two nodes that react and forget quickly."""
    cluster = Cluster(
        19600,
        NODES=2,
        MIN_JOB_AGE=5,
        KILL_WAIT=2,
        NODE_TIMEOUT=10,
        MSG_TIMEOUT=3,
        CRED_EXPIRE=5,
        ENFORCE="associations,limits,qos",
        EXTRA=EXTRA,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", cluster.conf)
        try:
            cluster("start")
            yield cluster
        finally:
            cluster.purge()


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
    return JobExecutor.get_instance("slurm", config=config)


def submit(executor: JobExecutor, text: str, resources: object = None, **custom: object) -> Job:
    """Submit a piece of shell. ``partition``, ``minutes`` and options of sbatch may be given."""
    minutes = custom.pop("minutes", 10)
    attributes = JobAttributes(
        timedelta(minutes=minutes),  # type: ignore[arg-type]
        custom_attributes={f"slurm.{name}": value for name, value in custom.items()},
    )
    spec = JobSpec("/bin/sh", ["-c", text], attributes=attributes)
    spec.resources = resources  # type: ignore[assignment]
    job = Job(spec)
    executor.submit(job)
    return job


def running(*jobs: Job) -> None:
    for job in jobs:
        assert job.wait(60, JobState.ACTIVE) is not None, job
        assert job.status.state is JobState.ACTIVE, job


@pytest.fixture(scope="module")
def too_long(executor: JobExecutor) -> tuple[Job, Job]:
    """Jobs that run into their time limit, a minute after the first test has begun."""
    return (
        submit(executor, "sleep 300", minutes=1),
        submit(executor, "trap 'exit 4' TERM; sleep 300 & wait", minutes=1),
    )


WHOLE_NODE = ResourceSpecV1(node_count=1, exclusive_node_use=True)
WHOLE_CLUSTER = ResourceSpecV1(node_count=2, exclusive_node_use=True)


def test_memory_requeues_and_queue_limits(
    executor: JobExecutor, too_long: object, work: Path
) -> None:
    greedy = submit(
        executor,
        "/usr/bin/python3 -c 'x = bytearray(500 * 2**20); import time; time.sleep(60)'",
        ResourceSpecV1(memory=100 * 2**20),
    )
    requeued = submit(executor, "[ -z $SLURM_RESTART_COUNT ] && exit 99; exit 3")
    output("sacctmgr", "-i", "modify", "user", "root", "account=proj2", "set", "MaxSubmitJobs=3")
    limited = [
        Job(JobSpec("/bin/true", attributes=JobAttributes(account="proj2"))) for _ in range(8)
    ]
    # it takes a moment until the controller knows of the limit
    until(lambda: _over_limit(executor))
    with pytest.raises(SubmitException, match="AssocMaxSubmitJobLimit") as problem:
        executor.submit_many(limited)
    assert problem.value.transient
    make_executor(work, on_queue_limit="wait").submit_many(limited)
    assert {end(job).state for job in limited} == {JobState.COMPLETED}
    status = end(greedy)
    assert (status.state, status.reason) == (JobState.FAILED, Reason.OUT_OF_MEMORY), status
    status = end(requeued)
    assert (status.exit_code, (status.metadata or {}).get("restarts")) == (3, 1), status


def _over_limit(executor: JobExecutor) -> bool:
    jobs = [Job(JobSpec("/bin/true", attributes=JobAttributes(account="proj2"))) for _ in range(4)]
    try:
        executor.submit_many(jobs)
    except SubmitException:
        return True
    for job in jobs:
        end(job)
    return False


def test_preemption(executor: JobExecutor) -> None:
    until(lambda: len(output("sinfo", "-h", "-N", "-p", "debug").split("\n")) > 2)
    cancelled = submit(executor, "sleep 300", ResourceSpecV1(process_count=6), partition="scavenge")
    requeued = submit(
        executor,
        "[ -z $SLURM_RESTART_COUNT ] && sleep 300; exit 5",
        ResourceSpecV1(process_count=6),
        partition="batch",
    )
    seen: list[JobState] = []
    requeued.set_job_status_callback(lambda job, status: seen.append(status.state))
    running(cancelled, requeued)
    urgent = submit(
        executor,
        "sleep 1",
        ResourceSpecV1(node_count=2, processes_per_node=6),
        partition="debug",
    )
    assert end(urgent).state is JobState.COMPLETED
    status = end(cancelled)
    assert (status.state, status.reason) == (JobState.FAILED, Reason.PREEMPTED), status
    status = end(requeued)
    assert (status.exit_code, (status.metadata or {}).get("restarts")) == (5, 1), status
    assert "back into the queue" in (status.message or "")
    assert seen[-1] is JobState.FAILED
    assert seen.count(JobState.ACTIVE) <= 1


def test_the_controller_is_away_for_a_while(
    cluster: Cluster, executor: JobExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    short = submit(executor, "sleep 8; exit 3")
    long = submit(executor, "sleep 25; exit 4")
    stopped = submit(executor, "sleep 300")
    running(short, long, stopped)
    state = cluster.root / "state" / "job_state"
    before = time.time()
    until(lambda: state.stat().st_mtime > before)  # else it would forget these jobs itself
    with caplog.at_level(logging.INFO, "exaworks"):
        cluster("crash-ctld")
        assert end(short).exit_code == 3  # it says so itself
        with pytest.raises(SubmitException) as problem:
            stopped.cancel()
        assert problem.value.transient
        with pytest.raises(SubmitException, match=r"(?i)contact") as problem:
            submit(executor, "true")
        assert problem.value.transient
        until(lambda: any("does not answer" in r.getMessage() for r in caplog.records), 60)
        assert {long.status.state, stopped.status.state} == {JobState.ACTIVE}
        cluster("start")
        stopped.cancel()
        assert end(stopped).state is JobState.CANCELED
        assert end(long).exit_code == 4
        until(lambda: any("answers again" in r.getMessage() for r in caplog.records), 60)
    words = [r.getMessage() for r in caplog.records if "does not answer" in r.getMessage()]
    assert len(words) == 1


def test_a_node_dies(cluster: Cluster, executor: JobExecutor) -> None:
    lost = submit(executor, "sleep 300", nodelist="node2", no_requeue=True)
    requeued = submit(
        executor, "[ -z $SLURM_RESTART_COUNT ] && sleep 300; exit 6", nodelist="node2", requeue=True
    )
    running(lost, requeued)
    cluster("crash-node", "node2")
    status = end(lost)
    assert (status.state, status.reason) == (JobState.FAILED, Reason.NODE_FAILURE), status
    assert "node" in (status.message or "")
    assert requeued.status.state is JobState.ACTIVE
    cluster("start")
    status = end(requeued)
    assert (status.exit_code, (status.metadata or {}).get("restarts")) == (6, 1), status


def test_time_limits(too_long: tuple[Job, Job]) -> None:
    for job, code in zip(too_long, (143, 4), strict=True):
        status = end(job, 120)
        assert (status.state, status.reason) == (JobState.FAILED, Reason.TIMEOUT), status
        assert status.exit_code == code
        assert "time limit" in (status.message or "")


def test_jobs_that_slurm_has_forgotten(
    executor: JobExecutor, too_long: tuple[Job, Job], work: Path, tmp_path: Path
) -> None:
    one = submit(executor, "exit 7")
    gone = submit(executor, "sleep 300")
    running(gone)
    gone.cancel()
    jobs = [*too_long, one, gone]
    for job in jobs:
        end(job, 120)
    ids = ",".join(str(job.native_id) for job in jobs)
    until(lambda: _forgotten(ids), 120)
    # by their records, and by the accounting alone
    for place in (work, tmp_path):
        again = [Job() for _ in jobs]
        for old, new in zip(jobs, again, strict=True):
            make_executor(place).attach(new, str(old.native_id))
        found = [end(job) for job in again]
        assert [_essence(status) for status in found] == [
            (JobState.FAILED, Reason.TIMEOUT),
            (JobState.FAILED, Reason.TIMEOUT),
            (JobState.FAILED, Reason.EXIT_CODE),
            (JobState.CANCELED, Reason.CANCELED),
        ]
        assert found[2].exit_code == 7
    never = Job()
    executor.attach(never, "7654321")
    assert _essence(end(never)) == (JobState.FAILED, Reason.LOST)


def _essence(status: JobStatus) -> tuple[JobState, str | None]:
    return status.state, status.reason


def _forgotten(ids: str) -> bool:
    done = os.popen(f"squeue -h -r -t all -j {ids} -o %i 2>&1").read()
    return "Invalid job id" in done or not done.strip()


def test_without_accounting(tmp_path: Path) -> None:
    cluster = Cluster(19700, NODES=1, ACCOUNTING=0, MIN_JOB_AGE=5, GPUS=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", cluster.conf)
        try:
            cluster("start")
            executor = make_executor(tmp_path)
            jobs = [submit(executor, "exit 0"), submit(executor, "exit 7")]
            assert [end(job).exit_code for job in jobs] == [0, 7]
            killed = submit(executor, "kill -9 $PPID; sleep 300")
            assert end(killed).state is JobState.FAILED
            never = Job()
            executor.attach(never, "7654321")
            status = end(never)
            assert _essence(status) == (JobState.FAILED, Reason.LOST)
            assert "disabled" in (status.message or "")
        finally:
            cluster.purge()
