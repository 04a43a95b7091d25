"""Jobs inside an engine: the PSI/J semantics, and what can go wrong."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from nested_cases import NestedCases
from task_helpers import alive, numbers

from exaworks.psij import (
    BulkSubmitException,
    InvalidJobException,
    InvalidStateException,
    Job,
    JobAttributes,
    JobExecutor,
    JobSpec,
    JobState,
    JobStatus,
    Reason,
    ResourceSpecV1,
    StageOut,
    StageOutFlags,
    SubmitException,
)
from exaworks.tasks import Engine, InlineEngine, LocalEngine, TaskError, TaskSpec
from exaworks.tasks.nested import EngineJobExecutor, book
from exaworks.tasks.nested.verdict import verdict
from patience import end, until

S = JobState


class TestEngineExecutor(NestedCases):
    many = 500

    @pytest.fixture(autouse=True)
    def _engine(self) -> Iterator[None]:
        with LocalEngine(4) as self.engine:
            yield
            cancel_all(EngineJobExecutor(self.engine))

    def make_executor(self) -> JobExecutor:
        return EngineJobExecutor(self.engine)


@pytest.fixture
def executor() -> Iterator[EngineJobExecutor]:
    with LocalEngine(2) as engine:
        executor = EngineJobExecutor(engine)
        yield executor
        cancel_all(executor)


def cancel_all(executor: EngineJobExecutor) -> None:
    """See to it that an engine need not wait for jobs that a test has left."""
    executor.cancel_many(executor.info())


def shell(text: str, *words: object, **fields: Any) -> Job:
    return Job(JobSpec("/bin/sh", ["-c", text, "sh", *map(str, words)], **fields))


def block(executor: EngineJobExecutor) -> Job:
    """A job that runs and has all cores."""
    job = Job(JobSpec("/bin/sleep", ["600"], resources=ResourceSpecV1(cpu_cores_per_process=2)))
    executor.submit(job)
    assert job.wait(60, S.ACTIVE) is not None
    return job


# What jobs get


def test_verdicts(executor: EngineJobExecutor) -> None:
    """Each end has its own reason, in metadata and in words."""
    short = JobAttributes(timedelta(seconds=1))
    small = ResourceSpecV1(memory=100 << 20)
    hungry = "exec python3 -c 'x = b\"x\" * (400 << 20); import time; time.sleep(600)'"
    ends = {
        Reason.EXIT_CODE: shell("exit 139"),
        Reason.SIGNAL: shell("kill -KILL $$"),
        Reason.TIMEOUT: shell("sleep 600", attributes=short),
        Reason.OUT_OF_MEMORY: shell(hungry, resources=small),
        Reason.LAUNCH: Job(JobSpec("no-such-program-at-all")),
    }
    executor.submit_many(ends.values())
    for reason, job in ends.items():
        status = end(job)
        assert (status.state, status.reason) == (S.FAILED, reason), status
    assert ends[Reason.EXIT_CODE].status.signal is None
    assert "SIGKILL" in str(ends[Reason.SIGNAL].status.message)
    assert "has run for 1 s" in str(ends[Reason.TIMEOUT].status.message)
    assert "100 MiB" in str(ends[Reason.OUT_OF_MEMORY].status.message)
    assert "no-such-program-at-all" in str(ends[Reason.LAUNCH].status.message)


def test_verdicts_of_scripts(executor: EngineJobExecutor, tmp_path: Path) -> None:
    """The same for jobs around which there is a script."""
    (tmp_path / "good").write_text("echo said; echo x >&9\n")
    (tmp_path / "bad").write_text("echo gone wrong >&2; false\n")
    (tmp_path / "loud").write_text("head -c 1000000 /dev/zero\n")
    good, bad, loud = (tmp_path / name for name in ("good", "bad", "loud"))
    ended = {name: shell(text, pre_launch=good) for name, text in {
        "code": "exit 3", "signal": "kill -KILL $$", "fd": "true >&9", "well": "true",
    }.items()}  # fmt: skip
    ended["pre"] = shell("true", pre_launch=bad)
    ended["post"] = shell("true", post_launch=bad)
    ended["loud"] = shell("true", pre_launch=loud)
    ended["loud, bad"] = shell("true", pre_launch=loud, post_launch=bad)
    ended["killed"] = shell("kill -KILL $PPID; sleep 600", pre_launch=good)
    executor.submit_many(ended.values())
    found = {name: end(job) for name, job in ended.items()}
    assert (found["code"].exit_code, found["code"].reason) == (3, Reason.EXIT_CODE)
    assert (found["signal"].signal, found["signal"].reason) == (9, Reason.SIGNAL)
    assert (found["killed"].signal, found["killed"].reason) == (9, Reason.SIGNAL)
    assert found["fd"].state is S.FAILED  # the descriptor of the report is not the job's
    assert found["well"].state is found["loud"].state is S.COMPLETED
    assert found["pre"].reason == Reason.LAUNCH
    assert "pre-launch script failed with exit code 1" in str(found["pre"].message)
    assert "printed: gone wrong" in str(found["pre"].message)
    assert "post-launch script failed" in str(found["post"].message)
    log = (found["loud, bad"].metadata or {})["log"]
    assert Path(log).stat().st_size > 1_000_000
    os.unlink(log)


def test_output_that_is_hardly_captured(tmp_path: Path) -> None:
    """What the script reports is longer than what the engine keeps of output."""
    folder = tmp_path / "output"
    folder.mkdir()
    with LocalEngine(1, capture=5, output_folder=folder) as engine:
        job = shell("exit 4", "${HOME}")
        EngineJobExecutor(engine).submit(job)
        assert (end(job).exit_code, job.status.reason) == (4, Reason.EXIT_CODE)
    assert list(folder.iterdir()) == []


def test_variables_of_the_engine(tmp_path: Path) -> None:
    """Cores and GPUs are those that the job asked for, also in references to variables."""
    show = "import os; print(len(os.sched_getaffinity(0)), *os.sys.argv[1:])"
    words = ["-c", show, "${OMP_NUM_THREADS}", "${CUDA_VISIBLE_DEVICES}", "${NO_SUCH}"]
    needs = ResourceSpecV1(cpu_cores_per_process=2, gpu_cores_per_process=1)
    spec = JobSpec("python3", words, stdout_path=tmp_path / "out", resources=needs)
    with LocalEngine(2, gpus=["a", "b"]) as engine:
        job = Job(spec)
        EngineJobExecutor(engine).submit(job)
        assert end(job).state is S.COMPLETED
    count = min(2, len(os.sched_getaffinity(0)))
    assert (tmp_path / "out").read_text() == f"{count} 2 a ${{NO_SUCH}}\n"


def test_nodefile(executor: EngineJobExecutor, tmp_path: Path) -> None:
    job = shell(
        'echo "$PSIJ_NODEFILE"; cat "$PSIJ_NODEFILE"',
        launcher="multiple",
        resources=ResourceSpecV1(process_count=2),
        stdout_path=tmp_path / "out",
    )
    executor.submit(job)
    assert end(job).state is S.COMPLETED
    words = (tmp_path / "out").read_text().split()
    assert words.count(os.uname().nodename) == 4
    assert not any(Path(word).exists() for word in words)


def test_staging_out_of_a_cancelled_job(executor: EngineJobExecutor, tmp_path: Path) -> None:
    flags = StageOutFlags.ON_CANCEL
    job = shell(
        "echo $$ >pid; exec sleep 600",
        directory=tmp_path,
        stage_out={StageOut("pid", tmp_path / "kept", flags=flags)},
    )
    executor.submit(job)
    until(lambda: numbers(tmp_path / "pid"))
    job.cancel()
    assert end(job).state is S.CANCELED
    until(lambda: numbers(tmp_path / "kept"))
    until(lambda: not alive(numbers(tmp_path / "pid")[0]))


def test_priority(executor: EngineJobExecutor, tmp_path: Path) -> None:
    blocker = block(executor)
    order = tmp_path / "order"
    jobs = [
        shell(
            'echo "$1" >>"$2"',
            n,
            order,
            attributes=JobAttributes(custom_attributes={"engine.priority": n, "slurm.x": "y"}),
            resources=ResourceSpecV1(cpu_cores_per_process=2),
        )
        for n in range(4)
    ]
    executor.submit_many(jobs)
    blocker.cancel()
    assert {end(job).state for job in jobs} == {S.COMPLETED}
    assert numbers(order) == [3, 2, 1, 0]


def test_info(executor: EngineJobExecutor) -> None:
    blocker = block(executor)
    job = shell("exit 3", name="some job")
    executor.submit(job)
    (found,) = executor.info([job])
    assert found.current_info is not None
    assert "waits" in str(found.current_info.reason)
    assert executor.list() == [blocker.native_id, job.native_id]
    assert executor.find([job.id, "no-such-id"]) == {job.id: job.native_id}
    blocker.cancel()
    end(job)
    (found,) = executor.info([job])
    assert found.status.exit_code == 3
    assert found.current_info is not None
    assert found.current_info.resourcelist == os.uname().nodename
    assert found.current_info.max_memory
    assert executor.info() == []


def test_old_ends_are_forgotten(
    executor: EngineJobExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(book, "_REMEMBERED", 2)
    jobs = [shell("true") for _ in range(4)]
    for job in jobs:
        executor.submit(job)
        end(job)
    assert [each.native_id for each in executor.info(jobs)] == [j.native_id for j in jobs[2:]]
    late = Job()
    executor.attach(late, str(jobs[0].native_id))
    assert end(late).reason == Reason.LOST


def test_all_of_it_in_the_same_thread(tmp_path: Path) -> None:
    """An engine that runs tasks at once."""
    with InlineEngine() as engine:
        executor = EngineJobExecutor(engine)
        seen: list[JobState] = []
        job = shell("exit 2", pre_launch=os.devnull)
        job.set_job_status_callback(lambda job, status: seen.append(status.state))
        executor.submit(job)
        assert end(job).exit_code == 2
        assert seen == [S.QUEUED, S.ACTIVE, S.FAILED]


# What is refused


@pytest.mark.parametrize(
    ("needs", "words"),
    [
        (ResourceSpecV1(cpu_cores_per_process=3), "3 cores"),
        (ResourceSpecV1(gpu_cores_per_process=1), "1 GPU"),
        (ResourceSpecV1(node_count=2), "2 nodes"),
        (ResourceSpecV1(memory=1 << 60), "MiB"),
    ],
)
def test_more_than_there_is(executor: EngineJobExecutor, needs: ResourceSpecV1, words: str) -> None:
    job = shell("true", resources=needs)
    with pytest.raises(InvalidJobException, match=f"can never run here.*{words}"):
        executor.submit(job)
    assert (job.status.state, job.executor) == (S.NEW, None)
    jobs = [shell(f"exit {n}") for n in range(9)]
    with pytest.raises(BulkSubmitException) as refused:
        executor.submit_many([*jobs[:4], job, *jobs[4:]])
    assert [each for each, _ in refused.value.failed] == [job]
    assert [end(each).exit_code for each in jobs] == list(range(9))


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"engine.colour": "red"}, "there is no custom attribute.*engine.priority"),
        ({"engine.priority": "high"}, "priority must be a whole number"),
    ],
)
def test_attributes_that_make_no_sense(
    executor: EngineJobExecutor, attributes: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidJobException, match=words):
        executor.submit(shell("true", attributes=JobAttributes(custom_attributes=attributes)))


def test_what_others_would_understand_is_ignored(executor: EngineJobExecutor) -> None:
    attributes = JobAttributes(queue_name="debug", account="me", reservation_id="mine")
    job = shell("true", attributes=attributes)
    executor.submit(job)
    assert end(job).state is S.COMPLETED


def test_exclusive_use_takes_all_cores(executor: EngineJobExecutor) -> None:
    alone = shell("sleep 600", resources=ResourceSpecV1(exclusive_node_use=True))
    executor.submit(alone)
    alone.wait(60, S.ACTIVE)
    assert executor.engine.resources().free[0].cores == ()
    alone.cancel()


# Holding


def test_hold_again_and_again(executor: EngineJobExecutor) -> None:
    blocker, job = block(executor), shell("exit 5")
    executor.submit(job)
    for _ in range(3):
        executor.hold(job)
        executor.hold(job)
        assert executor.engine.resources().waiting == 0
        executor.release(job)
        assert executor.engine.resources().waiting == 1
        with pytest.raises(InvalidStateException, match="not held"):
            executor.release(job)
    with pytest.raises(InvalidStateException, match="has started"):
        executor.hold(blocker)
    blocker.cancel()
    assert end(job).exit_code == 5
    with pytest.raises(InvalidStateException):
        executor.hold(job)


def test_cancel_of_a_held_job(executor: EngineJobExecutor) -> None:
    blocker, job = block(executor), shell("true")
    executor.submit(job)
    executor.hold(job)
    other = Job()
    EngineJobExecutor(executor.engine).attach(other, str(job.native_id))
    job.cancel()
    assert end(job).state is end(other).state is S.CANCELED
    assert job.status.reason == Reason.CANCELED
    with pytest.raises(InvalidStateException):
        executor.release(job)
    blocker.cancel()


def test_hold_while_jobs_start(executor: EngineJobExecutor, tmp_path: Path) -> None:
    """A job that could be held does not run; one that could not does; none runs twice."""
    path = tmp_path / "ran"
    jobs = [shell('echo "$1" >>"$2"', n, path) for n in range(300)]
    executor.submit_many(jobs)
    held = []
    for job in reversed(jobs):
        try:
            executor.hold(job)
        except InvalidStateException:
            continue
        held.append(job)
    assert held
    for job in set(jobs) - set(held):
        assert end(job).state is S.COMPLETED
    assert not set(numbers(path)) & {jobs.index(job) for job in held}
    for job in held:
        executor.release(job)
    assert {end(job).state for job in held} == {S.COMPLETED}
    assert sorted(numbers(path)) == list(range(300))


# Ends of the engine


def test_jobs_that_wait_when_the_engine_is_shut_down() -> None:
    engine = LocalEngine(2)
    executor = EngineJobExecutor(engine)
    blocker, waiting, held = block(executor), shell("true"), shell("true")
    executor.submit_many([waiting, held])
    executor.hold(held)
    dependent = shell("true", attributes=JobAttributes(dependencies={"afterany": [blocker]}))
    executor.submit(dependent)
    engine.shutdown(wait=False, cancel_futures=True)
    status = end(waiting)
    assert (status.state, status.reason) == (S.FAILED, Reason.SCHEDULER)
    assert "was shut down" in str(status.message)
    late = shell("true")
    with pytest.raises(SubmitException, match="was shut down") as refused:
        executor.submit(late)
    assert not refused.value.transient
    assert (late.status.state, late.executor) == (S.NEW, None)
    executor.release(held)
    blocker.cancel()
    for job in (held, dependent):
        status = end(job)
        assert (status.state, status.reason) == (S.FAILED, Reason.SCHEDULER)
        assert "was shut down" in str(status.message)
    engine.shutdown()


def test_an_engine_that_has_failed(
    executor: EngineJobExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own error is told, and the job can be submitted elsewhere."""

    def failed(specs: object) -> None:
        raise TaskError("there are no nodes any more")

    job = shell("exit 3")
    with monkeypatch.context() as patch:
        patch.setattr(executor.engine, "launch_many", failed)
        with pytest.raises(SubmitException, match="no nodes any more"):
            executor.submit(job)
    assert (job.status.state, job.executor) == (S.NEW, None)
    executor.submit(job)
    assert end(job).exit_code == 3


