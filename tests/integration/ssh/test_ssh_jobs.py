"""Jobs on another machine: what is different from jobs on this one."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from exaworks.psij import (
    Job,
    JobExecutor,
    JobSpec,
    JobState,
    StageIn,
    StageOut,
    StagingMode,
    SubmitException,
)
from exaworks.psij.remote import Address
from exaworks.psij.remote.connection import Connection
from exaworks.psij.remote.ssh import SshRunner
from exaworks.psij.runner import Command

pytestmark = pytest.mark.ssh

TIMEOUT = 60.0


def sshd(*words: str) -> None:
    subprocess.run([os.environ["EXAWORKS_TEST_SSHD"], *words], check=True)


def elsewhere(text: str) -> str:
    """Run a command as the other user, who has another home and tcsh as the login shell."""
    words = ["runuser", "-u", "exacsh", "--", "/bin/sh", "-c", text]
    return subprocess.run(words, check=True, capture_output=True, text=True, cwd="/").stdout


@pytest.fixture
def far() -> Iterator[JobExecutor]:
    """A machine whose user cannot read our files."""
    yield JobExecutor.get_instance("ssh", url="ssh://cluster-csh")
    elsewhere("rm -rf ~/.exaworks")


def end(job: Job) -> JobState:
    status = job.wait(TIMEOUT)
    assert status is not None, f"{job} has not ended"
    return status.state


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_files_are_sent_and_fetched(far: JobExecutor, tmp_path: Path) -> None:
    """Through the connection: the job's user has no access to the files here."""
    tmp_path.chmod(0o700)
    (tmp_path / "in put").write_bytes(bytes(range(256)) * 5000)
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    (tmp_path / "tree" / "sub" / "leaf").write_text("leaf")
    (tmp_path / "moved").write_text("moved")
    text = "cat 'in put' tree/sub/leaf > 'out put'; mkdir -p made/deep; cp moved made/deep/x"
    spec = JobSpec(
        "/bin/sh",
        ["-c", text],
        directory="~",
        stage_in={
            StageIn(tmp_path / "in put", "in put"),
            StageIn("tree", "tree"),
            StageIn(tmp_path / "moved", "moved", StagingMode.MOVE),
        },
        stage_out={
            StageOut("out put", tmp_path / "new" / "result"),
            StageOut("made", "made here", mode=StagingMode.MOVE),
        },
        cleanup={"in put", "tree", "out put"},
    )
    job = Job(spec)
    states: list[JobState] = []
    job.set_job_status_callback(lambda _, status: states.append(status.state))
    far.submit(job)
    assert end(job) is JobState.COMPLETED, job.status
    assert (tmp_path / "new" / "result").read_bytes() == bytes(range(256)) * 5000 + b"leaf"
    assert (tmp_path / "made here" / "deep" / "x").read_text() == "moved"
    assert not (tmp_path / "moved").exists()
    until(lambda: "staged" not in elsewhere("cd ~/.exaworks/work/ssh; find staged -type f"))
    assert elsewhere("ls ~") == "moved\n"
    assert {JobState.STAGE_IN, JobState.STAGE_OUT, JobState.CLEANUP} <= set(states)
    elsewhere("rm ~/moved")


def test_files_of_the_other_machine_stay_there(far: JobExecutor) -> None:
    elsewhere("mkdir -p ~/d; echo there >~/d/file")
    spec = JobSpec(
        "/bin/cp",
        ["a", "b"],
        directory="~/d",
        stage_in={StageIn("file://cluster-csh/home/exacsh/d/file", "a")},
        stage_out={StageOut("b", "file://cluster-csh/home/exacsh/d/c")},
    )
    job = Job(spec)
    far.submit(job)
    assert end(job) is JobState.COMPLETED, job.status
    assert elsewhere("cat ~/d/c; rm -rf ~/d") == "there\n"


def test_another_process_fetches_the_files(far: JobExecutor, tmp_path: Path) -> None:
    """Who submitted is gone when the job ends; whoever attaches with the same spec gets them."""
    spec = JobSpec(
        "/bin/sh",
        ["-c", "while [ ! -e ~/go ]; do sleep 0.1; done; echo x >y"],
        directory="~",
        stage_out={StageOut("y", tmp_path / "y", mode=StagingMode.MOVE)},
    )
    pid = os.fork()
    if not pid:
        job = Job(spec)
        far.submit(job)
        (tmp_path / "id").write_text(str(job.native_id))
        os._exit(0)
    os.waitpid(pid, 0)
    job = Job(spec)
    far.attach(job, (tmp_path / "id").read_text())
    elsewhere("touch ~/go")
    assert end(job) is JobState.COMPLETED, job.status
    assert (tmp_path / "y").read_text() == "x\n"
    elsewhere("rm ~/go")


def test_home_and_working_directory_are_those_of_the_other_machine(far: JobExecutor) -> None:
    job = Job(JobSpec("/bin/sh", ["-c", "pwd; id -un"], stdout_path="~/out"))
    far.submit(job)
    assert end(job) is JobState.COMPLETED, job.status
    assert elsewhere("cat ~/out; rm ~/out") == "/home/exacsh\nexacsh\n"


