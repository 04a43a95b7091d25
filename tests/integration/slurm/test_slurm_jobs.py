"""Jobs of all kinds on a real Slurm."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from exaworks import psij
from exaworks.psij import (
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
from patience import TIMEOUT, end, output, until

pytestmark = pytest.mark.slurm

Shell = Callable[..., Job]


@pytest.fixture
def executor(tmp_path: Path) -> JobExecutor:
    config = BatchSchedulerExecutorConfig(work_directory=tmp_path / "work dir")
    return JobExecutor.get_instance("slurm", config=config)


def shell(text: str, **fields: object) -> Job:
    return Job(JobSpec("/bin/sh", ["-c", text], **fields))  # type: ignore[arg-type]


def needs(**fields: object) -> ResourceSpecV1:
    return ResourceSpecV1(**fields)  # type: ignore[arg-type]


def custom(**attributes: object) -> JobAttributes:
    return JobAttributes(custom_attributes={f"slurm.{k}": v for k, v in attributes.items()})


def test_the_scheduler_sees_the_exit_codes_too(executor: JobExecutor) -> None:
    jobs = [shell("exit 0"), shell("exit 7"), shell("kill -SEGV $$"), shell("kill -9 $$")]
    executor.submit_many(jobs)
    for job in jobs:
        end(job)
    ids = ",".join(str(job.native_id) for job in jobs)
    found = output("squeue", "-h", "-r", "-t", "all", "-j", ids, "-O", "JobArrayID:|,exit_code:|")
    status = dict(line.split("|")[:2] for line in found.splitlines())
    assert [int(status[str(job.native_id)]) & ~128 for job in jobs] == [0, 7 << 8, 11, 9]
    assert [job.status.signal for job in jobs] == [None, None, 11, 9]
    assert jobs[3].status.exit_code == 137


def test_resources(executor: JobExecutor, tmp_path: Path) -> None:
    show = (
        "echo nodes=$SLURM_JOB_NUM_NODES tasks=$SLURM_NTASKS cpus=$SLURM_CPUS_PER_TASK "
        "mem=$SLURM_MEM_PER_NODE per_node=$SLURM_NTASKS_PER_NODE gpus=$CUDA_VISIBLE_DEVICES; "
        'wc -l <"$PSIJ_NODEFILE"; sort -u "$PSIJ_NODEFILE" | wc -l'
    )
    cases = {
        "plain": (None, "nodes=1 tasks= cpus= mem= per_node= gpus=", 1, 1),
        "wide": (
            needs(node_count=2, processes_per_node=3, memory=300 * 2**20 + 1),
            "nodes=2 tasks=6 cpus= mem=151 per_node=3 gpus=", 6, 2,
        ),
        "deep": (
            needs(process_count=2, processes_per_node=2, cpu_cores_per_process=3),
            "nodes=1 tasks=2 cpus=3 mem= per_node=2 gpus=", 2, 1,
        ),
        "alone": (
            needs(exclusive_node_use=True),
            "nodes=1 tasks=1 cpus= mem= per_node= gpus=", 1, 1,
        ),
        "gpus": (
            needs(gpu_cores_per_process=2), "nodes=1 tasks=1 cpus= mem= per_node= gpus=0,1", 1, 1,
        ),
    }  # fmt: skip
    if "gpu" not in output("sinfo", "-h", "-o", "%G"):
        del cases["gpus"]
    jobs = {}
    for name, (resources, *_) in cases.items():
        jobs[name] = shell(show, resources=resources, stdout_path=tmp_path / name)
    executor.submit_many(jobs.values())
    for name, (_, variables, processes, nodes) in cases.items():
        assert end(jobs[name]).state is JobState.COMPLETED, (name, jobs[name].status)
        shown, *counts = (tmp_path / name).read_text().split("\n")[:3]
        assert counts == [str(processes), str(nodes)], name
        # whoever has a whole node has its GPUs too
        assert shown == variables or (name == "alone" and shown.startswith(variables)), name


def test_several_nodes_with_srun(executor: JobExecutor, tmp_path: Path) -> None:
    job = shell(
        'echo "$SLURM_PROCID $(hostname) $MINE"',
        resources=needs(node_count=2, processes_per_node=2, cpu_cores_per_process=2),
        launcher="srun",
        environment={"MINE": "mine"},
        inherit_environment=False,
        stdout_path=tmp_path / "out",
    )
    executor.submit(job)
    assert end(job).state is JobState.COMPLETED, job.status
    lines = sorted(line.split() for line in (tmp_path / "out").read_text().splitlines())
    assert [line[0] for line in lines] == ["0", "1", "2", "3"]
    assert len({line[1] for line in lines}) == 2
    assert {line[2] for line in lines} == {"mine"}
    assert job.status.metadata is not None
    assert job.status.metadata["nodes"]


@pytest.mark.mpi
@pytest.mark.skipif(shutil.which("mpirun") is None, reason="there is no mpirun here")
def test_several_nodes_with_mpirun(executor: JobExecutor, tmp_path: Path) -> None:
    job = shell(
        "hostname",
        resources=needs(node_count=2, processes_per_node=2),
        launcher="mpirun",
        environment={"OMPI_ALLOW_RUN_AS_ROOT": 1, "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": 1},
        stdout_path=tmp_path / "out",
        stderr_path=tmp_path / "err",
    )
    executor.submit(job)
    assert end(job).state is JobState.COMPLETED, (job.status, (tmp_path / "err").read_text())
    hosts = (tmp_path / "out").read_text().split()
    assert (len(hosts), len(set(hosts))) == (4, 2)


def test_a_node_to_itself(executor: JobExecutor) -> None:
    job = shell("sleep 300", resources=needs(exclusive_node_use=True))
    executor.submit(job)
    job.wait(60, JobState.ACTIVE)
    words = output("squeue", "-h", "-j", str(job.native_id), "-O", "OverSubscribe").split()
    assert words == ["NO"]
    found = executor.info([job])[0].spec
    assert found is not None
    assert found.resources is not None
    assert found.resources.exclusive_node_use  # type: ignore[attr-defined]
    job.cancel()
    assert end(job).state is JobState.CANCELED


def test_what_the_scheduler_is_told(executor: JobExecutor) -> None:
    name = "a 'name' $(x) \\ | é"
    job = shell(
        "true",
        name=name,
        directory="/",
        attributes=JobAttributes(
            duration=timedelta(hours=30),
            queue_name="batch",
            custom_attributes={
                "slurm.begin": "now+1hour",
                "slurm.comment": "two words",
                "slurm.requeue": None,
                "slurm.hold": False,
            },
        ),
    )
    executor.submit(job)
    found = output("squeue", "-h", "-j", str(job.native_id), "-o", "%P|%l|%k|%Z|%j")
    assert found == f"batch|1-06:00:00|two words|/|{name}\n"
    info = executor.info([job])[0]
    assert info.status.state is JobState.QUEUED
    assert info.status.metadata is not None
    assert info.status.metadata["scheduler_reason"] == "BeginTime"
    assert info.spec is not None
    assert info.spec.name == name
    assert info.spec.attributes.duration == timedelta(hours=30)
    assert str(info.spec.directory) == "/"
    job.cancel()
    started = time.monotonic()
    assert end(job).state is JobState.CANCELED
    assert time.monotonic() - started < 5
    assert (job.status.exit_code, job.status.reason) == (None, Reason.CANCELED)


def test_variables_give_defaults_and_override_nothing(
    executor: JobExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SBATCH_PARTITION", "closed")
    monkeypatch.setenv("SBATCH_TIMELIMIT", "77")
    monkeypatch.setenv("SBATCH_ARRAY_INX", "1-5")
    monkeypatch.setenv("SQUEUE_PARTITION", "no such partition")
    given = shell("true", attributes=custom(begin="now+1hour", partition="batch", comment="mine"))
    default = shell("true", attributes=JobAttributes(duration=None))
    for job, expected in ((given, "batch|10:00|mine"), (default, "closed|1:17:00|(null)")):
        executor.submit(job)
        monkeypatch.delenv("SQUEUE_PARTITION", raising=False)
        shown = output("squeue", "-h", "-j", str(job.native_id), "-o", "%P|%l|%k")
        assert shown == f"{expected}\n"
        job.cancel()
        assert end(job).state is JobState.CANCELED


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        (JobAttributes(queue_name="no such queue"), "partition"),
        (JobAttributes(custom_attributes={"slurm.constraint": "nosuch"}), "feature"),
        (JobAttributes(custom_attributes={"slurm.no-such-option": 1}), "no-such-option"),
    ],
)
def test_refusals_are_in_the_schedulers_words(
    executor: JobExecutor, tmp_path: Path, attributes: JobAttributes, message: str
) -> None:
    job = shell("true", attributes=attributes)
    with pytest.raises(SubmitException, match=f"(?i){message}") as problem:
        executor.submit(job)
    assert not problem.value.transient
    assert job.status.state is JobState.NEW
    job.spec.attributes = None  # type: ignore[union-attr]
    executor.submit(job)
    assert end(job).state is JobState.COMPLETED


def test_a_job_that_could_not_be_started_at_all(executor: JobExecutor, tmp_path: Path) -> None:
    first = shell("true")
    executor.submit(first)
    assert end(first).state is JobState.COMPLETED
    log = tmp_path / "work dir" / "slurm" / "log"
    shutil.rmtree(log)
    log.touch()  # so that Slurm cannot open the log of the script
    job = shell("true")
    executor.submit(job)
    status = end(job)
    assert (status.state, status.reason) == (JobState.FAILED, Reason.LAUNCH)
    assert "could not be started" in (status.message or "")


def test_a_job_with_an_unusable_path(executor: JobExecutor, tmp_path: Path) -> None:
    job = shell("true", environment={"PATH": "/nowhere"}, stdout_path=tmp_path / "out")
    executor.submit(job)
    assert end(job).state is JobState.COMPLETED, job.status
    folders = ("log", "nodes")
    work = tmp_path / "work dir" / "slurm"
    until(lambda: not [p for f in folders for p in (work / f).iterdir()], 10)


def test_an_array_of_200_with_one_cancelled(executor: JobExecutor, tmp_path: Path) -> None:
    jobs = [shell(f"exit {i % 3}", name=f"part-{i}") for i in range(199)]
    jobs.append(shell("sleep 300", name="part-199"))
    executor.submit_many(jobs)
    assert len({str(job.native_id).partition("_")[0] for job in jobs}) == 1
    assert str(jobs[7].native_id).endswith("_7")
    name = output("squeue", "-h", "-t", "all", "-j", str(jobs[0].native_id), "-o", "%j")
    assert name.split() == ["part"]
    jobs[-1].wait(60, JobState.ACTIVE)
    jobs[-1].cancel()
    _, not_done = psij.wait(jobs, 90)
    assert not not_done
    assert [job.status.exit_code for job in jobs[:-1]] == [i % 3 for i in range(199)]
    assert jobs[-1].status.state is JobState.CANCELED
    elements = tmp_path / "work dir" / "slurm" / "elements"
    until(lambda: not list(elements.iterdir()), 10)


def test_many_elements_are_cancelled_with_one_command(executor: JobExecutor) -> None:
    jobs = [shell("sleep 300", attributes=custom(begin="now+1hour")) for _ in range(50)]
    executor.submit_many(jobs)
    started = time.monotonic()
    executor.cancel_many(jobs[:20])  # type: ignore[attr-defined]
    executor.cancel_many(jobs[20:])  # type: ignore[attr-defined]
    for job in jobs:
        assert end(job).state is JobState.CANCELED
    assert time.monotonic() - started < 5


def test_elements_that_vanish_from_their_array_were_cancelled(tmp_path: Path) -> None:
    config = BatchSchedulerExecutorConfig(
        work_directory=tmp_path, queue_polling_interval=1, initial_queue_polling_delay=0
    )
    executor = JobExecutor.get_instance("slurm", config=config)
    jobs = [shell("sleep 300", attributes=custom(begin="now+1hour")) for _ in range(5)]
    executor.submit_many(jobs)
    output("scancel", str(jobs[2].native_id))
    status = end(jobs[2])
    assert (status.state, status.reason) == (JobState.CANCELED, Reason.CANCELED)
    assert jobs[1].status.state is JobState.QUEUED
    output("scancel", str(jobs[0].native_id).partition("_")[0])
    for job in jobs:
        assert end(job).state is JobState.CANCELED


def test_cancelled_by_somebody_else(tmp_path: Path) -> None:
    config = BatchSchedulerExecutorConfig(
        work_directory=tmp_path, queue_polling_interval=1, initial_queue_polling_delay=0
    )
    executor = JobExecutor.get_instance("slurm", config=config)
    running = shell("sleep 300")
    polite = shell("trap 'exit 5' TERM; sleep 300 & wait")
    pending = shell("true", attributes=custom(begin="now+1hour"))
    for job in (running, polite, pending):
        executor.submit(job)
    for job in (running, polite):
        job.wait(60, JobState.ACTIVE)
    output("scancel", *(str(job.native_id) for job in (running, polite, pending)))
    for job, code in ((running, 143), (polite, 5), (pending, None)):
        status = end(job)
        assert (status.state, status.exit_code) == (JobState.CANCELED, code), status
        assert status.reason == Reason.CANCELED
        assert "CANCELLED" in (status.message or "")


def counting_squeue(folder: Path) -> tuple[Path, Path]:
    """A folder for ``PATH`` in which squeue notes each call before it does its work."""
    folder.mkdir()
    notes, wrapper = folder / "notes", folder / "squeue"
    wrapper.write_text(f'#!/bin/sh\necho >>"{notes}"\nexec {shutil.which("squeue")} "$@"\n')
    wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR)
    return folder, notes


def test_ends_are_known_within_a_second_with_few_queries(
    executor: JobExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, notes = counting_squeue(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    delays: list[float] = []
    jobs = [
        shell(f"sleep {1 + i / 4}; date +%s.%N", stdout_path=tmp_path / f"o{i}") for i in range(16)
    ]
    seen: dict[Job, float] = {}

    def note(job: Job, status: psij.JobStatus) -> None:
        if status.final:
            seen[job] = time.time()

    executor.set_job_status_callback(note)
    started = time.monotonic()
    executor.submit_many(jobs)
    for job in jobs:
        assert end(job).state is JobState.COMPLETED
    took = time.monotonic() - started
    for i, job in enumerate(jobs):
        delays.append(seen[job] - float((tmp_path / f"o{i}").read_text()))
    delays.sort()
    assert delays[len(delays) // 2] < 1.0, delays
    queries = len(notes.read_text().splitlines()) if notes.exists() else 0
    assert queries <= 1 + took / 10, (queries, took)


def test_jobs_are_found_by_their_own_ids(executor: JobExecutor, tmp_path: Path) -> None:
    jobs = [shell("true"), shell("true", directory=tmp_path), shell("true", directory=tmp_path)]
    executor.submit_many(jobs)
    waiting = shell("true", attributes=custom(begin="now+1hour"))
    executor.submit(waiting)
    expected = {job.id: job.native_id for job in (*jobs, waiting)}
    assert executor.find([*expected, "0" * 36]) == expected
    waiting.cancel()
    for job in (*jobs, waiting):
        end(job)
    assert executor.unusable() is None


def test_dependencies_are_kept_by_the_scheduler(executor: JobExecutor, tmp_path: Path) -> None:
    """And those on jobs of other executors by us."""
    go = f"while [ ! -e '{tmp_path}/go' ]; do sleep 0.1; done"
    good, bad = (Job(JobSpec("/bin/sh", ["-c", f"{go}; exit {code}"])) for code in (0, 3))
    here = Job(JobSpec("/bin/sh", ["-c", f"{go}; exit 0"]))
    executor.submit_many([good, bad])
    JobExecutor.get_instance("local").submit(here)

    def waiting(**kinds: list[Job | str]) -> Job:
        job = Job(JobSpec("/bin/true", attributes=JobAttributes(dependencies=kinds)))
        executor.submit(job)
        return job

    run = [
        waiting(afterok=[good]),
        waiting(afterany=[good, bad]),
        waiting(afternotok=[bad], afterok=[str(good.native_id)]),
        waiting(afterok=[here]),
        waiting(afterok=[here, good], afterany=[bad]),
    ]
    never = [waiting(afterok=[bad]), waiting(afternotok=[good]), waiting(afternotok=[here])]
    assert end(waiting(after=[good])).state is JobState.COMPLETED
    assert not any(job.status.final for job in run + never)
    (tmp_path / "go").touch()
    assert {end(job).state for job in run} == {JobState.COMPLETED}
    for job in never:
        status = end(job)
        assert (status.state, status.reason) == (JobState.CANCELED, Reason.DEPENDENCY), status


def test_killing_the_submitter_loses_nothing(executor: JobExecutor, tmp_path: Path) -> None:
    program = """
