"""A conformance test for executors: does it behave as the PSI/J semantics demand?

Subclass :class:`JobExecutorConformance` in a test module and define :meth:`make_executor`; pytest
runs everything against the real backend::

    class TestMyExecutor(JobExecutorConformance):
        def make_executor(self):
            return JobExecutor.get_instance("mine")

The class needs pytest. Jobs are small programs of any POSIX system.
"""

from __future__ import annotations

import asyncio
import os
import threading
import uuid
from pathlib import Path
from typing import Any

import pytest

from exaworks import psij
from exaworks.psij import (
    InvalidJobException,
    InvalidStateException,
    Job,
    JobExecutor,
    JobSpec,
    JobState,
    JobStatus,
    PSIJException,
    Reason,
    ResourceSpecV1,
    StageIn,
    StageOut,
    StageOutFlags,
    StagingMode,
    SubmitException,
)

__all__ = ["JobExecutorConformance"]

S = JobState
BASIC = [S.QUEUED, S.ACTIVE]


class JobExecutorConformance:
    """The tests. Class attributes say what the executor and its backend can do."""

    timeout = 60.0
    """Seconds that a small job may take from its submission to its end."""
    many = 50
    """Number of jobs in the tests of bulk submission."""
    can_hold = True
    """Whether the backend can hold and release jobs."""
    same_machine = True
    """Whether jobs are submitted on this machine, and so can inherit this process's environment."""
    launchers: tuple[str, ...] = ("single", "multiple")
    """Launchers to try."""

    def make_executor(self) -> JobExecutor:
        """A new instance of the executor to test."""
        raise NotImplementedError

    def attributes(self) -> psij.JobAttributes | None:
        """Attributes (queue, account, ...) that every job of the test needs."""
        return None

    def work_directory(self, tmp_path: Path) -> Path:
        """A directory that exists for the test and for its jobs."""
        return tmp_path

    # -- helpers --------------------------------------------------------------------------------

    @pytest.fixture
    def executor(self) -> JobExecutor:
        """The executor."""
        return self.make_executor()

    @pytest.fixture
    def work(self, tmp_path: Path) -> Path:
        """A directory, with a space in its name, that jobs of the test can use."""
        path = self.work_directory(tmp_path) / f"w {uuid.uuid4().hex[:8]}"
        path.mkdir(parents=True)
        return path

    def spec(self, *command: str, **kwargs: Any) -> JobSpec:
        """A specification with what every job of the test needs."""
        return JobSpec(command[0], list(command[1:]), attributes=self.attributes(), **kwargs)

    def shell(self, text: str, **kwargs: Any) -> JobSpec:
        """A specification of a job that runs a piece of shell."""
        return self.spec("/bin/sh", "-c", text, **kwargs)

    def end(self, job: Job) -> JobStatus:
        """The final status of a job; fails the test if it does not come in time."""
        status = job.wait(self.timeout)
        assert status is not None, f"{job} has not ended after {self.timeout} s"
        return status

    def run(self, executor: JobExecutor, spec: JobSpec) -> JobStatus:
        """Submit a job and wait for its end."""
        job = Job(spec)
        executor.submit(job)
        return self.end(job)

    def reach(self, job: Job, state: JobState) -> None:
        """Wait until a job has reached a state."""
        status = job.wait(self.timeout, state)
        assert status is not None, f"{job} has not reached {state} after {self.timeout} s"

    # -- running --------------------------------------------------------------------------------

    def test_success(self, executor: JobExecutor) -> None:
        """A job with exit code 0 is COMPLETED."""
        job = Job(self.spec("/bin/true"))
        executor.submit(job)
        assert job.native_id
        assert job.executor is executor
        status = self.end(job)
        assert (status.state, status.exit_code) == (S.COMPLETED, 0), status
        assert job.status is status

    @pytest.mark.parametrize("code", [1, 7, 127, 255])
    def test_exit_code(self, executor: JobExecutor, code: int) -> None:
        """A job with another exit code is FAILED, and the code is there."""
        status = self.run(executor, self.shell(f"exit {code}"))
        assert (status.state, status.exit_code) == (S.FAILED, code), status
        assert status.message

    def test_signal(self, executor: JobExecutor) -> None:
        """A job that a signal ended can be told from one that returned a number."""
        status = self.run(executor, self.shell("ulimit -c 0; kill -SEGV $$"))
        assert (status.state, status.signal) == (S.FAILED, 11), status
        assert status.exit_code == 128 + 11
        assert "SIGSEGV" in (status.message or "")

    def test_missing_executable(self, executor: JobExecutor) -> None:
        """A program that does not exist is an error at submission or a failed job, named."""
        try:
            status = self.run(executor, self.spec("/no/such/program"))
        except SubmitException as problem:
            assert "/no/such/program" in problem.message
            return
        assert status.state is S.FAILED
        assert status.exit_code != 0

    def test_standard_streams(self, executor: JobExecutor, work: Path) -> None:
        """Standard input, output and error are redirected, to paths with any characters."""
        (work / "in put").write_bytes(b"\x00\xffdata")
        spec = self.shell(
            "cat; echo oops >&2",
            stdin_path=work / "in put",
            stdout_path=work / "out 'put'\"$x",
            stderr_path=work / "err\nor",
        )
        assert self.run(executor, spec).state is S.COMPLETED
        assert (work / "out 'put'\"$x").read_bytes() == b"\x00\xffdata"
        assert (work / "err\nor").read_text() == "oops\n"

    def test_relative_streams_are_in_the_directory(self, executor: JobExecutor, work: Path) -> None:
        """Relative paths of streams are relative to the job's directory."""
        spec = self.shell("pwd", directory=work, stdout_path="out")
        assert self.run(executor, spec).state is S.COMPLETED
        assert (work / "out").read_text() == f"{work.resolve()}\n"

    def test_missing_directory(self, executor: JobExecutor, work: Path) -> None:
        """A job whose directory does not exist fails and does not run elsewhere."""
        spec = self.shell(f"touch '{work}/ran'", directory=work / "none")
        try:
            status = self.run(executor, spec)
        except PSIJException as problem:
            assert "none" in problem.message
        else:
            assert status.state is S.FAILED
            assert "none" in (status.message or "")
        assert not (work / "ran").exists()

    def test_unwritable_stdout(self, executor: JobExecutor, work: Path) -> None:
        """A job whose output cannot be written fails with a message that names the file."""
        status = self.run(executor, self.spec("/bin/true", stdout_path=work / "none" / "out"))
        assert status.state is S.FAILED
        assert str(work / "none" / "out") in (status.message or "")

    def test_arguments_are_literal(self, executor: JobExecutor, work: Path) -> None:
        """No character of an argument means anything to a shell on the way."""
        arguments = [
            "", " ", "a b", "$HOME", "$(id)", "`id`", "'", '"', "\\", "\n", "*", "~", "#", "!x",
            "-n", "--", "%s", "{a,b}", "ü", os.fsdecode(b"\xff\xfe"), "a;b", "a|b>c&", "\t",
        ]  # fmt: skip
        spec = self.spec("/usr/bin/printf", "%s\\0", *arguments, stdout_path=work / "out")
        assert self.run(executor, spec).state is S.COMPLETED
        expected = b"".join(os.fsencode(a) + b"\0" for a in arguments)
        assert (work / "out").read_bytes() == expected

    def test_environment(self, executor: JobExecutor, work: Path) -> None:
        """Variables reach the job unchanged, and ${NAME} is replaced in values and arguments."""
        odd = "a 'b' \"c\" $x `y` \\ \n z"
        spec = self.spec(
            "/usr/bin/printf", "%s\\0", "${ONE}", "x${TWO}y", "${NO_SUCH_VARIABLE}",
            environment={"ONE": "1", "TWO": "${ONE}+${ONE}", "ODD": odd, "NUMBER": 3},
            stdout_path=work / "out",
        )  # fmt: skip
        assert self.run(executor, spec).state is S.COMPLETED
        assert (work / "out").read_text() == "1\0x1+1y\0${NO_SUCH_VARIABLE}\0"
        spec = self.shell('printf %s "$ODD$NUMBER"', stdout_path=work / "out")
        spec.environment = {"ODD": odd, "NUMBER": 3}
        assert self.run(executor, spec).state is S.COMPLETED
        assert (work / "out").read_text() == odd + "3"

    def test_inherited_environment(
        self, executor: JobExecutor, work: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The submitter's environment is inherited unless the specification says no.

        On another machine it is the environment of a login there.
        """
        monkeypatch.setenv("EXAWORKS_CONFORMANCE", "inherited")
        here = "inherited" if self.same_machine else ""
        for inherit, expected in ((True, here), (False, "")):
            spec = self.shell(
                'printf %s "$EXAWORKS_CONFORMANCE"',
                stdout_path=work / "out",
                inherit_environment=inherit,
            )
            assert self.run(executor, spec).state is S.COMPLETED
            assert (work / "out").read_text() == expected

    def test_pre_and_post_launch(self, executor: JobExecutor, work: Path) -> None:
        """Scripts run before and after, and what the first one sets reaches the job."""
        (work / "pre.sh").write_text("FROM_PRE=yes\nexport FROM_PRE\n")
        (work / "post.sh").write_text(f"touch '{work}/post-ran'\n")
        spec = self.shell(
            'printf %s "$FROM_PRE"; exit 3',
            stdout_path=work / "out",
            pre_launch=work / "pre.sh",
            post_launch=work / "post.sh",
        )
        assert self.run(executor, spec).exit_code == 3
        assert (work / "out").read_text() == "yes"
        assert (work / "post-ran").exists()

    def test_failing_pre_launch(self, executor: JobExecutor, work: Path) -> None:
        """A script that fails before the launch fails the job, which is not started."""
        (work / "pre.sh").write_text("false\n")
        spec = self.shell(f"touch '{work}/ran'", pre_launch=work / "pre.sh")
        status = self.run(executor, spec)
        assert status.state is S.FAILED
        assert "pre-launch" in (status.message or "")
        assert not (work / "ran").exists()

    def test_launchers(self, executor: JobExecutor, work: Path) -> None:
        """Each launcher starts as many processes as asked for."""
        for launcher in self.launchers:
            spec = self.shell("echo x", launcher=launcher, stdout_path=work / launcher)
            spec.resources = ResourceSpecV1(process_count=3)
            assert self.run(executor, spec).state is S.COMPLETED, launcher
            count = (work / launcher).read_text().count("x")
            assert count == (1 if launcher == "single" else 3), launcher

    # -- states and callbacks -------------------------------------------------------------------

    @pytest.mark.parametrize(("command", "final"), [("true", S.COMPLETED), ("false", S.FAILED)])
    def test_callbacks(self, executor: JobExecutor, command: str, final: JobState) -> None:
        """Every change is told exactly once and in order, to the job's and executor's callback."""
        job = Job(self.spec(f"/bin/{command}"))
        of_job: list[JobState] = []
        of_executor: list[JobState] = []
        job.set_job_status_callback(lambda j, status: of_job.append(status.state))
        executor.set_job_status_callback(lambda j, status: of_executor.append(status.state))
        executor.submit(job)
        self.end(job)
        assert of_job == of_executor == [*BASIC, final]

    def test_callbacks_may_submit_and_cancel(self, executor: JobExecutor) -> None:
        """A callback may use the executor, and an error in one harms nobody."""
        first, second = Job(self.spec("/bin/true")), Job(self.spec("/bin/sleep", "300"))
        problems: list[Exception] = []

        def chain(job: Job, status: JobStatus) -> None:
            try:
                if job is first and status.final:
                    executor.submit(second)
                elif job is second and status.state is S.ACTIVE:
                    second.cancel()
            except Exception as problem:
                problems.append(problem)
            raise RuntimeError("an error in a callback, on purpose")

        executor.set_job_status_callback(chain)
        executor.submit(first)
        assert self.end(first).state is S.COMPLETED
        assert self.end(second).state is S.CANCELED
        assert problems == []

    def test_wait(self, executor: JobExecutor) -> None:
        """Waiting for states, and time-outs."""
        job = Job(self.spec("/bin/sleep", "300"))
        assert job.wait(0) is None
        executor.submit(job)
        status = job.wait(0, S.QUEUED)
        assert status is not None
        self.reach(job, S.ACTIVE)
        assert job.wait(0) is None
        assert job.wait(0.01) is None
        job.cancel()
        self.end(job)

    def test_await(self, executor: JobExecutor) -> None:
        """Coroutines can wait for jobs."""

        async def main() -> None:
            jobs = [Job(self.shell(f"exit {i}")) for i in range(3)]
            executor.submit_many(jobs)
            statuses = await asyncio.wait_for(asyncio.gather(*jobs), self.timeout)
            assert [status.exit_code for status in statuses] == [0, 1, 2]

        asyncio.run(main())

    # -- submission -----------------------------------------------------------------------------

    def test_a_job_is_submitted_once(self, executor: JobExecutor) -> None:
        """Submitting again is refused, whatever has become of the job."""
        job = Job(self.spec("/bin/true"))
        executor.submit(job)
        with pytest.raises(InvalidStateException):
            executor.submit(job)
        self.end(job)
        with pytest.raises(InvalidStateException):
            executor.submit(job)

    def test_a_refused_job_is_unchanged(self, executor: JobExecutor) -> None:
        """What cannot be understood is refused; the job can be mended and submitted."""
        job = Job(self.spec("/bin/true", launcher="no-such-launcher"))
        with pytest.raises(InvalidJobException, match="no-such-launcher"):
            executor.submit(job)
        assert (job.status.state, job.native_id) == (S.NEW, None)
        assert job.spec is not None
        job.spec.launcher = None
        executor.submit(job)
        assert self.end(job).state is S.COMPLETED

    def test_submit_many(self, executor: JobExecutor, work: Path) -> None:
        """Each of many jobs has its own id, arguments, output, exit code."""
        jobs = [
            Job(self.shell('echo "$0"; exit $(($0 % 2))', stdout_path=work / f"out {i}"))
            for i in range(self.many)
        ]
        for i, job in enumerate(jobs):
            assert job.spec is not None
            job.spec.arguments = [*(job.spec.arguments or ()), str(i)]
        executor.submit_many(jobs)
        assert len({job.native_id for job in jobs}) == self.many
        done, not_done = psij.wait(jobs, self.timeout * 3)
        assert not not_done
        assert len(done) == self.many
        for i, job in enumerate(jobs):
            assert job.status.exit_code == i % 2, job
            assert (work / f"out {i}").read_text() == f"{i}\n"

    def test_submit_many_is_all_or_nothing_for_bad_jobs(self, executor: JobExecutor) -> None:
        """One job that cannot be understood keeps all from being submitted."""
        jobs = [Job(self.spec("/bin/true")), Job(JobSpec())]
        with pytest.raises(InvalidJobException):
            executor.submit_many(jobs)
        assert [job.native_id for job in jobs] == [None, None]
        executor.submit(jobs[0])
        assert self.end(jobs[0]).state is S.COMPLETED

    def test_batch(self, executor: JobExecutor) -> None:
        """Jobs submitted in a batch block are submitted at its end."""
        jobs = [Job(self.shell(f"exit {i}")) for i in range(3)]
        with executor.batch():
            for job in jobs:
                executor.submit(job)
            assert [job.native_id for job in jobs] == [None] * 3
        assert [self.end(job).exit_code for job in jobs] == [0, 1, 2]
        job = Job(self.spec("/bin/true"))
        with pytest.raises(KeyError), executor.batch():
            executor.submit(job)
            raise KeyError
        assert job.status.state is S.NEW
        executor.submit(job)
        assert self.end(job).state is S.COMPLETED

    def test_threads(self, executor: JobExecutor) -> None:
        """Several threads may submit at the same time."""
        jobs = [Job(self.spec("/bin/true")) for _ in range(8)]
        threads = [threading.Thread(target=executor.submit, args=(job,)) for job in jobs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {self.end(job).state for job in jobs} == {S.COMPLETED}

    # -- cancelling, attaching, listing ---------------------------------------------------------

    def test_cancel(self, executor: JobExecutor) -> None:
        """A running job is CANCELED, once; cancelling an ended job has no effect."""
        job = Job(self.spec("/bin/sleep", "300"))
        seen: list[JobState] = []
        job.set_job_status_callback(lambda j, status: seen.append(status.state))
        executor.submit(job)
        self.reach(job, S.ACTIVE)
        executor.cancel(job)
        job.cancel()
        assert self.end(job).state is S.CANCELED
        job.cancel()
        executor.cancel(job)
        assert seen == [*BASIC, S.CANCELED]

    def test_cancel_of_an_ended_job(self, executor: JobExecutor) -> None:
        """A final state stays."""
        job = Job(self.spec("/bin/true"))
        executor.submit(job)
        self.end(job)
        executor.cancel(job)
        assert job.status.state is S.COMPLETED

    def test_cancel_of_a_new_job(self, executor: JobExecutor) -> None:
        """What was not submitted cannot be cancelled."""
        job = Job(self.spec("/bin/true"))
        with pytest.raises(InvalidStateException):
            executor.cancel(job)
        with pytest.raises(InvalidStateException):
            job.cancel()

    def test_attach(self, executor: JobExecutor) -> None:
        """A job can be followed by its native id, while it runs and after its end."""
        job = Job(self.shell("sleep 1; exit 3"))
        executor.submit(job)
        self.reach(job, S.ACTIVE)
        assert job.native_id is not None
        running, other = Job(), self.make_executor()
        other.attach(running, job.native_id)
        assert running.native_id == job.native_id
        assert self.end(running).exit_code == 3
        assert self.end(job).exit_code == 3
        ended = Job()
        self.make_executor().attach(ended, job.native_id)
        status = self.end(ended)
        assert (status.state, status.exit_code) == (S.FAILED, 3)

    def test_attach_tells_the_state_soon(self, executor: JobExecutor) -> None:
        """After attaching, the present state is there within a second or so."""
        job = Job(self.spec("/bin/sleep", "300"))
        executor.submit(job)
        self.reach(job, S.ACTIVE)
        assert job.native_id is not None
        same = Job()
        self.make_executor().attach(same, job.native_id)
        self.reach(same, S.ACTIVE)
        same.cancel()
        assert self.end(same).state is S.CANCELED
        assert self.end(job).state is S.CANCELED

    def test_attach_to_nothing(self, executor: JobExecutor) -> None:
        """An id that does not exist makes the job FAILED, with a message."""
        for native_id in ("987654321", "no id at all"):
            job = Job()
            executor.attach(job, native_id)
            status = self.end(job)
            assert status.state is S.FAILED
            assert status.message

    def test_attach_needs_a_new_job(self, executor: JobExecutor) -> None:
        """Only a NEW job can be attached."""
        job = Job(self.spec("/bin/true"))
        executor.submit(job)
        self.end(job)
        with pytest.raises(InvalidStateException):
            executor.attach(job, "1")

    def test_list(self, executor: JobExecutor) -> None:
        """A job is listed until it has ended."""
        job = Job(self.spec("/bin/sleep", "300"))
        executor.submit(job)
        assert job.native_id in executor.list()
        job.cancel()
        self.end(job)
        assert job.native_id not in executor.list()

    def test_info(self, executor: JobExecutor) -> None:
        """The backend tells what it knows about a job."""
        job = Job(self.spec("/bin/sleep", "300", name="a name"))
        executor.submit(job)
        self.reach(job, S.ACTIVE)
        known = Job()
        known._native_id = job.native_id
        for found in (executor.info([job]), executor.info([known])):
            assert [each.native_id for each in found] == [job.native_id]
            assert found[0].status.state is S.ACTIVE
            info = found[0].current_info
            assert info is not None
            assert info.owner
            assert info.submission_time is not None
            assert info.dispatch_time is not None
            assert found[0].spec is not None
            assert found[0].spec.name == "a name"
            mine = executor.info(owner=info.owner)
            assert job.native_id in [each.native_id for each in mine]
        assert job.native_id in [each.native_id for each in executor.info()]
        assert executor.info(owner="nobody-of-that-name") == []
        job.cancel()
        self.end(job)

    def test_render_does_nothing(self, executor: JobExecutor, work: Path) -> None:
        """A dry run shows what would be submitted and leaves the job alone."""
        job = Job(self.shell("echo rendered > ran", directory=work))
        assert "rendered" in str(executor.render(job))
        assert (job.status.state, job.executor) == (S.NEW, None)
        assert not (work / "ran").exists()

    # -- dependencies ---------------------------------------------------------------------------

    def test_dependencies(self, executor: JobExecutor, work: Path) -> None:
        """A job starts when others have begun or ended, and never if they ended the other way."""
        if not self.can_hold:
            pytest.skip(f"the backend of {executor} cannot hold jobs back")
        go = f"while [ ! -e '{work}/go' ]; do sleep 0.1; done"
        good, bad = (Job(self.shell(f"{go}; exit {code}")) for code in (0, 3))

        def waiting(**kinds: list[Job | str]) -> Job:
            spec = self.spec("/bin/true")
            spec.attributes.dependencies = kinds
            job = Job(spec)
            executor.submit(job)
            return job

        executor.submit(good)
        executor.submit(bad)
        run = [
            waiting(afterok=[good]),
            waiting(afternotok=[bad]),
            waiting(afterany=[good, bad]),
            waiting(afterok=[str(good.native_id)], afternotok=[bad]),
        ]
        never = [waiting(afterok=[good, bad]), waiting(afternotok=[good])]
        assert self.end(waiting(after=[good])).state is S.COMPLETED
        assert not any(job.status.final for job in run + never)
        (work / "go").touch()
        assert [self.end(job).state for job in run] == [S.COMPLETED] * len(run)
        for job in never:
            status = self.end(job)
            assert (status.state, status.reason) == (S.CANCELED, Reason.DEPENDENCY), status

    # -- data -----------------------------------------------------------------------------------

    @pytest.mark.parametrize("mode", StagingMode)
    def test_staging(self, executor: JobExecutor, work: Path, mode: StagingMode) -> None:
        """Files and directories come before the job and go after it."""
        job_dir, outside = work / "job dir", work / "out side"
        (work / "src" / "sub").mkdir(parents=True)
        job_dir.mkdir()
        outside.mkdir()
        (work / "a file").write_text("A")
        (work / "src" / "sub" / "b").write_text("B")
        spec = self.shell(
            "cat 'in/a file' tree/sub/b > 'result file'; cp -R tree back",
            directory=job_dir,
            stage_in={
                StageIn(work / "a file", "in/a file", mode),
                StageIn(work / "src", "tree", mode),
            },
            stage_out={
                StageOut("result file", outside / "deep" / "result", mode=mode),
                StageOut("back", outside / "tree", mode=mode),
                StageOut("none", outside / "none", flags=StageOutFlags.IF_PRESENT),
            },
        )
        job = Job(spec)
        seen: list[JobState] = []
        job.set_job_status_callback(lambda j, status: seen.append(status.state))
        executor.submit(job)
        status = self.end(job)
        assert status.state is S.COMPLETED, status
        assert (outside / "deep" / "result").read_text() == "AB"
        assert (outside / "tree" / "sub" / "b").read_text() == "B"
        assert not (outside / "none").exists()
        assert (work / "a file").exists() is (mode is not StagingMode.MOVE)
        assert seen == [S.QUEUED, S.STAGE_IN, S.ACTIVE, S.STAGE_OUT, S.CLEANUP, S.COMPLETED]

    def test_stage_in_of_a_missing_file(self, executor: JobExecutor, work: Path) -> None:
        """The job fails or is refused, is not started, and the message names the file."""
        spec = self.shell("touch ran", directory=work, stage_in={StageIn(work / "none", "x")})
        try:
            status = self.run(executor, spec)
        except InvalidJobException as refused:
            assert not self.same_machine  # where files are sent along when the job is submitted
            message: str | None = refused.message
        else:
            assert status.state is S.FAILED
            message = status.message
        assert str(work / "none") in (message or "")
        assert not (work / "ran").exists()

    def test_stage_out_flags(self, executor: JobExecutor, work: Path) -> None:
        """What is staged out depends on what became of the job."""
        for code in (0, 1):
            job_dir = work / str(code)
            job_dir.mkdir()
            spec = self.shell(
                f"touch a b; exit {code}",
                directory=job_dir,
                stage_out={
                    StageOut("a", work / f"success{code}", flags=StageOutFlags.ON_SUCCESS),
                    StageOut("b", work / f"error{code}", flags=StageOutFlags.ON_ERROR),
                },
            )
            assert self.run(executor, spec).exit_code == code
            assert (work / f"success{code}").exists() is (code == 0)
            assert (work / f"error{code}").exists() is (code == 1)

    def test_missing_output_fails_the_job(self, executor: JobExecutor, work: Path) -> None:
        """A file that must be staged out and is not there is an error."""
        spec = self.spec("/bin/true", directory=work, stage_out={StageOut("none", work / "x")})
        status = self.run(executor, spec)
        assert status.state is S.FAILED
        assert "none" in (status.message or "")

    def test_cleanup(self, executor: JobExecutor, work: Path) -> None:
        """What is named is removed, nothing outside the job's directory ever is."""
        job_dir, outside = work / "job", work / "job2"
        (job_dir / "d").mkdir(parents=True)
        outside.mkdir()
        (outside / "precious").touch()
        (job_dir / "link").symlink_to(outside)
        spec = self.shell("touch 'a b' d/c keep", directory=job_dir, cleanup={"a b", "d", "link"})
        assert self.run(executor, spec).state is S.COMPLETED
        assert sorted(p.name for p in job_dir.iterdir()) == ["keep"]
        assert (outside / "precious").exists()
        (job_dir / "link").symlink_to(outside)
        spec = self.shell("true", directory=job_dir, cleanup={"link/precious"})
        assert self.run(executor, spec).state is S.FAILED
        assert (outside / "precious").exists()

    def test_hold_and_release(self, executor: JobExecutor) -> None:
        """A held job does not start; holding a running or ended job is refused or harmless."""
        if not self.can_hold:
            pytest.skip(f"the backend of {executor} cannot hold jobs")
        job = self.queued_job(executor)
        executor.hold(job)
        held = executor.info([job])[0]
        assert held.status.state is S.HELD
        executor.release(job)
        self.let_start(executor)
        assert self.end(job).state is S.COMPLETED

    def queued_job(self, executor: JobExecutor) -> Job:
        """A submitted job of /bin/true that cannot start yet, for want of resources."""
        raise NotImplementedError

    def let_start(self, executor: JobExecutor) -> None:
        """Let the job of :meth:`queued_job` start."""
        raise NotImplementedError
