"""What the events of a Flux job say about its state. A pure function of the events.

Sources: Flux RFC 18 (form of an event), RFC 21 (events and states of jobs, exceptions), and what
Flux 0.88 was seen to do: a task ended by signal *n* makes the job's status that of a process that
returned 128 + *n*.
"""

from __future__ import annotations

import os
import re
import signal as signals
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from exaworks.psij.job_state import JobState
from exaworks.psij.job_status import JobStatus, Reason

__all__ = ["END_MEMO", "EVENTS", "STATE_MEMO", "JobHistory"]

EVENTS = ("submit", "urgency", "start", "memo", "exception", "finish", "clean")
"""The events that are needed."""

STATE_MEMO = "exaworks_state"
"""The memo with which a job's script tells of a state that it has entered."""
END_MEMO = "exaworks_end"
"""The memo with which it says why it ended: what it was about, a colon, a blank and a message."""

_STATES = {
    state.name: state
    for state in (JobState.STAGE_IN, JobState.ACTIVE, JobState.STAGE_OUT, JobState.CLEANUP)
}
_NEVER = "can never be satisfied"
_PHASES = {
    "setup": Reason.LAUNCH,
    "redirect": Reason.LAUNCH,
    "pre-launch": Reason.LAUNCH,
    "launch": Reason.LAUNCH,
    "stage-in": Reason.STAGING,
    "_psij_stage_out": Reason.STAGING,
    "_psij_cleanup": Reason.STAGING,
}

# Notes of exceptions of the type "exec", in the words of Flux 0.88.
_NODE_LOST = re.compile(r"node failure on|lost contact with job shell")
_NOT_STARTED = re.compile(r"start failed")
_SHELL_FAILED = re.compile(r"shell_init|terminated before first barrier")
_TASK_ENDED = re.compile(r"exit-on-error|exit-timeout")


