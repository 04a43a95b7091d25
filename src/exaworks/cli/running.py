"""A job in the foreground: its output live, ctrl-C, its exit code."""

from __future__ import annotations

import signal
import sys
import time
from typing import Final

import click

from exaworks.cli.errors import INTERRUPTED
from exaworks.cli.follow import follow, followers
from exaworks.cli.interrupts import Interrupts
from exaworks.cli.output import clean, note
from exaworks.cli.record import stream_path
from exaworks.cli.store import Store
from exaworks.cli.submitting import submit
from exaworks.cli.verdict import describe, exit_code
from exaworks.psij import Job, JobExecutor, JobState, JobStatus, PSIJException, Reason

__all__ = ["Running"]

PATIENCE: Final = 10.0
"""Seconds in the queue after which a hint is given."""


class Running:
    """A job that is submitted and followed to its end."""

    def __init__(self, store: Store, job: Job, talks: bool) -> None:
        """Prepare to run a job.

        Args:
            store: where it is remembered.
            job: the job, not yet submitted.
            talks: whether to report progress on standard error.
        """
        assert job.spec is not None
        self._store = store
        self._job = job
        self._talks = talks
        self._asked_to_stop = 0
        self._title = "the job"
        self._hinted = False
        self._state = JobState.NEW
        self._files = followers(
            stream_path(job.spec, "stdout"), stream_path(job.spec, "stderr"), fresh=True
        )

    def run(self, executor: JobExecutor) -> int:
        """Submit the job, follow it, and return the exit code for this program.

        Raises:
            Problem: it was not accepted.
        """
        with Interrupts() as interrupts:
            interrupts.most = 2  # a scheduler that does not answer must not hold us for ever
            problem = submit(self._store, executor, [self._job]).problem()
            interrupts.most = None
            if problem is not None:
                raise problem
            (record,) = self._store.get([self._job.id])
            self._number = record.id
            self._title = record.title
            self._say(f"{record.title} submitted: {clean(record.name)}")
            try:
                return self._follow(interrupts)
            except BrokenPipeError:
                self._stop("nobody reads the output any more")
                raise
            finally:
                self._save(self._job.status)

    def _follow(self, interrupts: Interrupts) -> int:
        since = time.monotonic()
        for status in follow(self._job, self._files):
            self._announce(status, time.monotonic() - since)
            if status.final:
                break
            if interrupts.count > self._asked_to_stop:
                if self._asked_to_stop:
                    return self._leave()
                self._asked_to_stop = 1
                self._stop("ctrl-C" if interrupts.last == signal.SIGINT else "terminated")
        if self._asked_to_stop and status.state is not JobState.COMPLETED:
            return INTERRUPTED if interrupts.last == signal.SIGINT else 128 + interrupts.last
        return exit_code(status)

    def _stop(self, why: str) -> None:
        self._say(f"{_new_line()}{why}: asking {self._title} to stop; ctrl-C again leaves it alone")
        try:
            self._job.cancel()
        except PSIJException as problem:
            note(f"{self._title} could not be asked to stop: {problem.message}")

    def _leave(self) -> int:
        note(
            f"{_new_line()}{self._title} was asked to stop but may still run.\n"
            f"`exaworks status {self._number}` tells; `exaworks logs -f {self._number}` shows its "
            "output"
        )
        return INTERRUPTED

    def _announce(self, status: JobStatus, elapsed: float) -> None:
        if status.state is not self._state:
            self._state = status.state
            self._save(status)
            if status.final:
                self._announce_end(status)
            elif status.state is not JobState.QUEUED:
                self._say(f"{self._title} is {status.state}")
        elif status.state is JobState.QUEUED and elapsed > PATIENCE and not self._hinted:
            self._hinted = True
            self._say(
                f"{self._title} waits to be started; `exaworks explain {self._number}` tells why"
            )

    def _announce_end(self, status: JobStatus) -> None:
        text = describe(status.state.name, status.exit_code, status.signal, status.message)
        text = f"{self._title} {text}"
        own = status.reason in (None, Reason.EXIT_CODE, Reason.SIGNAL, Reason.CANCELED)
        if own or status.state is JobState.COMPLETED:
            self._say(text)
        else:
            note(text)  # nothing that the job itself has said explains this

    def _save(self, status: JobStatus) -> None:
        self._store.update([(self._job.id, status)])

    def _say(self, text: str) -> None:
        if self._talks:
            click.secho(text, err=True, dim=True)


def _new_line() -> str:
    """What to begin a note after ctrl-C with: a terminal shows it as ``^C`` without a newline."""
    return "\n" if sys.stderr.isatty() else ""