def test_a_cut_connection_loses_nothing(far: JobExecutor) -> None:
    """Jobs run on; their ends are known when the connection is there again."""
    go = "while [ ! -e ~/go ]; do sleep 0.1; done"
    jobs = [Job(JobSpec("/bin/sh", ["-c", f"{go}; exit {i}"])) for i in range(5)]
    far.submit_many(jobs)
    for job in jobs:
        assert job.wait(TIMEOUT, JobState.ACTIVE) is not None
    sshd("cut")
    elsewhere("touch ~/go")
    assert [(end(job), job.status.exit_code) for job in jobs] == [
        (JobState.FAILED if i else JobState.COMPLETED, i) for i in range(5)
    ]
    elsewhere("rm ~/go")


def test_a_server_that_is_away_harms_no_job(far: JobExecutor) -> None:
    job = Job(JobSpec("/bin/sh", ["-c", "while [ ! -e ~/go ]; do sleep 0.1; done"]))
    far.submit(job)
    job.wait(TIMEOUT, JobState.ACTIVE)
    sshd("stop")
    try:
        elsewhere("touch ~/go")
        with pytest.raises(SubmitException, match="connect") as refused:
            job.cancel()
        assert refused.value.is_transient
        assert job.wait(3) is None
    finally:
        sshd("start")
    assert end(job) is JobState.COMPLETED, job.status
    elsewhere("rm ~/go")


def test_a_submission_whose_answer_is_lost_is_made_once(tmp_path: Path) -> None:
    """The connection is cut while the submission command runs; its answer comes all the same."""
    connection = Connection.get(Address("cluster"), tuple(os.environ["EXAWORKS_SSH"].split()))
    runner = SshRunner(connection, 30)
    text = f"cat >>{tmp_path}/got; touch {tmp_path}/begun; sleep 2; echo answer; exit 5"
    command = Command(("/bin/sh", "-c", text), b"input\n", once=str(tmp_path / "once" / "token"))
    pid = os.fork()
    if not pid:
        until((tmp_path / "begun").exists)
        sshd("cut")
        os._exit(0)
    result = runner.run(command)
    os.waitpid(pid, 0)
    assert (result.returncode, result.stdout) == (5, "answer\n")
    assert (tmp_path / "got").read_text() == "input\n"
    again = SshRunner(connection, 30)  # which does not know that it was answered
    assert again.run(command).stdout == "answer\n"
    assert (tmp_path / "got").read_text() == "input\n"


def test_a_changed_host_key_is_refused() -> None:
    spec = JobSpec("/bin/true")
    with pytest.MonkeyPatch.context() as patch:
        # a connection that is open already would hide it
        patch.setenv("EXAWORKS_SSH", os.environ["EXAWORKS_SSH"] + " -o ConnectionAttempts=1")
        executor = JobExecutor.get_instance("ssh", url="ssh://cluster")
    sshd("newkey")
    try:
        with pytest.raises(SubmitException, match="host key is not the one that is known") as no:
            executor.submit(Job(spec))
        assert not no.value.is_transient
        assert "ssh-keygen -R" in no.value.message
    finally:
        sshd("oldkey")
    job = Job(spec)
    executor.submit(job)
    assert end(job) is JobState.COMPLETED


def test_watching_costs_the_same_for_many_jobs(
    far: JobExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of remote commands grows with time, not with the number of jobs."""
    count = 0
    execute = Connection.execute

    def counted(self: Connection, *args: object, **kwargs: object) -> object:
        nonlocal count
        count += 1
        return execute(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Connection, "execute", counted)
    costs = {}
    for number in (5, 200):
        jobs = [Job(JobSpec("/bin/true")) for _ in range(number)]
        count, begun = 0, time.monotonic()
        far.submit_many(jobs)
        assert {end(job) for job in jobs} == {JobState.COMPLETED}
        costs[number] = (count, time.monotonic() - begun)
    # about two for each second: a look into the inbox, and the removal of what was read
    assert costs[200][0] <= costs[5][0] + 10 + 3 * costs[200][1], costs


def test_nothing_is_left_behind(far: JobExecutor) -> None:
    jobs = [Job(JobSpec("/bin/sh", ["-c", "sleep 100 & exit 0"])) for _ in range(3)]
    far.submit_many(jobs)
    assert {end(job) for job in jobs} == {JobState.COMPLETED}
    until(lambda: "sleep 100" not in elsewhere("ps -u exacsh -o args="))
    until(lambda: not elsewhere("cd ~/.exaworks/work/ssh; find log scripts elements nodes -type f"))


def test_bad_addresses() -> None:
    for url in ("http://x", "ssh://", "ssh://-oProxyCommand=x", "ssh://u:p@h", "ssh://h/path"):
        with pytest.raises(ValueError, match=r"ssh://|password"):
            JobExecutor.get_instance("slurm", url=url)
    executor = JobExecutor.get_instance("ssh", url="ssh://no-such-host.invalid")
    with pytest.raises(SubmitException, match=r"no-such-host\.invalid"):
        executor.submit(Job(JobSpec("/bin/true")))