@dataclass
class JobHistory:
    """The events of one job so far, in short.

    Attributes:
        reports_stage_in: whether its script says itself when it is ``ACTIVE``, because it stages
            in first.
        userid: who submitted it.
        state: the state it is in.
        since: when it got there, in seconds since the epoch.
        submitted: when it was submitted.
        started: when its job shells were started.
        ended: when its processes had ended, or the job if there were none.
        urgency: its urgency; 0 means that it is held.
        exception: the first fatal exception.
        status: the wait status of the job.
        word: what its script said about its end.
    """

    reports_stage_in: bool = False
    userid: int | None = None
    state: JobState = JobState.QUEUED
    since: float = 0.0
    submitted: float | None = None
    started: float | None = None
    ended: float | None = None
    urgency: int | None = None
    exception: Mapping[str, Any] | None = None
    status: int | None = None
    word: str | None = None
    _clean: float | None = field(default=None, repr=False)

    @property
    def held(self) -> bool:
        """Whether it is kept from starting."""
        return self.state is JobState.QUEUED and self.urgency == 0

    def take(self, event: Mapping[str, Any]) -> bool:
        """Take note of an event; one that was seen before, or is not known, changes nothing.

        Returns:
            whether the job has entered another state.
        """
        if self._clean is not None:
            return False
        name, time = event.get("name"), float(event.get("timestamp") or 0.0)
        context = event.get("context") or {}
        before = self.state
        if name == "submit":
            self.submitted, self.userid = time, context.get("userid")
            self.since = self.since or time
            self.urgency = context.get("urgency") if self.urgency is None else self.urgency
        elif name == "urgency":
            self.urgency = context.get("urgency")
        elif name == "start":
            self.started = time
            self._enter(JobState.STAGE_IN if self.reports_stage_in else JobState.ACTIVE, time)
        elif name == "memo":
            self._memo(context, time)
        elif name == "exception" and context.get("severity") == 0 and self.exception is None:
            self.exception = context
        elif name == "finish":
            self.status, self.ended = context.get("status"), time
        elif name == "clean":
            self._clean, self.ended = time, self.ended or time
            self.state, self.since = self._final_state(), self.ended
        return self.state is not before

    def _enter(self, state: JobState, time: float) -> None:
        if state.is_greater_than(self.state):
            self.state, self.since = state, time

    def _memo(self, context: Mapping[str, Any], time: float) -> None:
        state = _STATES.get(str(context.get(STATE_MEMO)))
        if state is not None and self.started is not None:
            self._enter(state, time)
        if context.get(END_MEMO) is not None:
            self.word = str(context[END_MEMO])

    # -- the verdict ----------------------------------------------------------------------------

    @property
    def exit_code(self) -> int | None:
        """The exit code, 128 + n after signal n; ``None`` if it never ran or is not over."""
        if self.status is None:
            return None
        if os.WIFSIGNALED(self.status):
            return 128 + os.WTERMSIG(self.status)
        return os.WEXITSTATUS(self.status)

    @property
    def signal(self) -> int | None:
        """The signal that ended it, judging by the exit code."""
        code = self.exit_code
        return code - 128 if code is not None and 128 < code <= 159 else None

    def _final_state(self) -> JobState:
        if self.exception is not None and (
            self.exception.get("type") == "cancel" or self._waited_in_vain()
        ):
            return JobState.CANCELED
        if self.exception is None and self.exit_code == 0:
            return JobState.COMPLETED
        return JobState.FAILED

    def _waited_in_vain(self) -> bool:
        """Whether a job that it waited for has ended the other way."""
        exception = self.exception or {}
        return exception.get("type") == "dependency" and _NEVER in str(exception.get("note"))

    def job_status(self) -> JobStatus:
        """The state with its time and, if it is final, the verdict."""
        if not self.state.final:
            return JobStatus(self.state, self.since or None)
        reason, message = self._why()
        facts: dict[str, Any] = {"reason": reason, "signal": self.signal, "started": self.started}
        if self.state is JobState.COMPLETED:
            facts["reason"] = facts["signal"] = None
        metadata = {name: value for name, value in facts.items() if value is not None}
        return JobStatus(self.state, self.since, message, self.exit_code, metadata)

    def _why(self) -> tuple[str | None, str | None]:
        """The reason and a message for a final state."""
        if self.state is JobState.COMPLETED:
            return None, None
        if self.exception is None:
            return self._why_failed()
        kind, note = str(self.exception.get("type")), str(self.exception.get("note") or "")
        if kind == "cancel":
            return Reason.CANCELED, f"was cancelled: {note}" if note else "was cancelled"
        if self._waited_in_vain():
            return Reason.DEPENDENCY, f"a job that it waited for has ended the other way ({note})"
        if kind == "timeout":
            return Reason.TIMEOUT, f"ran longer than its duration (Flux: {note or kind})"
        if kind.startswith("preempt"):
            return Reason.PREEMPTED, f"was preempted: {note}" if note else "was preempted"
        if kind == "exec":
            return self._why_not_executed(note)
        return Reason.SCHEDULER, f"Flux: {kind}: {note}" if note else f"Flux: {kind}"

    def _why_not_executed(self, note: str) -> tuple[str, str]:
        message = f"Flux: {note or 'the job could not be executed'}"
        if _NODE_LOST.search(note):
            return Reason.NODE_FAILURE, message
        if _NOT_STARTED.search(note):
            return Reason.LAUNCH, message
        if _SHELL_FAILED.search(note):
            hint = "can its files for output be written? `flux job attach ID` tells more"
            return Reason.LAUNCH, f"{message} (the job shell could not start the tasks; {hint})"
        if _TASK_ENDED.search(note) and self.exit_code:
            reason, words = self._why_failed()
            return reason, f"{words} ({message})"
        return Reason.SCHEDULER, message

    def _why_failed(self) -> tuple[str, str]:
        code = self.exit_code
        phase, _, words = (self.word or "").partition(": ")
        reason = _PHASES.get(phase)
        if reason is not None:
            if not words and phase == "launch":
                what = "was not found" if code == 127 else "could not be executed"
                words = f"exit code {code}: the executable {what} where the job ran"
            return reason, words or f"exit code {code} ({phase})"
        if self.signal is not None:
            return Reason.SIGNAL, f"ended by {_named(self.signal)}"
        if code is None:
            return Reason.SCHEDULER, "Flux ended the job without an exit code or an exception"
        return Reason.EXIT_CODE, words or f"exit code {code}"


def _named(number: int) -> str:
    """A signal for people, such as ``"signal 11 (SIGSEGV)"``."""
    try:
        return f"signal {number} ({signals.Signals(number).name})"
    except ValueError:
        return f"signal {number}"
