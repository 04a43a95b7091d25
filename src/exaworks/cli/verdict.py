"""What became of a job, as an exit code and as a sentence."""

from __future__ import annotations

from exaworks.cli.errors import FAILED, OK, TIMED_OUT
from exaworks.cli.output import signal_name
from exaworks.psij import JobState, JobStatus, Reason

__all__ = ["describe", "exit_code"]


def exit_code(status: JobStatus) -> int:
    """The exit code with which ``exaworks run`` passes on the end of a job."""
    if status.state is JobState.COMPLETED:
        return OK
    if status.reason == Reason.TIMEOUT:
        return TIMED_OUT
    return (status.exit_code or FAILED) & 255 or FAILED


def describe(
    state: str,
    code: int | None = None,
    signal: int | None = None,
    message: str | None = None,
) -> str:
    """The end of a job in a few words, such as ``FAILED with exit code 3``."""
    words = state
    if state == "CANCELED":
        pass  # that it was ended by a signal goes without saying
    elif signal is not None:
        words += f" by {signal_name(signal)}"
    elif code is not None and (code or state != "COMPLETED"):
        words += f" with exit code {code}"
    if not message or words.endswith(message):
        return words
    return f"{words}: {message}"
