"""What is known about one job, and how that is put into a status."""

from __future__ import annotations

import signal as signals
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

from exaworks.psij.executors.batch.adapter import Hint, Observation
from exaworks.psij.executors.batch.report import Report
from exaworks.psij.job_state import JobState
from exaworks.psij.job_status import Reason

__all__ = [
    "Findings",
    "Tracked",
    "Update",
    "canceled",
    "looks_canceled",
    "lost",
    "of_observation",
    "of_report",
    "of_signal",
    "progress",
]


@dataclass(frozen=True, slots=True)
class Update:
    """A change of the status of a job.

    Attributes:
        key: the job.
        state: its new state.
        time: when it was entered, in seconds since the epoch; ``None``: just now.
        exit_code: see :class:`~exaworks.psij.job_status.JobStatus`, as the others.
        message: see there.
        metadata: see there.
    """

    key: Hashable
    state: JobState
    time: float | None = None
    exit_code: int | None = None
    message: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Findings:
    """What was found in the files of a job.

    Attributes:
        record: how its script ended.
        log: the path of its log, if there is one.
        hint: what the scheduler wrote into it.
    """

    record: Report | None = None
    log: str | None = None
    hint: Hint | None = None


@dataclass(slots=True)
class Tracked:
    """What the monitor knows about a job.

    Attributes:
        key: what the job is called in updates.
        native_id: the scheduler's id.
        token: the name of its submission; ``None`` if this process did not submit it.
        interval: the polling interval asked for.
        state: the last state announced.
        restarts: how often it was put back into the queue.
        canceled: whether the scheduler has taken a request of ours to cancel it.
        alive: whether the scheduler has listed it as not ended.
        end: how its script ended, if it has, in the present incarnation.
        end_at: when we learned of that.
        stale: the record of another job that once had the same id.
        record_looked: whether its record was looked for since it was last seen alive.
        log_looked: the same for its log.
        log: the path of its log, if it is known to be there.
        missing_at: since when the scheduler does not list it.
        final: the scheduler's verdict, while the record is being looked for.
        observation: what the scheduler said last.
        inferred: what must have become of it, if nothing else is found out.
        accounting: what the accounting said last, for people.
        hint: what the scheduler wrote into the job's log about its end.
        nodes: where it runs or ran.
    """

    key: Hashable
    native_id: str
    token: str | None
    interval: float
    state: JobState = JobState.NEW
    restarts: int = 0
    canceled: bool = False
    alive: bool = False
    end: Report | None = None
    end_at: float = 0.0
    stale: Report | None = None
    record_looked: bool = False
    log_looked: bool = False
    log: str | None = None
    missing_at: float | None = None
    final: Observation | None = None
    observation: Observation | None = None
    inferred: Observation | None = None
    accounting: str | None = None
    hint: Hint | None = None
    nodes: str | None = None

    def take_restarts(self, restarts: int) -> None:
        """Take note of the number of restarts; an end before the last one was not the end."""
        if restarts > self.restarts:
            self.restarts = restarts
            if self.end is not None and self.end.restarts < restarts:
                self.end = None

    def needs_log(self, observation: Observation) -> bool:
        """Whether the log may explain a verdict of the scheduler that explains nothing."""
        return (
            observation.state is JobState.FAILED
            and observation.reason is None
            and observation.signal is not None
            and not self.log_looked
        )

    def accepts(self, record: Report) -> bool:
        """Whether a record is about this job, and about its present incarnation."""
        if record.restarts < self.restarts or record == self.stale:
            return False
        return self.token is None or record.token == self.token

    def facts(self, observation: Observation | None = None, **more: Any) -> dict[str, Any]:
        """Metadata for a status."""
        found = {"native_id": self.native_id, "nodes": self.nodes, **more}
        if self.restarts:
            found["restarts"] = self.restarts
        if observation is not None:
            found["scheduler_state"] = observation.word
            found["scheduler_reason"] = observation.cause
        if self.log is not None:
            found["log"] = self.log
        return {name: value for name, value in found.items() if value is not None}

    def story(self, message: str) -> str:
        """A message, with a word about restarts if there were any."""
        if not self.restarts:
            return message
        times = "once" if self.restarts == 1 else f"{self.restarts} times"
        return f"{message} (the scheduler had put the job back into the queue {times})"


def progress(job: Tracked, time: float | None, observation: Observation | None = None) -> Update:
    """The job has entered ``job.state``, which is not final."""
    return Update(job.key, job.state, time, metadata=job.facts(observation))


_FROM_OUTSIDE = frozenset(
    (signals.SIGHUP, signals.SIGINT, signals.SIGKILL, signals.SIGTERM, signals.SIGXCPU)
)
"""Signals that a scheduler may have sent; others say that the program itself went wrong."""


def trusted(report: Report) -> bool:
    """Whether a script's own word about its end is final: the scheduler did not end it."""
    return not report.terminated and report.signal not in _FROM_OUTSIDE


def looks_canceled(report: Report) -> bool:
    """Whether the script ended as it does when it is cancelled."""
    return report.terminated or report.signal in _FROM_OUTSIDE


def _named(number: int | None) -> str:
    """A signal for people, such as ``"signal 11 (SIGSEGV)"``."""
    try:
        return f"signal {number} ({signals.Signals(number or 0).name})"
    except ValueError:
        return f"signal {number}"


