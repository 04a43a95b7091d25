"""The status of a job (PSI/J specification, "JobStatus")."""

from __future__ import annotations

import time as _time
from collections.abc import Mapping
from typing import Any

from exaworks.psij.job_state import JobState

__all__ = ["JobStatus", "Reason"]


class Reason:
    """Values of ``JobStatus.metadata["reason"]``: why a job failed or was cancelled."""

    EXIT_CODE = "exit_code"
    """The job's own exit code was not zero."""
    SIGNAL = "signal"
    """The job was ended by a signal that neither we nor the scheduler is known to have sent."""
    TIMEOUT = "timeout"
    """It ran longer than its ``duration``."""
    OUT_OF_MEMORY = "out_of_memory"
    NODE_FAILURE = "node_failure"
    PREEMPTED = "preempted"
    CANCELED = "canceled"
    """Somebody asked for it to be cancelled."""
    DEPENDENCY = "dependency"
    """It waited for another job, which has ended in such a way that it can never start."""
    LAUNCH = "launch"
    """It could not be started: no such executable, directory, or file to redirect to."""
    STAGING = "staging"
    """Staging files in or out, or cleaning up, failed."""
    LOST = "lost"
    """The backend does not know the job any more and left no record of its end."""
    SCHEDULER = "scheduler"
    """Another verdict of the scheduler; its own words are in the message."""


class JobStatus:
    """A state together with when and why the job got there.

    Attributes:
        state: the state.
        time: when it was entered, in seconds since the epoch (of the machine that saw it).
        message: an explanation for people, if there is one.
        exit_code: the exit code, once the job has ended and if it can be known. A job killed by
            signal *n* has 128 + *n*, as shells say; ``metadata["signal"]`` tells it apart from a
            job that returned that number.
        metadata: further facts. Keys in use: ``native_id``, ``reason`` (a value of
            :class:`Reason`), ``signal`` (number), ``started`` (seconds since the epoch at which it
            began to run, if this status was learned by attaching), ``scheduler_state``,
            ``scheduler_reason``, ``nodes``, ``restarts``.
    """

    __slots__ = ("_metadata", "exit_code", "message", "state", "time")

    def __init__(
        self,
        state: JobState,
        time: float | None = None,
        message: str | None = None,
        exit_code: int | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self.state = state
        self.time = _time.time() if time is None else time
        self.message = message
        self.exit_code = exit_code
        self._metadata = dict(metadata) if metadata else None

    @property
    def metadata(self) -> dict[str, Any] | None:
        """Further facts about the state, or ``None``."""
        return self._metadata

    @metadata.setter
    def metadata(self, value: Mapping[str, Any] | None) -> None:
        self._metadata = dict(value) if value else None

    @property
    def final(self) -> bool:
        """Whether the state is final."""
        return self.state.final

    @property
    def reason(self) -> str | None:
        """``metadata["reason"]``: one of the values of :class:`Reason`, or ``None``."""
        return self._metadata.get("reason") if self._metadata else None

    @property
    def signal(self) -> int | None:
        """``metadata["signal"]``: the number of the signal that ended the job, or ``None``."""
        return self._metadata.get("signal") if self._metadata else None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, JobStatus):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in JobStatus.__slots__)

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        text = f"JobStatus[{self.state}, time={self.time}"
        if self.exit_code is not None:
            text += f", exit_code={self.exit_code}"
        if self.message is not None:
            text += f", message={self.message}"
        return text + "]"

    __repr__ = __str__
