"""What happens when connections, brokers, nodes and instances are lost."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from flux_instance import Instance
from flux_proxy import Proxy

from exaworks import psij
from exaworks.psij import (
    Job,
    JobAttributes,
    JobExecutor,
    JobSpec,
    JobState,
    PSIJException,
    ResourceSpecV1,
    SubmitException,
)
from exaworks.psij.executors.flux import FluxExecutorConfig
from exaworks.psij.job_status import Reason

pytestmark = pytest.mark.flux

S = JobState
LIMIT = 60.0


def executor_at(uri: str, submit_with: str = "socket", patience: float = LIMIT) -> JobExecutor:
    config = FluxExecutorConfig(submit_with=submit_with, patience=patience)
    return JobExecutor.get_instance("flux", url=uri, config=config)


def sleeper(folder: Path) -> Job:
    """A job that runs until a file is there."""
    text = f"while [ ! -e '{folder}/go' ]; do sleep 0.1; done; exit 3"
    return Job(JobSpec("/bin/sh", ["-c", text]))


def reach(job: Job, state: JobState) -> None:
    status = job.wait(LIMIT, state)
    assert status is not None
    assert status.state is state


@pytest.fixture
def proxy(instance: Instance, tmp_path: Path) -> Iterator[Proxy]:
    made = Proxy(tmp_path / "socket", instance.uri)
    yield made
    made.close()


@pytest.mark.parametrize("submit_with", ["socket", "command"])
def test_lost_connection(
    instance: Instance, proxy: Proxy, tmp_path: Path, submit_with: str
) -> None:
    """Jobs are followed on, whether they end during the break or after it."""
    executor = executor_at(proxy.uri, submit_with)
    during, after, waiting = sleeper(tmp_path), Job(JobSpec("/bin/sleep", ["300"])), Job()
    waiting.spec = JobSpec("/bin/true", attributes=JobAttributes())
    waiting.spec.attributes.custom_attributes = {"flux.urgency": 0}
    executor.submit_many([during, after, waiting])
    reach(during, S.ACTIVE)
    reach(after, S.ACTIVE)
    proxy.close()
    (tmp_path / "go").touch()
    instance.flux("job", "wait-event", str(during.native_id), "clean")
    assert during.status.state is S.ACTIVE
    proxy.open()
    status = during.wait(LIMIT)
    assert status is not None
    assert (status.state, status.exit_code) == (S.FAILED, 3)
    executor.cancel_many([after, waiting])
    for job in (after, waiting):
        status = job.wait(LIMIT)
        assert status is not None
        assert status.state is S.CANCELED


def test_what_nobody_followed_is_asked_for_again(
    instance: Instance, proxy: Proxy, tmp_path: Path
) -> None:
    """After a break nothing is told that was known before it."""
    executor, seen = executor_at(proxy.uri), executor_at(instance.uri)
    job = sleeper(tmp_path)
    seen.submit(job)
    reach(job, S.ACTIVE)
    assert job.native_id is not None
    assert job.native_id in executor.list()
    proxy.close()
    (tmp_path / "go").touch()
    reach(job, S.FAILED)
    proxy.open()
    same = Job()
    executor.attach(same, job.native_id)
    status = same.wait(LIMIT)
    assert status is not None
    assert (status.state, status.exit_code) == (S.FAILED, 3)
    assert job.native_id not in executor.list()


def test_no_job_runs_twice_when_the_answer_is_lost(
    instance: Instance, proxy: Proxy, tmp_path: Path
) -> None:
    """It is found out whether submissions without an answer have arrived."""
    executor = executor_at(proxy.uri)
    first = Job(JobSpec("/bin/true"))
    executor.submit(first)
    assert first.wait(LIMIT) is not None
    text = f'echo x >>"{tmp_path}/$0"'
    jobs = [Job(JobSpec("/bin/sh", ["-c", text, f"ran{i}"])) for i in range(20)]
    proxy.mute_after = b"job-ingest.submit"
    thread = threading.Thread(target=executor.submit_many, args=(jobs,))
    thread.start()
    seen = executor_at(instance.uri)  # by another way, which is not mute
    everywhere = "; ".join(
        f'while [ ! -e "{tmp_path}/ran{i}" ]; do sleep 0.1; done' for i in range(20)
    )
    all_ran = Job(JobSpec("/bin/sh", ["-c", everywhere]))
    seen.submit(all_ran)
    reach(all_ran, S.COMPLETED)
    assert {job.native_id for job in jobs} == {None}
    proxy.mute_after, proxy.mute = None, False
    proxy.cut()
    thread.join(LIMIT)
    done, not_done = psij.wait(jobs, LIMIT)
    assert not not_done
    assert {job.status.state for job in done} == {S.COMPLETED}
    assert [(tmp_path / f"ran{i}").read_text() for i in range(20)] == ["x\n"] * 20
    assert len({job.native_id for job in jobs}) == 20


def test_a_request_that_never_arrived_is_repeated(proxy: Proxy, tmp_path: Path) -> None:
    executor = executor_at(proxy.uri)
    first = Job(JobSpec("/bin/true"))
    executor.submit(first)
    assert first.wait(LIMIT) is not None
    proxy.deaf = True
    job = Job(JobSpec("/bin/sh", ["-c", f'echo x >>"{tmp_path}/ran"']))
    thread = threading.Thread(target=executor.submit, args=(job,))
    thread.start()
    proxy.wait_for_words(LIMIT)
    proxy.deaf = False
    proxy.cut()
    thread.join(LIMIT)
    reach(job, S.COMPLETED)
    assert (tmp_path / "ran").read_text() == "x\n"


def test_no_answer(proxy: Proxy) -> None:
    """It is said that there was none, and what is accepted too late is cancelled."""
    config = FluxExecutorConfig(submit_with="socket", timeout=1.0)
    executor = JobExecutor.get_instance("flux", url=proxy.uri, config=config)
    job = Job(JobSpec("/bin/sleep", ["300"]))
    proxy.mute_after = b"job-ingest.submit"
    with pytest.raises(SubmitException, match="has not answered") as caught:
        executor.submit(job)
    assert caught.value.transient
    assert (job.status.state, job.native_id) == (S.NEW, None)
    proxy.mute_after, proxy.mute = None, False
    seen = executor_at(proxy.target)
    late = Job()
    seen.attach(late, seen.find([job.id])[job.id])
    proxy.cut()
    reach(late, S.CANCELED)


def test_no_broker(tmp_path: Path) -> None:
    executor = executor_at(f"local://{tmp_path}/none")
    job = Job(JobSpec("/bin/true"))
    with pytest.raises(SubmitException, match="Is a Flux instance running there") as caught:
        executor.submit(job)
    assert caught.value.transient
    assert job.status.state is S.NEW
    with pytest.raises(PSIJException):
        executor.list()


def test_lost_node(own_instance: Instance) -> None:
    executor = executor_at(own_instance.uri)
    needs = ResourceSpecV1(node_count=2)
    job = Job(JobSpec("/bin/sleep", ["15"], launcher="srun", resources=needs))  # one is orphaned
    executor.submit(job)
    reach(job, S.ACTIVE)
    own_instance.flux("job", "wait-event", "-p", "exec", str(job.native_id), "shell.start")
    leaf = own_instance.flux("exec", "-r", "1", "flux", "getattr", "broker.pid")
    os.kill(int(leaf), signal.SIGKILL)
    status = job.wait(LIMIT)
    assert status is not None
    assert (status.state, status.reason) == (S.FAILED, Reason.NODE_FAILURE)


def test_instance_that_is_gone(own_instance: Instance) -> None:
    """Its jobs are lost, but only after some time."""
    executor = executor_at(own_instance.uri, patience=0.5)
    job = Job(JobSpec("/bin/sleep", ["2"]))
    executor.submit(job)
    reach(job, S.ACTIVE)
    own_instance.kill()
    status = job.wait(LIMIT)
    assert status is not None
    assert (status.state, status.reason) == (S.FAILED, Reason.LOST)
    assert "gone" in (status.message or "")
    with pytest.raises(SubmitException):
        executor.submit(Job(JobSpec("/bin/true")))


def test_another_instance_at_the_same_address(own_instance: Instance, tmp_path: Path) -> None:
    """It does not know the jobs of the one before, and so they are lost; it takes new ones."""
    proxy = Proxy(tmp_path / "socket", own_instance.uri)
    executor = executor_at(proxy.uri)
    job = Job(JobSpec("/bin/sleep", ["2"]))
    executor.submit(job)
    reach(job, S.ACTIVE)
    own_instance.kill()
    with Instance(tmp_path / "another") as another:
        proxy.target = another.uri
        status = job.wait(LIMIT)
        assert status is not None
        assert (status.state, status.reason) == (S.FAILED, Reason.LOST)
        assert "another instance" in (status.message or "")
        new = Job(JobSpec("/bin/true"))
        executor.submit(new)
        reach(new, S.COMPLETED)
    proxy.close()


def test_instance_that_is_restarted(own_instance: Instance) -> None:
    """Jobs that an instance takes with it through a restart are followed on."""
    executor = executor_at(own_instance.uri)
    attributes = JobAttributes(custom_attributes={"flux.urgency": 0})
    job = Job(JobSpec("/bin/true", attributes=attributes))
    executor.submit(job)
    own_instance.flux("queue", "stop", "--all")
    own_instance.stop()
    own_instance.start()
    own_instance.flux("queue", "start", "--all")
    assert job.status.state is S.QUEUED
    executor.release(job)
    reach(job, S.COMPLETED)


STAND_IN = '[ "$1" = me@cluster ] && shift && exec /bin/sh -c "$1"\nexit 255\n'
REAL = 'host=${1#me@}; shift; exec ssh -F "$EXAWORKS_TEST_SSH_CONFIG" "$host" "$@"\n'


@pytest.fixture(params=[STAND_IN, pytest.param(REAL, marks=pytest.mark.ssh)], ids=["shell", "sshd"])
def far(
    request: pytest.FixtureRequest,
    instance: Instance,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    """An address by way of ssh: a real one, or a program in its place."""
    if request.param == REAL and "EXAWORKS_TEST_SSH_CONFIG" not in os.environ:
        pytest.skip("no sshd: see tests/clusters/sshd.sh")
    program = tmp_path / "ssh"
    program.write_text(f"#!/bin/sh\n{request.param}")
    program.chmod(0o755)
    monkeypatch.setenv("FLUX_SSH", str(program))
    return f"ssh://me@cluster{instance.uri.removeprefix('local://')}"


def test_from_afar(far: str, tmp_path: Path) -> None:
    """Our environment and directory mean nothing there; what the job says of them does."""
    executor = executor_at(far)
    plain = Job(JobSpec("/bin/true"))
    told = Job(
        JobSpec(
            "/usr/bin/printf",
            ["%s/%s", "${ONE}", "${HOME}"],
            environment={"ONE": "1"},
            directory=tmp_path,
            stdout_path="out",
        )
    )
    tasks = Job(
        JobSpec(
            "/bin/sh",
            ["-c", "echo $TWO"],
            environment={"TWO": "2"},
            launcher="srun",
            stdout_path=tmp_path / "tasks",
            resources=ResourceSpecV1(process_count=2),
        )
    )
    executor.submit_many([plain, told, tasks])
    _, not_done = psij.wait([plain, told, tasks], LIMIT)
    assert not not_done
    assert {job.status.state for job in (plain, told, tasks)} == {S.COMPLETED}
    assert (tmp_path / "out").read_text() == f"1/{os.environ['HOME']}"
    assert (tmp_path / "tasks").read_text() == "2\n2\n"


def test_nobody_there(far: str, instance: Instance) -> None:
    with pytest.raises(SubmitException, match="No such file"):
        executor_at(far + "-none").submit(Job(JobSpec("/bin/true")))
    with pytest.raises(SubmitException, match="connection to"):
        executor_at(far.replace("cluster", "nowhere")).submit(Job(JobSpec("/bin/true")))


def test_fork(instance: Instance) -> None:
    """A child of a fork has a connection of its own."""
    executor = executor_at(instance.uri)
    job = Job(JobSpec("/bin/sleep", ["1"]))
    executor.submit(job)
    child = os.fork()
    if not child:
        status = job.wait(LIMIT)
        os._exit(0 if status is not None and status.state is S.COMPLETED else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    reach(job, S.COMPLETED)


def test_a_thousand_jobs(instance: Instance) -> None:
    executor = executor_at(instance.uri)
    attributes = JobAttributes(custom_attributes={"flux.exec.test": {"run_duration": "1ms"}})
    jobs = [Job(JobSpec("/bin/true", attributes=attributes)) for _ in range(1000)]
    executor.submit_many(jobs)
    found = executor.find([jobs[0].id, jobs[999].id, "never submitted"])
    assert found == {jobs[i].id: jobs[i].native_id for i in (0, 999)}
    _, not_done = psij.wait(jobs, LIMIT)
    assert not not_done
    assert {job.status.state for job in jobs} == {S.COMPLETED}


@pytest.fixture
def open_instance() -> Iterator[Instance]:
    """An instance that lets other users in."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        (Path(folder) / "access.toml").write_text("[access]\nallow-guest-user = true\n")
        with Instance(Path(folder) / "flux", f"--config-path={folder}") as started:
            yield started


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_guest(open_instance: Instance) -> None:
    """A guest may look, and must have jobs signed (which this Flux cannot)."""
    executor = executor_at(open_instance.uri, "auto")
    theirs = Job(JobSpec("/bin/sleep", ["300"]))
    executor.submit(theirs)
    child = os.fork()
    if not child:
        os.setgid(65534)
        os.setuid(65534)
        os._exit(_as_guest(open_instance.uri, str(theirs.native_id)))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    theirs.cancel()
    reach(theirs, S.CANCELED)


def _as_guest(uri: str, native_id: str) -> int:
    """What a guest tries; the number of the first thing that goes otherwise than it should."""
    executor = executor_at(uri, "auto")
    try:
        executor.submit(Job(JobSpec("/bin/true")))
        return 1
    except SubmitException as problem:
        if "flux job submit" not in problem.message:
            return 2
    if executor.list() != [] or executor.find(["x"]) != {}:
        return 3
    job = Job()
    executor.attach(job, native_id)
    status = job.wait(LIMIT)
    if status is None or status.reason != Reason.LOST or "owner" not in (status.message or ""):
        return 4
    job = Job()
    job._native_id, job.executor = native_id, executor
    try:
        executor.cancel(job)
    except SubmitException as problem:
        return 0 if "guests" in problem.message else 5
    return 6