def test_jobs_end_before_the_engine_does() -> None:
    with LocalEngine(2) as engine:
        jobs = [shell(f"exit {n % 2}") for n in range(50)]
        EngineJobExecutor(engine).submit_many(jobs)
    assert [job.status.exit_code for job in jobs] == [0, 1] * 25


def test_the_process_that_runs_a_job_is_killed(executor: EngineJobExecutor, tmp_path: Path) -> None:
    path = tmp_path / "parent"
    job = shell('echo $PPID >"$1"; exec sleep 600', path)
    executor.submit(job)
    until(lambda: numbers(path))
    os.kill(numbers(path)[0], signal.SIGKILL)
    status = end(job)
    assert (status.state, status.reason) == (S.FAILED, Reason.LOST)
    assert "SIGKILL" in str(status.message)
    after = shell("true")
    executor.submit(after)
    assert end(after).state is S.COMPLETED


def test_a_restartable_job_whose_process_is_killed(
    executor: EngineJobExecutor, tmp_path: Path
) -> None:
    path = tmp_path / "parents"
    again = JobAttributes(custom_attributes={"engine.restartable": True})
    text = 'echo $PPID >>"$1"; [ $(wc -l <"$1") -ge 2 ] || exec sleep 600'
    job = shell(text, path, attributes=again)
    executor.submit(job)
    until(lambda: numbers(path))
    os.kill(numbers(path)[0], signal.SIGKILL)
    assert end(job).state is S.COMPLETED


