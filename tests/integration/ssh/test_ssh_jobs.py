"""Jobs on another machine: what is different from jobs on this one."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from ssh_helpers import elsewhere

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
from exaworks.psij.executors.batch import BatchSchedulerExecutorConfig
from exaworks.psij.remote.connection import Connection
from patience import end, until

pytestmark = pytest.mark.ssh


@pytest.fixture
def far() -> JobExecutor:
    """A machine whose user cannot read our files."""
    return JobExecutor.get_instance("ssh", url="ssh://cluster-csh")


def with_folder(name: str) -> JobExecutor:
    """An executor whose files are in a folder of its own there."""
    settings = BatchSchedulerExecutorConfig(work_directory=f"~/{name}")
    return JobExecutor.get_instance("ssh", url="ssh://cluster-csh", config=settings)


def test_files_are_sent_and_fetched(tmp_path: Path) -> None:
    """Through the connection: the job's user has no access to the files here."""
    far = with_folder("sent")
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
    assert end(job).state is JobState.COMPLETED, job.status
    assert (tmp_path / "new" / "result").read_bytes() == bytes(range(256)) * 5000 + b"leaf"
    assert (tmp_path / "made here" / "deep" / "x").read_text() == "moved"
    assert not (tmp_path / "moved").exists()
    until(lambda: "staged" not in elsewhere("cd ~/sent/ssh; find staged -type f"))
    assert not {"in put", "tree", "out put", "made"} & set(elsewhere("ls ~").split("\n"))
    assert {JobState.STAGE_IN, JobState.STAGE_OUT, JobState.CLEANUP} <= set(states)
    elsewhere("rm ~/moved")


def test_each_job_of_many_gets_its_own_files(far: JobExecutor, tmp_path: Path) -> None:
    jobs = []
    for i in range(4):
        (tmp_path / f"in{i}").write_text(f"data {i % 2}")
        os.utime(tmp_path / f"in{i}", (0, 0))
        spec = JobSpec(
            "/bin/cp",
            ["in", "out"],
            directory=f"~/many/{i}",
            stage_in={StageIn(tmp_path / f"in{i}", "in", StagingMode.MOVE)},
            stage_out={StageOut("out", tmp_path / f"out{i}")},
        )
        jobs.append(Job(spec))
    elsewhere("mkdir -p ~/many/0 ~/many/1 ~/many/2")  # the last one has no directory
    far.submit_many(jobs)
    assert [end(job).state for job in jobs] == [JobState.COMPLETED] * 3 + [JobState.FAILED]
    for i in range(3):
        assert (tmp_path / f"out{i}").read_text() == f"data {i % 2}"
        assert not (tmp_path / f"in{i}").exists()
    assert (tmp_path / "in3").read_text() == "data 1"  # it was not moved anywhere
    elsewhere("rm -r ~/many")


def test_folders_with_links_are_fetched(far: JobExecutor, tmp_path: Path) -> None:
    text = "mkdir d; ln -s /etc/hostname d/absolute; ln -s x d/to_x; echo x >d/x; ln d/x d/hard"
    stage_out = {StageOut("d", tmp_path / "d", mode=StagingMode.MOVE)}
    (tmp_path / "x.part").write_text("mine")
    job = Job(JobSpec("/bin/sh", ["-c", text], directory="~", stage_out=stage_out))
    far.submit(job)
    assert end(job).state is JobState.COMPLETED, job.status
    assert os.readlink(tmp_path / "d" / "absolute") == "/etc/hostname"
    assert (tmp_path / "d" / "to_x").read_text() == (tmp_path / "d" / "hard").read_text() == "x\n"
    assert (tmp_path / "x.part").read_text() == "mine"


@pytest.mark.parametrize("setup", ["exit 3", "if", ". /no/such/file"])
def test_a_faulty_set_up_is_named(setup: str) -> None:
    settings = BatchSchedulerExecutorConfig(remote_setup=[setup], submit_patience=0)
    executor = JobExecutor.get_instance("ssh", url="ssh://cluster", config=settings)
    with pytest.raises(SubmitException, match="remote_setup") as problem:
        executor.submit(Job(JobSpec("/bin/true")))
    assert not problem.value.is_transient


def test_a_set_up_that_reads_does_not_take_what_is_sent() -> None:
    settings = BatchSchedulerExecutorConfig(remote_setup=["cat", "X=1"])
    job = Job(JobSpec("/bin/true"))
    JobExecutor.get_instance("ssh", url="ssh://cluster", config=settings).submit(job)
    assert end(job).state is JobState.COMPLETED


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
    assert end(job).state is JobState.COMPLETED, job.status
    assert elsewhere("cat ~/d/c; rm -rf ~/d") == "there\n"


def test_another_process_fetches_the_files(far: JobExecutor, tmp_path: Path) -> None:
    """Who submitted is gone when the job ends; whoever attaches with the same spec gets them."""
    spec = JobSpec(
        "/bin/sh",
        ["-c", "while [ ! -e ~/go-other ]; do sleep 0.1; done; echo x >y"],
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
    elsewhere("touch ~/go-other")
    assert end(job).state is JobState.COMPLETED, job.status
    assert (tmp_path / "y").read_text() == "x\n"
    elsewhere("rm ~/go-other")


def test_home_and_working_directory_are_those_of_the_other_machine(far: JobExecutor) -> None:
    job = Job(JobSpec("/bin/sh", ["-c", "pwd; id -un"], stdout_path="~/out"))
    far.submit(job)
    assert end(job).state is JobState.COMPLETED, job.status
    assert elsewhere("cat ~/out; rm ~/out") == "/home/exacsh\nexacsh\n"


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
        assert {end(job).state for job in jobs} == {JobState.COMPLETED}
        costs[number] = (count, time.monotonic() - begun)
    # about two for each second: a look into the inbox, and the removal of what was read
    assert costs[200][0] <= costs[5][0] + 10 + 3 * costs[200][1], costs


def test_nothing_is_left_behind() -> None:
    far = with_folder("left")
    jobs = [Job(JobSpec("/bin/sh", ["-c", "sleep 1234 & exit 0"])) for _ in range(3)]
    far.submit_many(jobs)
    assert {end(job).state for job in jobs} == {JobState.COMPLETED}
    until(lambda: "sleep 1234" not in elsewhere("ps -u exacsh -o args="))
    until(lambda: not elsewhere("cd ~/left/ssh; find log nodes -type f"))


def test_bad_addresses() -> None:
    for url in ("http://x", "ssh://", "ssh://-oProxyCommand=x", "ssh://u:p@h", "ssh://h/path"):
        with pytest.raises(ValueError, match=r"ssh://|password"):
            JobExecutor.get_instance("slurm", url=url)
    executor = JobExecutor.get_instance("ssh", url="ssh://no-such-host.invalid")
    with pytest.raises(SubmitException, match=r"no-such-host\.invalid"):
        executor.submit(Job(JobSpec("/bin/true")))
