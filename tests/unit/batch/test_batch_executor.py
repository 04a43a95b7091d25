"""The batch executor as a whole, with a stand-in for the scheduler's commands."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from batch_fakes import FakeSlurm

from exaworks import psij
from exaworks.psij import (
    BulkSubmitException,
    InvalidJobException,
    Job,
    JobAttributes,
    JobExecutor,
    JobExecutorConfig,
    JobSpec,
    JobState,
    Reason,
    SubmitException,
)
from exaworks.psij.executors.batch import BatchSchedulerExecutorConfig
from exaworks.psij.executors.slurm import SlurmJobExecutor
from exaworks.psij.runner import Command, CommandResult, LocalRunner
from patience import TIMEOUT, end, until


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., SlurmJobExecutor]:
    def make(**settings: object) -> SlurmJobExecutor:
        settings.setdefault("work_directory", tmp_path / "work")
        return SlurmJobExecutor(config=BatchSchedulerExecutorConfig(**settings))  # type: ignore[arg-type]

    return make


Make = Callable[..., SlurmJobExecutor]


def shell(text: str, **fields: object) -> Job:
    return Job(JobSpec("/bin/sh", ["-c", text], **fields))  # type: ignore[arg-type]


def files(folder: Path) -> list[str]:
    return sorted(
        str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.name != "swept"
    )


def test_jobs_run_and_leave_nothing_but_records(
    fake_slurm: FakeSlurm, make: Make, tmp_path: Path
) -> None:
    job = shell("exit 0")
    ex = make()
    ex.submit(job)
    assert end(job).exit_code == 0
    many = [shell(f"exit {i}") for i in range(3)]
    ex.submit_many(many)
    assert [end(job).exit_code for job in many] == [0, 1, 2]
    assert [job.native_id for job in (job, *many)] == ["101", "102_0", "102_1", "102_2"]
    work = tmp_path / "work" / "slurm"
    until(lambda: all(f.startswith(("records/", "arrays/")) for f in files(work)))
    names = [f"records/fake/{i}" for i in ("101", "102_0", "102_1", "102_2")]
    assert [name for name in files(work) if not name.startswith("arrays/")] == names


def test_files_are_kept_if_asked_for(
    fake_slurm: FakeSlurm, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PSIJ_BATCH_KEEP_FILES", "1")
    job = shell("exit 0")
    make().submit(job)
    end(job)
    kept = {name.partition("/")[0] for name in files(tmp_path / "work" / "slurm")}
    assert kept >= {"scripts", "log", "records"}


def test_like_jobs_become_arrays_up_to_the_limit(fake_slurm: FakeSlurm, make: Make) -> None:
    fake_slurm.set("array", 5)
    jobs = [shell(f"exit {i}", name=f"n{i}") for i in range(12)]
    jobs.append(shell("exit 12", directory="/"))
    make().submit_many(jobs)
    assert [end(job).exit_code for job in jobs] == list(range(13))
    assert len(fake_slurm.lines("calls")) == 4
    assert len({job.native_id for job in jobs}) == 13


def test_unlike_jobs_are_submitted_concurrently_within_the_limit(
    fake_slurm: FakeSlurm, make: Make
) -> None:
    fake_slurm.set("slow", 0.3)
    jobs = [shell("exit 0", attributes=JobAttributes(queue_name=f"q{i}")) for i in range(9)]
    make(max_concurrent_submissions=3).submit_many(jobs)
    assert max(int(n) for n in fake_slurm.lines("concurrent")) in (2, 3)
    assert {end(job).state for job in jobs} == {JobState.COMPLETED}


def test_a_group_that_is_refused_harms_no_other(fake_slurm: FakeSlurm, make: Make) -> None:
    bad = [shell("exit 0", attributes=JobAttributes(queue_name="bad")) for _ in range(2)]
    good = [shell("exit 0") for _ in range(2)]
    with pytest.raises(BulkSubmitException, match="invalid partition") as problem:
        make().submit_many([*bad, *good])
    assert {job for job, _ in problem.value.failed} == set(bad)
    assert not problem.value.transient
    assert {job.status.state for job in bad} == {JobState.NEW}
    assert {end(job).state for job in good} == {JobState.COMPLETED}
    for job in bad:
        assert job.spec is not None
        job.spec.attributes = JobAttributes(queue_name="good")
    make().submit_many(bad)
    assert {end(job).state for job in bad} == {JobState.COMPLETED}


def test_an_absent_controller_is_a_transient_problem_found_once(
    fake_slurm: FakeSlurm, make: Make
) -> None:
    ex = make(max_concurrent_submissions=2, submit_patience=0)
    job = shell("exit 0")
    fake_slurm.set("down")
    with pytest.raises(SubmitException, match="Unable to contact") as problem:
        ex.submit(job)
    assert problem.value.transient
    unlike = [shell("exit 0", attributes=JobAttributes(queue_name=f"q{i}")) for i in range(50)]
    with pytest.raises(BulkSubmitException) as bulk:
        ex.submit_many(unlike)
    assert bulk.value.transient
    assert len(bulk.value.failed) == 50
    assert len(fake_slurm.lines("calls")) <= 1 + 3
    with pytest.raises(BulkSubmitException, match="Unable to contact"):
        ex.submit_many([shell("exit 0"), shell("exit 0")])
    fake_slurm.unset("down")
    ex.submit(job)
    assert end(job).state is JobState.COMPLETED


def test_a_submission_is_tried_again_for_a_while(fake_slurm: FakeSlurm, make: Make) -> None:
    fake_slurm.set("down")
    timer = threading.Timer(1.2, lambda: fake_slurm.unset("down"))
    timer.start()
    job = shell("exit 0")
    make().submit(job)
    assert len(fake_slurm.lines("calls")) > 1
    assert end(job).state is JobState.COMPLETED
    timer.join()


def test_a_limit_of_ones_own(fake_slurm: FakeSlurm, make: Make) -> None:
    """No more jobs than that are in the queue at any time, whatever array they are in."""
    fake_slurm.set("wait", 0.3)
    most = make(max_queued_jobs=3, on_queue_limit="wait")
    jobs = [shell("exit 0") for _ in range(8)]
    alive: list[int] = []

    def note(job: Job, status: psij.JobStatus) -> None:
        alive.append(sum(1 for j in jobs if j.native_id is not None and not j.status.final))

    most.set_job_status_callback(note)
    most.submit_many(jobs)
    assert {end(job).state for job in jobs} == {JobState.COMPLETED}
    assert 0 < max(alive) <= 3
    strict = make(max_queued_jobs=1)
    first = shell("sleep 1")
    strict.submit(first)
    with pytest.raises(SubmitException, match="max_queued_jobs") as problem:
        strict.submit(shell("exit 0"))
    assert problem.value.is_transient
    end(first)
    strict.submit(shell("exit 0"))


def test_many_that_wait_for_room_do_not_stand_in_their_own_way(
    fake_slurm: FakeSlurm, make: Make
) -> None:
    ex = make(max_queued_jobs=2, on_queue_limit="wait", max_concurrent_submissions=10)
    jobs = [shell("exit 0", attributes=JobAttributes(queue_name=f"q{i}")) for i in range(16)]
    ex.submit_many(jobs)
    assert {end(job).state for job in jobs} == {JobState.COMPLETED}


def test_one_that_cannot_be_described_does_not_harm_the_others(
    fake_slurm: FakeSlurm, make: Make
) -> None:
    ex = make()
    failed = shell("exit 1")
    ex.submit(failed)
    end(failed)
    never = shell("exit 0", attributes=JobAttributes(dependencies={"afterok": [failed]}))
    good = [shell("exit 0") for _ in range(2)]
    with pytest.raises(BulkSubmitException, match="can never start") as problem:
        ex.submit_many([good[0], never, good[1]])
    assert [job for job, _ in problem.value.failed] == [never]
    assert {end(job).state for job in good} == {JobState.COMPLETED}


def test_a_late_answer_is_not_taken_for_none(
    fake_slurm: FakeSlurm, make: Make, tmp_path: Path
) -> None:
    """The job runs already when its submission is given up: it is found, and runs once."""
    sbatch = fake_slurm.folder / "bin" / "sbatch"
    sbatch.write_text(sbatch.read_text() + "\nsleep 60\n")
    single = shell(f"echo ran >>'{tmp_path}/ran'; sleep 2")
    several = [shell(f"echo ran >>'{tmp_path}/ran'; sleep 2; exit {i}") for i in range(3)]
    ex = make(command_timeout=2)
    ex.submit(single)
    ex.submit_many(several)
    assert end(single).state is JobState.COMPLETED
    assert [end(job).exit_code for job in several] == [0, 1, 2]
    assert (tmp_path / "ran").read_text() == "ran\n" * 4


def test_an_interrupted_submission_does_not_run_later(
    fake_slurm: FakeSlurm, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job was taken, but nobody has learned its id: it must not run, or would run twice."""
    fake_slurm.set("wait", 1.0)
    job = shell(f"echo ran >>'{tmp_path}/ran'")
    run = LocalRunner.run

    def interrupted(self: LocalRunner, command: Command) -> CommandResult:
        result = run(self, command)
        if command.argv[0] == "sbatch":
            raise KeyboardInterrupt
        return result

    ex = make()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(LocalRunner, "run", interrupted)
        ex.submit(job)
    assert (job.status.state, job.native_id) == (JobState.NEW, None)
    ex.submit(job)
    assert end(job).state is JobState.COMPLETED
    until(lambda: not os.listdir(fake_slurm.folder / "run"))
    assert (tmp_path / "ran").read_text() == "ran\n"


