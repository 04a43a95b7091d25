"""The connection to the keeper: interrupted, stopped, unreachable, overloaded."""

from __future__ import annotations

import contextlib
import logging
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from test_faults import keeper_and_supervisor

from exaworks import psij
from exaworks.core.reactor import Reactor
from exaworks.psij import Job, JobAttributes, JobExecutor, JobSpec, JobState, ResourceSpecV1
from exaworks.psij.executors.local import LocalExecutorConfig, LocalJobExecutor, link, request
from patience import until

BEGIN = """
import os, signal, sys, threading, time
from exaworks import psij
from exaworks.psij import *
from exaworks.psij.executors.local import LocalExecutorConfig, LocalJobExecutor
executor = JobExecutor.get_instance("local")
running = Job(JobSpec("/bin/sleep", ["600"]))
executor.submit(running)
def jobs(count, size):
    return [Job(JobSpec("/bin/true", ["x" * size])) for _ in range(count)]
"""

CANCEL_IN_HANDLER = """
keeper = int(sys.argv[1])
def cancel(number, frame):
    os.kill(keeper, signal.SIGCONT)
    running.cancel()
signal.signal(signal.SIGALRM, cancel)
os.kill(keeper, signal.SIGSTOP)
signal.setitimer(signal.ITIMER_REAL, 0.5)
executor.submit_many(jobs(400, 20_000))  # more than the socket takes
assert running.wait(30)
"""

INTERRUPTED = """
def interrupt(number, frame):
    raise KeyboardInterrupt
signal.signal(signal.SIGALRM, interrupt)
os.kill(int(sys.argv[1]), signal.SIGSTOP)
signal.setitimer(signal.ITIMER_REAL, 0.5)
try:
    executor.submit_many(jobs(400, 20_000))  # more than the socket takes
    sys.exit("not interrupted")
except KeyboardInterrupt:
    pass
os.kill(int(sys.argv[1]), signal.SIGCONT)
running.cancel()
assert running.wait(30)
"""

BOTH_WAYS = """
narrow = LocalJobExecutor(config=LocalExecutorConfig(max_running_jobs=1))
blocker = Job(JobSpec("/bin/sleep", ["600"]))
narrow.submit(blocker)
narrow.submit_many(jobs(2000, 3000))
def ask():
    for _ in range(3):
        narrow.info()
def submit():
    for _ in range(3):
        narrow.submit_many(jobs(200, 4000))
threads = [threading.Thread(target=f) for f in (ask, ask, ask, ask, submit, submit)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
narrow.cancel_many(narrow.info())
running.cancel()
assert blocker.wait(60) and running.wait(60)
"""


def sleeper(seconds: float = 600) -> Job:
    return Job(JobSpec("/bin/sleep", [str(seconds)]))


def active(executor: JobExecutor) -> Job:
    job = sleeper()
    executor.submit(job)
    assert job.wait(30, JobState.ACTIVE) is not None
    return job


def kill_both(home: Path) -> None:
    keeper, supervisor = keeper_and_supervisor(home)
    for pid in (supervisor, keeper):
        os.kill(pid, signal.SIGSTOP)
    for pid in (supervisor, keeper):
        os.kill(pid, signal.SIGKILL)