def test_an_end_that_cannot_be_understood(
    executor: EngineJobExecutor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> JobStatus:
        raise RuntimeError("on purpose")

    monkeypatch.setattr(book, "verdict", broken)
    job = shell("true")
    with caplog.at_level(logging.CRITICAL):
        executor.submit(job)
        status = end(job)
    assert status.state is S.FAILED
    assert "on purpose" in str(status.message)


@pytest.mark.parametrize(
    ("number", "asked", "state"),
    [
        (signal.SIGTERM, True, S.CANCELED),
        (signal.SIGKILL, True, S.CANCELED),
        (signal.SIGTERM, False, S.FAILED),
        (signal.SIGSEGV, True, S.FAILED),
    ],
)
def test_an_end_that_the_engine_hears_of_first(
    executor: EngineJobExecutor, number: int, asked: bool, state: JobState
) -> None:
    """The task was ended because of a cancellation, but its future does not say so."""
    task = executor.engine.launch(TaskSpec(["sh", "-c", f"ulimit -c 0; kill -{number:d} $$"]))
    task.exception(60)
    status = verdict("id", task, scripted=False, asked=asked)
    assert (status.state, status.signal, status.exit_code) == (state, number, 128 + number)
    assert (status.reason == Reason.CANCELED) is (state is S.CANCELED)


# Many


def test_many_jobs_from_many_threads() -> None:
    count, threads = 2000, 4
    with LocalEngine(2) as engine:
        executor = EngineJobExecutor(engine)
        seen: dict[Job, list[JobState]] = {}
        executor.set_job_status_callback(
            lambda job, status: seen.setdefault(job, []).append(status.state)
        )
        jobs = [Job(JobSpec("/bin/true" if n % 2 else "/bin/false")) for n in range(count)]

        def submit(first: int) -> None:
            mine = jobs[first::threads]
            for job in mine[:200]:
                executor.submit(job)
            executor.submit_many(mine[200:])

        before = threading.active_count()
        submitters = [threading.Thread(target=submit, args=(n,)) for n in range(threads)]
        for thread in submitters:
            thread.start()
        for thread in submitters:
            thread.join()
        assert threading.active_count() <= before + 2  # callbacks, and a worker
        for n, job in enumerate(jobs):
            assert end(job).exit_code == 1 - n % 2
        assert len({job.native_id for job in jobs}) == count
        finals = (S.FAILED, S.COMPLETED)
        assert all(seen[job] == [S.QUEUED, S.ACTIVE, finals[n % 2]] for n, job in enumerate(jobs))
        assert executor.list() == []


def test_a_storm_of_cancellations(executor: EngineJobExecutor) -> None:
    """Jobs are submitted, held, released and cancelled by several threads at once."""
    jobs = [shell("sleep 0.01", pre_launch=os.devnull if n % 3 else None) for n in range(300)]
    problems: list[BaseException] = []

    def disturb(first: int) -> None:
        for number, job in enumerate(jobs[first::2]):
            try:
                if job.native_id is None:
                    continue
                if number % 4 == 1:
                    executor.hold(job)
                    executor.release(job)
                elif number % 4 != 3:
                    job.cancel()
            except InvalidStateException:
                pass
            except BaseException as problem:
                problems.append(problem)

    threads = [threading.Thread(target=disturb, args=(n,)) for n in (0, 1, 0, 1)]
    middle = len(jobs) // 2
    executor.submit_many(jobs[:middle])
    for thread in threads:
        thread.start()
    executor.submit_many(jobs[middle:])
    for thread in threads:
        thread.join()
    assert problems == []
    held = [job for job in executor.info() if job.status.state is S.HELD]
    for job in held:  # one thread has held it after another had released it
        executor.release(job)
    for n, job in enumerate(jobs):
        state = end(job).state
        assert state is S.COMPLETED or (state is S.CANCELED and n // 2 % 4 in (0, 2)), (n, job)
    assert executor.list() == []
    until(lambda: executor.engine.resources().free == executor.engine.resources().total)


def test_callbacks_that_use_the_executor(executor: EngineJobExecutor) -> None:
    """Chains of jobs, with cancellations from callbacks, while others submit: no deadlock."""
    left, done, lock = 200, threading.Event(), threading.Lock()

    def go_on(job: Job, status: JobStatus) -> None:
        nonlocal left
        if status.state is S.ACTIVE and job.spec is not None and job.spec.name == "endless":
            executor.list()
            job.cancel()
        if status.final:
            with lock:
                left -= 1
                number = left
            if number > 0:
                endless = number % 5 == 0
                name = "endless" if endless else None
                executor.submit(shell("sleep 600" if endless else "true", name=name))
            elif number == 0:
                done.set()

    executor.set_job_status_callback(go_on)
    for _ in range(4):
        executor.submit(shell("true"))
    assert done.wait(120)


def test_an_engine_that_lets_submitters_wait() -> None:
    """Submissions block while the queue is full, also those of jobs that were held."""
    with LocalEngine(2, max_waiting=3) as engine:
        executor = EngineJobExecutor(engine)
        first = shell("true")
        executor.submit(first)
        after = {"afterany": [first]}
        jobs = [shell("true", attributes=JobAttributes(dependencies=after)) for _ in range(60)]
        for job in jobs:
            executor.submit(job)
        assert {end(job).state for job in jobs} == {S.COMPLETED}


# Forks


def _in_child(queue: Any, executor: EngineJobExecutor, running: Job) -> None:
    try:
        found: list[str] = []
        for what in (
            lambda: executor.submit(shell("true")),
            lambda: EngineJobExecutor(executor.engine).submit(shell("true")),
            lambda: executor.cancel(running),
            lambda: executor.hold(running),
            executor.info,
            executor.list,
        ):
            try:
                what()
            except SubmitException as problem:
                found.append(problem.message)
        assert len(found) == 6, found
        assert all("after the fork" in each for each in found)
        status = running.wait(60)
        assert status is not None
        assert (status.state, status.reason) == (S.FAILED, Reason.LOST)
        with LocalEngine(1) as engine:
            job = shell("exit 7")
            EngineJobExecutor(engine).submit(job)
            queue.put(end(job).exit_code)
    except BaseException as problem:
        queue.put(repr(problem))
    finally:
        queue.close()
        queue.join_thread()
        os._exit(0)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_fork_of_a_program_that_uses_it(executor: EngineJobExecutor, tmp_path: Path) -> None:
    """In a child the engine of its parent is of no use, which is said at once."""
    running = shell('while [ ! -e "$1" ]; do sleep 0.05; done; exit 6', tmp_path / "go")
    executor.submit(running)
    assert running.wait(60, S.ACTIVE) is not None
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_in_child, args=(queue, executor, running))
    child.start()
    assert queue.get(timeout=120) == 7
    child.join(60)
    assert not running.status.final
    (tmp_path / "go").touch()
    assert end(running).exit_code == 6


def test_it_is_imported_when_it_is_used() -> None:
    code = "import sys, exaworks.tasks; assert not any('psij' in name for name in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_tasks_and_jobs_share_an_engine(executor: EngineJobExecutor) -> None:
    engine: Engine = executor.engine
    begun = time.time()
    job = shell("exit 1")
    futures = [engine.launch(TaskSpec(["true"])) for _ in range(20)]
    executor.submit(job)
    assert all(future.result(60).ok for future in futures)
    assert end(job).exit_code == 1
    assert begun - 1 < job.status.time < time.time() + 1


def test_held_jobs_end_with_their_engine() -> None:
    with LocalEngine(1) as engine:
        executor = EngineJobExecutor(engine)
        blocker, job = shell("sleep 600"), shell("true")
        executor.submit(blocker)
        executor.submit(job)
        executor.hold(job)
        blocker.cancel()
    status = end(job)
    assert status.state is S.FAILED
    assert "it was held, and its engine was shut down" in (status.message or "")