def test_a_queue_limit_raises_or_waits(fake_slurm: FakeSlurm, make: Make) -> None:
    fake_slurm.set("limit", 2)
    jobs = [shell("exit 0") for _ in range(7)]
    with pytest.raises(BulkSubmitException, match="AssocMaxSubmitJobLimit") as problem:
        make().submit_many(jobs)
    assert problem.value.transient
    assert {job.status.state for job in jobs} == {JobState.NEW}
    make(on_queue_limit="wait").submit_many(jobs)
    assert {end(job).state for job in jobs} == {JobState.COMPLETED}


def test_a_submission_that_took_too_long_does_not_run_later(
    fake_slurm: FakeSlurm, make: Make, tmp_path: Path
) -> None:
    # the stand-in starts the job's script a second after sbatch was given up
    fake_slurm.set("wait", 1.0)
    sbatch = fake_slurm.folder / "bin" / "sbatch"
    sbatch.write_text(sbatch.read_text() + "\nsleep 60\n")
    fake_slurm.set("blind")  # and does not list it meanwhile
    job = shell(f"touch '{tmp_path}/ran'")
    with pytest.raises(SubmitException, match="in time") as problem:
        make(command_timeout=0.5, submit_patience=0).submit(job)
    assert problem.value.transient
    assert job.native_id is None
    until(lambda: not list((fake_slurm.folder / "run").iterdir()))
    assert not (tmp_path / "ran").exists()