def run_program(text: str, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", BEGIN + text, *arguments],
        timeout=120,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("local_home")
def test_much_may_go_both_ways_at_once() -> None:
    run_program(BOTH_WAYS)


@pytest.mark.parametrize("text", [CANCEL_IN_HANDLER, INTERRUPTED], ids=["handler", "ctrl-c"])
def test_signal_in_the_middle_of_a_request(local_home: Path, text: str) -> None:
    """A handler may make requests, or raise; what was being sent is sent to its end."""
    starter = Job(JobSpec("/bin/true"))
    JobExecutor.get_instance("local").submit(starter)
    assert starter.wait(30)
    keeper, _ = keeper_and_supervisor(local_home)
    try:
        run_program(text, str(keeper))
    finally:
        os.kill(keeper, signal.SIGCONT)


def test_any_system_error_is_survived(local_home: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, link.logger.name)
    executor = JobExecutor.get_instance("local")
    job = Job(JobSpec("/bin/sleep", ["1"]))
    executor.submit(job)
    assert job.wait(30, JobState.ACTIVE) is not None
    (lock,) = local_home.glob("local/*/keeper.lock")
    kept = lock.rename(lock.with_name("kept"))
    lock.mkdir()
    kill_both(local_home)
    until(lambda: "Trying again" in caplog.text)
    late = Job(JobSpec("/bin/true"))
    with pytest.raises(psij.SubmitException, match=r"keeper\.lock") as caught:
        executor.submit(late)
    assert caught.value.transient
    lock.rmdir()
    kept.rename(lock)
    assert job.wait(30) is not None
    executor.submit(late)
    assert late.wait(30) is not None
    assert "answers again" in caplog.text
    assert caplog.text.count("Trying again") == 1


def test_unreachable_keeper_fails_no_running_job(
    local_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it takes, only the keeper's own word ends a job."""
    monkeypatch.setattr(link, "_RECONNECT_DELAYS", (0.001,))
    executor = JobExecutor.get_instance("local")
    job = active(executor)
    assert isinstance(executor, LocalJobExecutor)
    folder = local_home / "local"
    folder.rename(local_home / "away")
    folder.write_text("")
    try:
        kill_both(local_home)
        until(lambda: executor._link._attempts > 20)
        assert job.status.state is JobState.ACTIVE
    finally:  # in one step: where nothing is, the next attempt would make a folder
        (local_home / "back").symlink_to("away")
        (local_home / "back").rename(folder)
    until(lambda: executor._link._attempts == 0)
    job.cancel()
    assert job.wait(30) is not None


def test_lost_records(local_home: Path) -> None:
    """A job that the keeper does not know is lost, now (not in 1970)."""
    before = time.time()
    job = Job(JobSpec("/bin/sleep", ["5"]))
    JobExecutor.get_instance("local").submit(job)
    assert job.wait(30, JobState.ACTIVE) is not None
    keeper, supervisor = keeper_and_supervisor(local_home)
    for pid in (supervisor, keeper):
        os.kill(pid, signal.SIGSTOP)
    shutil.rmtree(local_home / "local")
    for pid in (supervisor, keeper):
        os.kill(pid, signal.SIGKILL)
    status = job.wait(30)
    assert status is not None
    assert status.reason == psij.Reason.LOST
    assert before <= status.time <= time.time()


def test_stopped_keeper(local_home: Path, tmp_path: Path) -> None:
    """Requests end in time and say why; the job that was sent is not run twice."""
    executor = LocalJobExecutor(config=LocalExecutorConfig(start_timeout=1))
    running = active(executor)
    keeper, _ = keeper_and_supervisor(local_home)
    log = tmp_path / "log"
    job = Job(JobSpec("/bin/sh", ["-c", f"echo run >> '{log}'"]))
    os.kill(keeper, signal.SIGSTOP)
    try:
        with pytest.raises(psij.SubmitException, match=r"not answered.*keeper\.log") as caught:
            executor.submit(job)
    finally:
        os.kill(keeper, signal.SIGCONT)
    assert caught.value.transient
    assert job.status.state is JobState.NEW
    until(log.exists)  # the keeper had it all the same
    executor.submit(job)
    status = job.wait(30)
    assert status is not None
    assert status.exit_code == 0
    assert log.read_text() == "run\n"
    assert not executor._link._pending
    running.cancel()
    assert running.wait(30)


def test_what_cannot_be_sent_harms_nobody_else(local_home: Path) -> None:
    executor = JobExecutor.get_instance("local")
    running = Job(JobSpec("/bin/sh", ["-c", "sleep 1; exit 3"]))
    executor.submit(running)
    odd = JobSpec("/bin/true", attributes=JobAttributes(custom_attributes={"x": object()}))
    with pytest.raises(psij.InvalidJobException, match="JSON"):
        executor.submit(Job(odd))
    with pytest.raises(psij.InvalidJobException, match="too long"):
        executor.submit(Job(JobSpec("/bin/true", ["x" * 1_000_000] * 40)))
    keeper, _ = keeper_and_supervisor(local_home)
    os.kill(keeper, signal.SIGKILL)
    status = running.wait(30)
    assert status is not None
    assert status.exit_code == 3


def test_a_bad_job_fails_alone() -> None:
    executor = JobExecutor.get_instance("local")
    good = [Job(JobSpec("/bin/true")) for _ in range(5)]
    bad = [
        Job(JobSpec("${EMPTY}", environment={"EMPTY": ""})),
        Job(JobSpec("/bin/true", attributes=JobAttributes(custom_attributes={"x": object()}))),
    ]
    with pytest.raises(psij.BulkSubmitException) as caught:
        executor.submit_many([*good[:2], bad[0], *good[2:], bad[1]])
    assert {job for job, _ in caught.value.failed} == set(bad)
    assert all(isinstance(p, psij.InvalidJobException) for _, p in caught.value.failed)
    assert not psij.wait(good, 30).not_done


def test_more_than_fits_into_one_message() -> None:
    executor = LocalJobExecutor(config=LocalExecutorConfig(max_running_jobs=1))
    blocker = sleeper()
    executor.submit(blocker)
    jobs = [Job(JobSpec("/bin/true", ["x" * 120_000] * 5)) for _ in range(60)]
    executor.submit_many(jobs)
    assert {job.native_id for job in jobs} <= set(executor.list())
    shown = executor.info(jobs)
    assert sorted(str(job.native_id) for job in shown) == sorted(str(j.native_id) for j in jobs)
    assert shown[0].spec is not None
    assert shown[0].spec.arguments == ["x" * 120_000] * 5
    assert len(executor.info()) >= 61
    executor.cancel_many([*jobs, blocker])
    assert not psij.wait([*jobs, blocker], 30).not_done


@pytest.mark.parametrize("native_id", ["9" * 25, "9" * 5000, "999999999999999999"])
def test_attach_to_an_impossible_number(native_id: str) -> None:
    job = Job()
    JobExecutor.get_instance("local").attach(job, native_id)
    status = job.wait(30)
    assert status is not None
    assert status.reason == psij.Reason.LOST


def test_umask_and_cpus_are_those_of_the_moment(tmp_path: Path) -> None:
    executor = JobExecutor.get_instance("local")
    out = tmp_path / "out"

    def seen() -> list[str]:
        job = Job(JobSpec("/bin/sh", ["-c", "umask; nproc"], stdout_path=out))
        executor.submit(job)
        assert job.wait(30)
        return out.read_text().split()

    cpus = os.sched_getaffinity(0)
    umask = os.umask(0o022)
    try:
        assert seen() == ["0022", str(len(cpus))]
        os.umask(0o077)
        assert seen() == ["0077", str(len(cpus))]
        os.sched_setaffinity(0, {min(cpus)})
        assert seen() == ["0077", "1"]
    finally:
        os.umask(umask)
        os.sched_setaffinity(0, cpus)


def test_environment_changed_by_another_thread() -> None:
    over = threading.Event()

    def change() -> None:
        number = 0
        while not over.is_set():
            number = (number + 1) % 500
            os.environ[f"EXAWORKS_TEST_{number}"] = "x"
            os.environ.pop(f"EXAWORKS_TEST_{(number * 7) % 500}", None)

    thread = threading.Thread(target=change)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    thread.start()
    try:
        for _ in range(2000):
            assert request.Surroundings().context(True).variables["PATH"] == os.environ["PATH"]
    finally:
        over.set()
        thread.join()
        sys.setswitchinterval(interval)
        for number in range(500):
            os.environ.pop(f"EXAWORKS_TEST_{number}", None)


def test_node_files_are_swept_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that vanish meanwhile (here: a link to nowhere) are no error."""
    monkeypatch.setattr(request, "_swept", set())
    folder = tmp_path / "local"
    folder.mkdir()
    (folder / "a.nodefile").symlink_to(folder / "nowhere")

    def old(name: str) -> Path:
        path = folder / name
        path.write_text("")
        os.utime(path, (1, 1))
        return path

    executor = JobExecutor.get_instance(
        "local", config=LocalExecutorConfig(work_directory=tmp_path)
    )

    def run() -> None:
        needs = ResourceSpecV1(process_count=2)
        job = Job(JobSpec("/bin/true", launcher="multiple", resources=needs))
        executor.submit(job)
        assert job.wait(30)

    first = old("b.nodefile")
    run()
    assert not first.exists()
    second = old("c.nodefile")
    run()
    assert second.exists()


def test_render_names_the_shell_that_runs_scripts(tmp_path: Path) -> None:
    executor = JobExecutor.get_instance("local")
    script = tmp_path / "before"
    script.write_text("true")
    shell = "/bin/bash" if os.path.exists("/bin/bash") else "/bin/sh"
    shown = executor.render(Job(JobSpec("/bin/true", pre_launch=script)))
    assert shown.command == [shell, "-c"]
    assert str(script) in str(shown.script)
    spec = JobSpec("/bin/echo", ["a", "b"], directory=tmp_path, cleanup={Path("x")})
    shown = executor.render(Job(spec))
    assert shown.command == ["/bin/echo", "a", "b"]
    assert "/bin/echo a b" in str(shown.script)
    plain = executor.render(Job(JobSpec("/bin/sh", ["-c", "exit 1"])))
    assert (plain.command, plain.script) == (["/bin/sh", "-c", "exit 1"], None)


def test_user_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(uid: int) -> pwd.struct_passwd:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", missing)
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    executor = JobExecutor.get_instance("local")
    job = sleeper()
    executor.submit(job)
    (shown,) = executor.info([job])
    assert shown.current_info is not None
    assert shown.current_info.owner == str(os.getuid())
    job.cancel()
    assert job.wait(30)


def test_reactor_tells_when_there_is_room() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    reactor = Reactor.get()
    told, read, removed = threading.Event(), threading.Event(), threading.Event()

    def in_reactor(act: Callable[[], None]) -> None:
        done = threading.Event()
        reactor.call_soon(lambda: (act(), done.set())[0])
        assert done.wait(30)

    with ours, theirs:
        with contextlib.suppress(BlockingIOError):
            while True:
                ours.send(b"x" * 65536)
        in_reactor(lambda: reactor.add_reader(ours.fileno(), read.set))
        in_reactor(lambda: reactor.add_writer(ours.fileno(), told.set))
        assert not told.is_set()
        theirs.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while theirs.recv(65536):
                pass
        assert told.wait(30)
        in_reactor(lambda: reactor.remove_writer(ours.fileno()))
        told.clear()
        theirs.send(b"y")
        assert read.wait(30)
        assert not told.is_set()
        in_reactor(lambda: reactor.remove_reader(ours.fileno()))
        reactor.call_later(0.0, removed.set)
        assert removed.wait(30)