def _why_failed(report: Report) -> tuple[str, str]:
    """The reason and a message for an exit code that is not zero."""
    code, phase = report.code, report.phase
    if phase == "setup":
        reason = Reason.STAGING if report.step == JobState.STAGE_IN.name else Reason.LAUNCH
    elif phase in ("redirect", "pre-launch"):
        reason = Reason.LAUNCH
    elif phase in ("_psij_stage_out", "_psij_cleanup"):
        reason = Reason.STAGING
    elif phase == "launch" and code in (126, 127):
        what = "was not found" if code == 127 else "could not be executed"
        return Reason.LAUNCH, f"exit code {code}: the executable {what} where the job ran"
    elif report.signal is not None:
        return Reason.SIGNAL, f"ended by {_named(report.signal)}"
    else:
        reason = Reason.EXIT_CODE
    return reason, report.message or f"exit code {code}"


def of_report(job: Tracked, report: Report) -> Update:
    """The script's own word about its end."""
    job.nodes = report.nodes or job.nodes
    if report.code == 0:
        job.log = None
        message = job.story("completed") if job.restarts else None
        return Update(job.key, JobState.COMPLETED, report.time, 0, message, job.facts())
    reason, message = _why_failed(report)
    return Update(
        job.key,
        JobState.FAILED,
        report.time,
        report.code,
        job.story(message),
        job.facts(reason=reason, signal=report.signal),
    )


def canceled(job: Tracked, report: Report | None, message: str) -> Update:
    """We cancelled it, and that was done."""
    if report is not None:
        job.nodes = report.nodes or job.nodes
    return Update(
        job.key,
        JobState.CANCELED,
        report.time if report is not None else None,
        report.code if report is not None else None,
        job.story(message),
        job.facts(
            job.observation,
            reason=Reason.CANCELED,
            signal=report.signal if report is not None else None,
        ),
    )


def of_signal(job: Tracked, report: Report, observation: Observation | None, title: str) -> Update:
    """A signal ended the script, and the scheduler has not said why."""
    job.nodes = report.nodes or job.nodes
    if trusted(report) or report.code == 0:
        return of_report(job, report)
    if job.hint is not None:
        reason, message = job.hint.reason, job.hint.message
    else:
        reason = (observation.reason if observation is not None else None) or Reason.SIGNAL
        if report.signal is not None:
            message = f"ended by {_named(report.signal)}"
        else:
            message = f"was sent SIGTERM and ended with exit code {report.code}"
        told = observation.word if observation is not None else (job.accounting or "nothing")
        message = f"{message}; what {title} says about it: {told}"
    return Update(
        job.key,
        JobState.FAILED,
        report.time,
        report.code,
        job.story(message),
        job.facts(observation, reason=reason, signal=report.signal),
    )


def _agrees(report: Report, observation: Observation) -> bool:
    """Whether a record and a verdict can be about the same end of a job."""
    if observation.state is JobState.COMPLETED:
        return report.code == 0
    if observation.exit_code is not None:
        return report.code == observation.exit_code
    return not trusted(report)


def of_observation(job: Tracked, observation: Observation, title: str) -> Update:
    """The scheduler's verdict, with what the record adds to it."""
    assert observation.state is not None
    end = job.end
    if end is not None and end.restarts < observation.restarts:
        end = None
    if end is not None and trusted(end) and (job.token is not None or _agrees(end, observation)):
        return of_report(job, end)
    if end is not None and job.token is None and not _agrees(end, observation):
        end = None
    job.end = end
    job.nodes = observation.nodes or job.nodes
    state, reason, code, signal = (
        observation.state,
        observation.reason,
        observation.exit_code,
        observation.signal,
    )
    if end is not None:
        code, signal = end.code, end.signal
    if state is JobState.COMPLETED and code:
        state = JobState.FAILED  # the script was sent SIGTERM, and ended with that code
    message = observation.message
    if state is JobState.FAILED and reason is None:
        reason = Reason.SIGNAL if signal is not None else Reason.EXIT_CODE
        if job.hint is not None:
            reason, message = job.hint.reason, job.hint.message
    if state is JobState.FAILED and job.canceled and reason == Reason.SIGNAL:
        state, reason = JobState.CANCELED, Reason.CANCELED
    if message is None and state is JobState.FAILED:
        message = f"ended by {_named(signal)}" if signal is not None else f"exit code {code}"
    if message is None and state is JobState.CANCELED:
        message = "was cancelled"
    if state is JobState.COMPLETED:
        code, reason = 0 if code is None else code, None
    return Update(
        job.key,
        state,
        end.time if end is not None else None,
        code,
        job.story(message or "completed") if message or job.restarts else None,
        job.facts(observation, reason=reason, signal=signal),
    )


def lost(job: Tracked, title: str) -> Update:
    """Nobody knows the job any more; perhaps its log says why."""
    if job.hint is not None:
        return Update(
            job.key,
            JobState.FAILED,
            None,
            None,
            job.story(job.hint.message),
            job.facts(job.observation, reason=job.hint.reason),
        )
    last = f"it was last seen as {job.observation.word}" if job.observation else "it never did"
    message = (
        f"{title} does not list a job {job.native_id} any more ({last}), there is no record of "
        f"its end in the work directory, and the accounting {job.accounting or 'was not asked'}"
    )
    return Update(
        job.key,
        JobState.FAILED,
        None,
        None,
        message,
        job.facts(job.observation, reason=Reason.LOST),
    )
