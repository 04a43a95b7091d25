"""Connections that break, with a server of the tests' own."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from ssh_helpers import elsewhere

from exaworks.psij import Job, JobExecutor, JobSpec, JobState, SubmitException
from exaworks.psij.remote import Address
from exaworks.psij.remote.connection import Connection
from exaworks.psij.remote.ssh import SshRunner
from exaworks.psij.runner import Command
from patience import TIMEOUT, end, until

pytestmark = pytest.mark.ssh

SCRIPT = Path(__file__).parents[2] / "clusters" / "sshd.sh"


class Server:
    """An sshd that can be broken."""

    def __init__(self, root: Path) -> None:
        self.root = root
        worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
        port = str(18731 + int(worker))
        self._environment = {**os.environ, "SSHD_ROOT": str(root), "SSHD_PORT": port}

    def __call__(self, *words: str) -> None:
        subprocess.run([SCRIPT, *words], check=True, env=self._environment)

    @property
    def command(self) -> tuple[str, ...]:
        """The words that begin a command line of ssh."""
        return ("ssh", "-F", str(self.root / "ssh_config"))


@pytest.fixture(scope="module")
def _server() -> Iterator[Server]:
    root = Path(tempfile.mkdtemp(prefix="exaworks-sshd-", dir="/tmp"))
    root.chmod(0o755)  # the other user's keys are in there
    server = Server(root)
    server("start")
    yield server
    server("purge")


@pytest.fixture
def server(_server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    _server("start")
    monkeypatch.setenv("EXAWORKS_SSH", " ".join(_server.command))
    return _server


@pytest.fixture
def far(server: Server) -> JobExecutor:
    """A machine whose user cannot read our files."""
    return JobExecutor.get_instance("ssh", url="ssh://cluster-csh")


def test_a_cut_connection_loses_nothing(server: Server, far: JobExecutor) -> None:
    """Jobs run on; their ends are known when the connection is there again."""
    go = "while [ ! -e ~/go-cut ]; do sleep 0.1; done"
    jobs = [Job(JobSpec("/bin/sh", ["-c", f"{go}; exit {i}"])) for i in range(5)]
    far.submit_many(jobs)
    for job in jobs:
        assert job.wait(TIMEOUT, JobState.ACTIVE) is not None
    server("cut")
    elsewhere("touch ~/go-cut")
    assert [(end(job).state, job.status.exit_code) for job in jobs] == [
        (JobState.FAILED if i else JobState.COMPLETED, i) for i in range(5)
    ]
    elsewhere("rm ~/go-cut")


def test_a_server_that_is_away_harms_no_job(server: Server, far: JobExecutor) -> None:
    job = Job(JobSpec("/bin/sh", ["-c", "while [ ! -e ~/go-away ]; do sleep 0.1; done"]))
    far.submit(job)
    job.wait(TIMEOUT, JobState.ACTIVE)
    server("stop")
    try:
        elsewhere("touch ~/go-away")
        with pytest.raises(SubmitException, match="connect") as refused:
            job.cancel()
        assert refused.value.is_transient
        assert job.wait(3) is None
    finally:
        server("start")
    assert end(job).state is JobState.COMPLETED, job.status
    elsewhere("rm ~/go-away")


def test_a_submission_whose_answer_is_lost_is_made_once(server: Server, tmp_path: Path) -> None:
    """The connection is cut while the submission command runs; its answer comes all the same."""
    connection = Connection.get(Address("cluster"), server.command)
    runner = SshRunner(connection, 30)
    text = f"cat >>{tmp_path}/got; touch {tmp_path}/begun; sleep 2; echo answer; exit 5"
    command = Command(("/bin/sh", "-c", text), b"input\n", once=str(tmp_path / "once" / "token"))
    pid = os.fork()
    if not pid:
        until((tmp_path / "begun").exists)
        server("cut")
        os._exit(0)
    result = runner.run(command)
    os.waitpid(pid, 0)
    assert (result.returncode, result.stdout) == (5, "answer\n")
    assert (tmp_path / "got").read_text() == "input\n"
    again = SshRunner(connection, 30)  # which does not know that it was answered
    assert again.run(command).stdout == "answer\n"
    assert (tmp_path / "got").read_text() == "input\n"


def test_a_changed_host_key_is_refused(server: Server) -> None:
    spec = JobSpec("/bin/true")
    with pytest.MonkeyPatch.context() as patch:
        # a connection that is open already would hide it
        patch.setenv("EXAWORKS_SSH", os.environ["EXAWORKS_SSH"] + " -o ConnectionAttempts=1")
        executor = JobExecutor.get_instance("ssh", url="ssh://cluster")
    server("newkey")
    try:
        with pytest.raises(SubmitException, match="host key is not the one that is known") as no:
            executor.submit(Job(spec))
        assert not no.value.is_transient
        assert "ssh-keygen -R" in no.value.message
    finally:
        server("oldkey")
    job = Job(spec)
    executor.submit(job)
    assert end(job).state is JobState.COMPLETED