import sys
from exaworks.psij import Job, JobExecutor, JobExecutorConfig, JobSpec, JobState
ex = JobExecutor.get_instance("slurm", config=JobExecutorConfig(work_directory=sys.argv[1]))
jobs = [Job(JobSpec("/bin/sh", ["-c", f"sleep {i}; exit 4{i}"])) for i in (0, 3)]
ex.submit_many(jobs)
jobs[1].wait(60, JobState.ACTIVE)
print(*(job.native_id for job in jobs), flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "work dir")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        ids = process.stdout.readline().split()
        process.kill()
    assert len(ids) == 2
    jobs = [Job() for _ in ids]
    for job, native_id in zip(jobs, ids, strict=True):
        executor.attach(job, native_id)
    assert [end(job).exit_code for job in jobs] == [40, 43]


def test_five_thousand_jobs_of_two_programs(tmp_path: Path) -> None:
    """Two programs of one user, each with jobs of its own in a long queue; none sees the other's.

    The jobs of the one are cancelled; the other's stay.
    """
    program = """
import sys, time
from exaworks.psij import Job, JobAttributes, JobExecutor, JobSpec, wait

begin = JobAttributes(custom_attributes={"slurm.begin": "now+1hour"})
jobs = [Job(JobSpec("/bin/true", attributes=begin)) for _ in range(2500)]
executor = JobExecutor.get_instance("slurm")
executor.submit_many(jobs)
print(len(set(executor.list()) & {job.native_id for job in jobs}), flush=True)
sys.stdin.readline()
executor.cancel_many(jobs)
done, _ = wait(jobs, timeout=120)
print(len(done), {job.status.state.name for job in jobs})
"""
    programs = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    try:
        for each in programs:
            assert each.stdout is not None
            assert each.stdout.readline() == "2500\n"
        for each in programs:
            out, _ = each.communicate("\n", timeout=TIMEOUT)
            assert out == "2500 {'CANCELED'}\n"
    finally:
        for each in programs:
            each.kill()
            each.wait()
