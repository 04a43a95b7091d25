"""Commands of a scheduler that misbehave, and jobs that tell how often they have run."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from shlex import quote

import pytest

from exaworks.psij import (
    Job,
    JobAttributes,
    JobExecutor,
    JobSpec,
    JobState,
    JobStatus,
    Reason,
    SubmitException,
)

__all__ = [
    "CHATTER",
    "CUT",
    "EVERY_SECOND",
    "EVERY_THIRD",
    "HANG",
    "LOST_LINES",
    "OddCommands",
    "Runs",
    "fails",
    "insist",
    "jobs_of_all_kinds",
    "watch",
]

EVERY_SECOND = "[ $((number % 2)) = 0 ]"
"""When to do something; see :meth:`OddCommands.wrap`, as for the others."""

EVERY_THIRD = "[ $((number % 3)) = 0 ]"
"""When to do something."""

HANG = "exec sleep 120"
"""Say nothing, until one is killed."""

CHATTER = """\
echo 'Welcome to HAL 9000: maintenance on 2 May, quota 87% | 100 GB'
printf 'warning: \\377\\376 caf\\351\\n\\n42|x\\n'
echo 'perl: warning: Setting locale failed.' >&2
real "$@" >"$answer" 2>"$answer.err"
code=$?
sed 'a [ok] budget 17|checked|0' "$answer"
sed 'a module: reloaded 3 modules' "$answer.err" >&2
exit $code"""
"""The real answer, after a greeting, and with a line of something else behind each of its lines."""

CUT = """\
real "$@" >"$answer"
code=$? half=$(($(wc -l <"$answer") / 2))
head -n $half "$answer"
sed -n "$((half + 1))p" "$answer" | head -c 3
exit $code"""
"""The first half of the lines of the real answer, and the beginning of the next line."""

LOST_LINES = """\
real "$@" >"$answer"
code=$?
head -n $(($(wc -l <"$answer") / 2)) "$answer"
exit $code"""
"""The first half of the lines of the real answer."""


def fails(message: str, code: int = 1) -> str:
    """Do nothing but complain."""
    return f"printf '%s\\n' {quote(message)} >&2; exit {code}"


class OddCommands:
    """Scripts that are found before the real commands."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        """Put a folder first into ``PATH``."""
        self._folder = folder
        self._path = os.environ["PATH"]
        folder.mkdir()
        patch.setenv("PATH", f"{folder}:{self._path}")

    def wrap(self, program: str, answer: str, when: str = "true") -> None:
        """Let a piece of shell answer instead of a command.

        Args:
            program: the command.
            answer: the shell. ``real "$@"`` runs the real command; ``$answer`` is a free file.
            when: shell that succeeds if this is to be done; ``$number`` is the number of the call.
        """
        real = self.real(program)
        log = quote(str(self._folder / program))
        script = self._folder / f"{program}.new"
        script.write_text(
            f"#!/bin/sh\n"
            f'echo "$LC_ALL" >>{log}.calls\n'
            f"number=$(wc -l <{log}.calls) answer={log}.answer.$$\n"
            f"real={quote(real)}\n"
            'real() { "$real" "$@"; }\n'
            f'if ! {{ {when}; }}; then exec "$real" "$@"; fi\n'
            f"echo >>{log}.odd\n"
            f"{answer}\n"
        )
        script.chmod(0o755)
        script.rename(self._folder / program)

    def mend(self, program: str) -> None:
        """Let the real command answer from now on."""
        (self._folder / program).unlink()

    def _lines(self, name: str) -> list[str]:
        file = self._folder / name
        return file.read_text().splitlines() if file.exists() else []

    def odd(self, program: str) -> int:
        """How often a command was answered in our way."""
        return len(self._lines(f"{program}.odd"))

    def real(self, program: str) -> str:
        """The path of the real command."""
        return str(shutil.which(program, path=self._path))

    def answers(self, program: str) -> list[Path]:
        """The files to which the shell has written to ``$answer``."""
        return list(self._folder.glob(f"{program}.answer.*[0-9]"))

    def locales(self, program: str) -> list[str]:
        """The ``LC_ALL`` of each call."""
        return self._lines(f"{program}.calls")


class Runs:
    """Jobs that write down that they run."""

    def __init__(self, file: Path) -> None:
        """Keep the book in that file."""
        self._file = file
        self._jobs: list[Job] = []

    def job(self, text: str, **fields: object) -> Job:
        """A job that notes its id and then runs a piece of shell."""
        job = Job(JobSpec("/bin/sh", **fields))  # type: ignore[arg-type]
        self._jobs.append(job)
        assert job.spec is not None
        job.spec.arguments = ["-c", f"echo {job.id} >>{quote(str(self._file))}; {text}"]
        return job

    @property
    def left(self) -> list[str]:
        """The native ids of jobs that a failed test has left behind."""
        jobs = (job for job in self._jobs if not job.status.final)
        return [str(job.native_id) for job in jobs if job.native_id is not None]

    @property
    def wait(self) -> str:
        """Shell that waits until one of them has begun."""
        return f"while [ ! -s {quote(str(self._file))} ]; do sleep 0.1; done"

    def wait_for(self, jobs: Sequence[Job]) -> None:
        """Wait until all of these have begun."""
        limit = time.monotonic() + 30
        while missing := {job.id for job in jobs}.difference(self.count()):
            assert time.monotonic() < limit, missing
            time.sleep(0.05)

    def count(self) -> Counter[str]:
        """How often each job has begun, by :attr:`Job.id`."""
        return Counter(self._file.read_text().split() if self._file.exists() else ())


def insist(act: Callable[[], object]) -> int:
    """Do something until the scheduler takes it; every refusal must be of the passing kind.

    Returns:
        how often it was refused.
    """
    for refused in range(10):
        try:
            act()
        except SubmitException as problem:
            assert problem.transient, problem
        else:
            return refused
    raise AssertionError("it was refused ten times")


def watch(executor: JobExecutor, jobs: Sequence[Job]) -> list[Job]:
    """The same jobs, for somebody who knows of them by the scheduler alone."""
    others = [Job() for _ in jobs]
    for job, other in zip(jobs, others, strict=True):
        executor.attach(other, str(job.native_id))
    return others


def _end(job: Job) -> JobStatus:
    status = job.wait(60)
    assert status is not None, f"{job} has not ended"
    return status


def jobs_of_all_kinds(
    executor: JobExecutor,
    other: JobExecutor | None,
    runs: Runs,
    later: JobAttributes,
    cancel: Callable[[Job], object],
    forgets: bool = False,
) -> None:
    """Run jobs of all kinds; they must get their right ends, and run once.

    Args:
        executor: what they are submitted with.
        other: an executor with another work folder, which must find out the same by the
            scheduler alone; ``None`` if that takes the scheduler too long.
        runs: makes the jobs.
        later: attributes with which a job waits for longer than the test takes.
        cancel: cancels a job behind the back of the executor.
        forgets: whether the scheduler keeps nothing of jobs that are cancelled while they wait.
    """
    array = [
        runs.job(text) for text in ("true", "exit 3", "kill -SEGV $$", "sleep 300", "sleep 300")
    ]
    singles = [runs.job(text) for text in ("sleep 2", "exit 4", "sleep 300")]
    waiting = [runs.job("true", attributes=later) for _ in range(3)]

    def submit(jobs: Sequence[Job]) -> None:
        executor.submit_many([job for job in jobs if job.native_id is None])

    for group in (array, waiting, *([job] for job in singles)):
        insist(partial(submit, group))
    begun = [*array, *singles]
    views = [(begun, waiting)]
    if other is not None:
        views.append((watch(other, begun), watch(other, waiting)))
    for job in (job for _, each in views for job in each):
        assert job.wait(30, JobState.QUEUED) is not None, job
    for job in (array[3], array[4], singles[2]):
        assert job.wait(30, JobState.ACTIVE) is not None, job
    runs.wait_for(begun)  # a job is active a moment before it does anything
    cancel(array[4])
    for job in (array[3], singles[2], waiting[0]):
        insist(job.cancel)
    if forgets:
        insist(waiting[1].cancel)
    else:
        cancel(waiting[1])
    canceled = (JobState.CANCELED, Reason.CANCELED)
    expected = [
        (JobState.COMPLETED, None),
        (JobState.FAILED, Reason.EXIT_CODE),
        (JobState.FAILED, Reason.SIGNAL),
        canceled,
        canceled,
        (JobState.COMPLETED, None),
        (JobState.FAILED, Reason.EXIT_CODE),
        canceled,
    ]
    for each, _ in views:
        found = [(_end(job).state, job.status.reason) for job in each]
        assert found == expected, [job.status for job in each]
        assert [each[i].status.exit_code for i in (0, 1, 2, 5, 6)] == [0, 3, 139, 0, 4]
    for _, each in views:
        found = [(_end(job).state, job.status.reason) for job in each[:2]]
        assert found == [canceled] * 2, [job.status for job in each]
    assert {each[2].status.state for _, each in views} == {JobState.QUEUED}
    insist(waiting[2].cancel)
    assert _end(waiting[2]).state is JobState.CANCELED
    assert runs.count() == {job.id: 1 for job in begun}, runs.count()
