"""Why a job does not start, or why it failed, in plain words."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from exaworks.cli import slurm_reasons
from exaworks.cli.endings import code_meaning, hints, signal_meaning
from exaworks.cli.follow import tail
from exaworks.cli.output import clean, short_duration, signal_name
from exaworks.cli.record import SUBMITTING, UNKNOWN, Record
from exaworks.psij import Job, JobInfo, JobState, PSIJException, Reason

__all__ = ["Explanation", "explain"]

_TAIL_LINES: Final = 10
_TAIL_BYTES: Final = 4000
_MEANINGS: Final[dict[str, Callable[[str], slurm_reasons.Meaning | None]]] = {
    "slurm": slurm_reasons.meaning,
}


@dataclass
class Explanation:
    """What can be said about a job.

    Attributes:
        summary: one sentence: how the job is.
        causes: why, as far as that is known.
        advice: what to try.
        output: the last lines that it wrote.
        source: the file that these come from.
    """

    summary: str
    causes: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)
    output: list[str] = field(default_factory=list)
    source: Path | None = None


def explain(record: Record, job: Job | None) -> Explanation:
    """Explain a job.

    Args:
        record: what is remembered of it.
        job: the job itself, if its executor can be asked.
    """
    state = record.shown_state
    if state in (SUBMITTING, UNKNOWN):
        return _interrupted(record)
    if state == "QUEUED":
        return _waiting(record, job)
    if state in ("COMPLETED", "FAILED", "CANCELED"):
        found = _ended(record)
    else:
        found = _running(record, job)
    _add_output(record, found)
    return found


def _interrupted(record: Record) -> Explanation:
    if record.shown_state == SUBMITTING:
        return Explanation(f"{record.title} is being submitted at this moment.")
    return Explanation(
        f"It is not known whether {record.title} was accepted.",
        [
            f"The program that submitted it (process {record.submitter.partition(':')[0]} on "
            f"{record.host}) ended before it learned the answer of {record.executor}."
        ],
        [
            "Look whether the executor has a job of that name"
            + (" (`squeue --me`)." if record.executor == "slurm" else "."),
            f"`exaworks forget {record.id}` removes it from the list.",
        ],
    )


def _info(job: Job | None) -> tuple[JobInfo | None, bool]:
    """What the executor knows of a job beyond its status, and whether it is held."""
    if job is None or job.executor is None or job.status.state is JobState.NEW:
        return None, False  # if it does not answer, it need not be asked again
    try:
        found = job.executor.info([job])
    except PSIJException:
        return None, False
    if not found:
        return None, False
    return found[0].current_info, found[0].status.state is JobState.HELD


def _waiting(record: Record, job: Job | None) -> Explanation:
    info, held = _info(job)
    waited = short_duration(time.time() - record.submitted)
    found = Explanation(f"{record.title} has been waiting to start for {waited}.")
    if held:
        found.summary = f"{record.title} is held: it does not start until it is released."
        found.advice.append(f"`exaworks release {record.id}` lets it start.")
    reason = info.reason if info is not None else None
    reason = reason or record.metadata.get("scheduler_reason")
    if isinstance(reason, str) and reason:
        meaning = _meaning(record, reason)
        said = f"{record.executor} says {clean(reason)!r}"
        if meaning is None:
            found.causes.append(f"{said}.")
        else:
            found.causes.append(f"{said}: {meaning.text}")
            if meaning.advice and not held:
                found.advice.append(meaning.advice)
    elif job is None or job.status.state is JobState.NEW:
        found.causes.append(f"{record.executor} cannot be asked at the moment.")
    elif not held:
        if record.executor == "local":
            found.causes.append("This machine runs as many jobs as it may run at once.")
        else:
            found.causes.append(f"{record.executor} gives no reason.")
    if info is not None:
        if info.estimated_start:
            found.causes.append(f"It is expected to start at {info.estimated_start}.")
        if info.queue_name:
            found.causes.append(f"It is in the queue {info.queue_name}.")
        if info.priority is not None:
            found.causes.append(f"Its priority is {info.priority}.")
    return found


def _meaning(record: Record, reason: str) -> slurm_reasons.Meaning | None:
    reader = _MEANINGS.get(record.executor)
    return None if reader is None else reader(reason)


def _running(record: Record, job: Job | None) -> Explanation:
    words = "runs" if record.state == "ACTIVE" else f"is in the state {record.state}"
    since = f", for {short_duration(record.run_time)} so far" if record.started is not None else ""
    found = Explanation(f"{record.title} {words}{since}.")
    info, _ = _info(job)
    if info is not None and info.resourcelist:
        found.causes.append(f"It runs on {info.resourcelist}.")
    limit = record.job_spec.attributes
    enforced = record.executor != "local" or limit.duration_given
    if limit.duration is not None and enforced and record.run_time is not None:
        left = limit.duration.total_seconds() - record.run_time
        found.causes.append(f"Of its walltime ({limit.duration}) {short_duration(left)} are left.")
    return found


def _ended(record: Record) -> Explanation:
    run_time = record.run_time
    after = f" after {short_duration(run_time)}" if run_time is not None else ""
    if record.state == "COMPLETED":
        return Explanation(f"{record.title} ended well{after}.")
    if record.state == "CANCELED":
        found = Explanation(f"{record.title} was cancelled{after}.")
        if record.message:
            found.causes.append(clean(record.message))
        return found
    if record.signal is not None:
        end = f" (ended by {signal_name(record.signal)})"
    elif record.exit_code is not None:
        end = f" with exit code {record.exit_code}"
    else:
        end = ""
    found = Explanation(f"{record.title} failed{end}{after}.")
    if record.message and record.message not in found.summary:
        found.causes.append(f"{record.executor} says: {clean(record.message)}")
    _add_reason(record, found)
    return found


def _add_reason(record: Record, found: Explanation) -> None:
    """Say what the kind of failure means."""
    limit = record.job_spec.attributes.duration
    texts: dict[str, tuple[str, str]] = {
        Reason.TIMEOUT: (
            f"It ran longer than its walltime{f' of {limit}' if limit else ''}.",
            "Submit it with more --time, or let it save its state and go on from there.",
        ),
        Reason.OUT_OF_MEMORY: (
            "It used more memory than it asked for, or than there is.",
            "Submit it with more --memory, or with fewer processes on a node.",
        ),
        Reason.NODE_FAILURE: (
            "A node it ran on failed; this is no fault of the job.",
            "Submit it again.",
        ),
        Reason.PREEMPTED: (
            "It had to give way to a job of higher priority.",
            "Submit it again, or to another --queue.",
        ),
        Reason.LAUNCH: (
            "It could not be started.",
            "Check the command, --directory and the files of --stdin, --stdout and --stderr "
            "where the job runs.",
        ),
        Reason.STAGING: (
            "Moving its files in or out, or cleaning up, failed.",
            "Check the paths of --stage-in, --stage-out and --cleanup.",
        ),
        Reason.LOST: (
            "The executor does not know it any more, and it left no record of its end.",
            "Its output may tell whether it did its work.",
        ),
    }
    if record.reason in texts:
        cause, advice = texts[record.reason]
        if not found.causes:
            found.causes.append(cause)
        found.advice.append(advice)
    elif record.signal is not None:
        found.causes += filter(None, [signal_meaning(record.signal)])
    elif record.exit_code is not None:
        found.causes += filter(None, [code_meaning(record.exit_code)])
    word = record.metadata.get("scheduler_reason")
    if isinstance(word, str) and word and record.reason not in texts:
        meaning = _meaning(record, word)
        if meaning is not None and meaning.advice:
            found.causes.append(f"{record.executor} says {clean(word)!r}: {meaning.text}")
            found.advice.append(meaning.advice)


def _add_output(record: Record, found: Explanation) -> None:
    """Add the last lines of its standard error or, if there are none, of its output."""
    for which in ("stderr", "stdout"):
        path = record.stream(which)
        if path is None or not path.is_file():
            continue
        try:
            text, _ = tail(path, _TAIL_LINES)
        except OSError as problem:
            found.causes.append(f"{path} cannot be read: {os.strerror(problem.errno or 0)}.")
            continue
        if text.strip():
            words = text[-_TAIL_BYTES:].decode(errors="replace")
            found.output, found.source = [clean(line) for line in words.splitlines()], path
            if record.state == "FAILED":
                found.advice += hints(words)
            return