def test_missing_commands_are_named(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SubmitException, match="not in PATH"):
        make().submit(shell("exit 0"))
    with pytest.raises(BulkSubmitException, match="not in PATH"):
        make().submit_many([shell("exit 0"), shell("exit 0")])
    with pytest.raises(SubmitException, match="PATH"):
        make().list()


def test_bad_custom_attributes_are_refused_before_anything_is_submitted(
    fake_slurm: FakeSlurm, make: Make
) -> None:
    bad = shell("exit 0", attributes=JobAttributes(custom_attributes={"slurm.array": "1-3"}))
    good = shell("exit 0")
    with pytest.raises(InvalidJobException, match="submit_many"):
        make().submit_many([good, bad])
    assert fake_slurm.lines("calls") == []
    assert good.executor is None
    assert bad.executor is None


def test_garbage_from_squeue_stops_nothing_and_is_logged_once(
    fake_slurm: FakeSlurm, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    fake_slurm.set("garbage", "slurm says hello\n1|x\n")
    job = shell("sleep 3")
    with caplog.at_level(logging.WARNING):
        make(queue_polling_interval=0.5, initial_queue_polling_delay=0).submit(job)
        assert end(job).state is JobState.COMPLETED
    assert len(fake_slurm.lines("queries")) >= 2
    assert sum("slurm says hello" in record.getMessage() for record in caplog.records) == 1


def test_a_scheduler_that_does_not_answer_harms_nobody(
    fake_slurm: FakeSlurm, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    job = shell("sleep 2; exit 4")
    with caplog.at_level(logging.WARNING):
        make(queue_polling_interval=0.2, initial_queue_polling_delay=0).submit(job)
        job.wait(TIMEOUT, JobState.ACTIVE)
        fake_slurm.set("down")
        assert end(job).exit_code == 4
    fake_slurm.unset("down")
    assert sum("does not answer" in record.getMessage() for record in caplog.records) <= 1


def test_queries_keep_to_the_interval(fake_slurm: FakeSlurm, make: Make) -> None:
    jobs = [shell("sleep 2") for _ in range(5)]
    for job in jobs:  # each with an executor of its own, as some clients do
        make(queue_polling_interval=0.5, initial_queue_polling_delay=0.1).submit(job)
    for job in jobs:
        end(job)
    times = [float(line) for line in fake_slurm.lines("queries")]
    assert times
    assert all(b - a > 0.4 for a, b in pairwise(times))


def test_threads_do_not_grow_with_jobs(fake_slurm: FakeSlurm, make: Make) -> None:
    ex = make()
    jobs = [shell("sleep 1") for _ in range(20)]
    ex.submit_many(jobs)
    for job in jobs:
        end(job)
    ours = [t.name for t in threading.enumerate() if t.name.startswith("exaworks")]
    assert len([name for name in ours if name.startswith("exaworks-batch")]) <= 8
    assert len(ours) <= 11


def test_attach_list_cancel(fake_slurm: FakeSlurm, make: Make) -> None:
    job = shell("sleep 2; exit 6")
    make().submit(job)
    job.wait(TIMEOUT, JobState.ACTIVE)
    assert job.native_id is not None
    assert make().list() == [job.native_id]
    same = Job()
    make().attach(same, job.native_id)
    assert end(same).exit_code == end(job).exit_code == 6
    later = Job()
    make().attach(later, job.native_id)
    assert end(later).exit_code == 6
    many = [shell("sleep 1") for _ in range(5)]
    ex = make()
    ex.submit_many(many)
    ex.cancel_many(many[1:4])
    assert fake_slurm.lines("cancelled") == ["102_[1-3]"]


def test_jobs_are_found_by_their_own_ids(fake_slurm: FakeSlurm, make: Make) -> None:
    jobs = [shell("sleep 1", attributes=JobAttributes(queue_name="a"))]
    jobs += [shell("sleep 1", attributes=JobAttributes(queue_name="b")) for _ in range(3)]
    make().submit_many(jobs)
    expected = {job.id: job.native_id for job in jobs}
    assert make().find([*expected, "0" * 36]) == expected
    for job in jobs:
        end(job)
    until(lambda: not make().list())
    assert make().find(expected) == expected
    assert make().find([jobs[2].id]) == {jobs[2].id: jobs[2].native_id}
    assert make().find(["0" * 36, "what is that"]) == {}
    fake_slurm.set("down")
    with pytest.raises(SubmitException, match="Unable to contact"):
        make().find(expected)


def test_usable(fake_slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch) -> None:
    assert SlurmJobExecutor.unusable() is None
    fake_slurm.set("down")
    assert "Unable to contact" in (SlurmJobExecutor.unusable() or "")
    monkeypatch.setenv("PATH", "/nowhere")
    assert "not in PATH" in (SlurmJobExecutor.unusable() or "")


def test_attaching_to_what_never_existed(fake_slurm: FakeSlurm, make: Make) -> None:
    for native_id in ("999", "no id"):
        job = Job()
        make().attach(job, native_id)
        status = end(job)
        assert (status.state, status.reason) == (JobState.FAILED, Reason.LOST)
        assert native_id in (status.message or "")


def test_a_plain_configuration_is_accepted(fake_slurm: FakeSlurm, tmp_path: Path) -> None:
    ex = JobExecutor.get_instance("slurm", config=JobExecutorConfig(work_directory=tmp_path / "w"))
    job = shell("exit 0")
    ex.submit(job)
    assert end(job).state is JobState.COMPLETED
    assert (tmp_path / "w" / "slurm" / "records").is_dir()


def test_configuration() -> None:
    config = BatchSchedulerExecutorConfig(None, "/w", timedelta(minutes=1), 3, 4, True)
    assert config.queue_polling_interval == 60
    assert config.initial_queue_polling_delay == 3
    assert config.queue_polling_error_threshold == 4
    assert config.keep_files
    for wrong in ({"queue_polling_interval": -1}, {"max_concurrent_submissions": 0},
                  {"on_queue_limit": "x"}):  # fmt: skip
        with pytest.raises(ValueError, match=next(iter(wrong))):
            BatchSchedulerExecutorConfig(**wrong)


def test_render_shows_what_is_submitted(fake_slurm: FakeSlurm, make: Make) -> None:
    ex = make()
    job = shell("exit 0", name="a name")
    shown = ex.render(job)
    assert shown.command == ["sbatch", "--parsable", "--job-name=a name"]
    assert fake_slurm.lines("calls") == []
    ex.submit(job)
    end(job)
    (path,) = fake_slurm.folder.glob("script.*")
    submitted = path.read_text()
    (token,) = [line for line in submitted.splitlines() if line.startswith("_psij_token=")]
    assert shown.script == submitted.replace(token.removeprefix("_psij_token="), "0" * 16)


def test_the_job_that_we_run_in_is_not_taken_for_the_new_one(
    fake_slurm: FakeSlurm, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (
        "SLURM_ARRAY_JOB_ID",
        "SLURM_RESTART_COUNT",
        "SLURM_MEM_PER_CPU",
        "SBATCH_WAIT",
        "SBATCH_TIMELIMIT",
    ):
        monkeypatch.setenv(name, "7")
    monkeypatch.setenv("SLURM_MPI_TYPE", "pmix")
    job = shell("exit 0")
    make().submit(job)
    assert end(job).metadata == {"native_id": "101", "nodes": "node1"}
    (path,) = fake_slurm.folder.glob("env.*")
    variables = path.read_text()
    assert "SLURM_MPI_TYPE=pmix" in variables
    assert "=7\n" not in variables


def test_a_forked_child_can_use_the_executor(fake_slurm: FakeSlurm, make: Make) -> None:
    ex = make()
    before = shell("sleep 1")
    ex.submit(before)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        result = b"?"
        try:
            job = shell("exit 5")
            ex.submit(job)
            statuses = [job.wait(TIMEOUT), before.wait(TIMEOUT)]
            result = str([s.exit_code if s else None for s in statuses]).encode()
        finally:
            os.write(write, result)
            os._exit(0)
    os.close(write)
    with open(read, "rb") as pipe:
        assert pipe.read() == b"[5, 0]"
    os.waitpid(pid, 0)
    assert end(before).state is JobState.COMPLETED


def test_nothing_runs_before_the_first_job(
    fake_slurm: FakeSlurm, make: Make, tmp_path: Path
) -> None:
    threads = threading.active_count()
    make()
    assert threading.active_count() == threads
    assert not (tmp_path / "work").exists()
