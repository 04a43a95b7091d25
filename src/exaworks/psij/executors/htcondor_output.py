"""What HTCondor's commands print, and what it means.

Sources: condor_q(1), condor_history(1) and the appendix "Job ClassAd Attributes" (JobStatus,
HoldReasonCode) of the manual of HTCondor 23, and what these programs print.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from exaworks.psij.executors.batch import Answer, Details, Observation
from exaworks.psij.job_attributes import JobAttributes
from exaworks.psij.job_info import JobInfo
from exaworks.psij.job_spec import JobSpec
from exaworks.psij.job_state import JobState
from exaworks.psij.job_status import Reason
from exaworks.psij.resource_spec import ResourceSpecV1
from exaworks.psij.runner import CommandResult

__all__ = ["ATTRIBUTES", "parse_answer", "parse_details", "parse_ids", "parse_logs"]

_IDLE, _RUNNING, _REMOVED, _COMPLETED, _HELD, _TRANSFERRING, _SUSPENDED = range(1, 8)
_WORDS = {
    _IDLE: "Idle",
    _RUNNING: "Running",
    _REMOVED: "Removed",
    _COMPLETED: "Completed",
    _HELD: "Held",
    _TRANSFERRING: "TransferringOutput",
    _SUSPENDED: "Suspended",
}
# Held by a user, at the submission, or until its files have come.
_ON_PURPOSE = (1, 15, 16)
_HOLD_REASONS: Mapping[int, tuple[str, str]] = {
    **dict.fromkeys((6, 7, 8, 9, 10, 11, 14), (Reason.LAUNCH, "could not be started")),
    **dict.fromkeys((12, 13, 32, 33), (Reason.STAGING, "its files could not be transferred")),
    34: (Reason.OUT_OF_MEMORY, "used more memory than it had asked for"),
    35: (Reason.LAUNCH, "its container image cannot be used"),
    **dict.fromkeys((46, 47), (Reason.TIMEOUT, "ran longer than its time limit")),
}

ATTRIBUTES = (
    "ClusterId",
    "ProcId",
    "JobStatus",
    "ExitCode",
    "ExitBySignal",
    "ExitSignal",
    "HoldReason",
    "HoldReasonCode",
    "LastHoldReason",
    "LastHoldReasonCode",
    "RemoveReason",
    "NumJobStarts",
    "RemoteHost",
    "LastRemoteHost",
    "Owner",
    "QDate",
    "JobStartDate",
    "JobCurrentStartDate",
    "RemoteWallClockTime",
    "JobPrio",
    "RequestCpus",
    "RequestMemory",
    "AllowedJobDuration",
    "AcctGroup",
    "JobBatchName",
    "Out",
)
"""For ``-attributes``."""


def _records(result: CommandResult) -> tuple[list[Mapping[str, Any]], str | None]:
    """The jobs in JSON, and what is wrong with the answer.

    condor_q prints nothing at all if there are none.
    """
    if not result.ok:
        return [], result.complaint()
    text = result.stdout
    start = re.search(r"^\[\s*$", text, re.MULTILINE)
    if start is None:
        words = " ".join(text.split())
        return [], f"HTCondor printed no JSON: {words[:300]}" if words else None
    try:
        found, _ = json.JSONDecoder().raw_decode(text, start.start())
    except ValueError as problem:
        return [], f"HTCondor printed JSON that cannot be read: {problem}"
    return [record for record in found if isinstance(record, dict)], None


def _number(record: Mapping[str, Any], name: str) -> int:
    """A number; 0 if there is none, or if it is an expression."""
    value = record.get(name)
    return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else 0


def _text(record: Mapping[str, Any], name: str) -> str | None:
    value = record.get(name)
    return value if isinstance(value, str) and value else None


def _id(record: Mapping[str, Any]) -> str:
    cluster, process = record["ClusterId"], record["ProcId"]
    if not isinstance(cluster, int) or not isinstance(process, int):
        raise ValueError(f"{cluster}.{process}")
    return f"{cluster}.{process}"


def _exit(record: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Exit code and signal; neither is there before the job has run."""
    if record.get("ExitBySignal") is True and _number(record, "ExitSignal"):
        signal = _number(record, "ExitSignal")
        return 128 + signal, signal
    return (_number(record, "ExitCode") if "ExitCode" in record else None), None


def _of_hold(code: int, why: str | None) -> tuple[str, str]:
    """Reason and message for a job that is held because of an error."""
    reason, message = _HOLD_REASONS.get(code, (Reason.SCHEDULER, "was held because of an error"))
    return reason, f"{message} (HTCondor says: {why or 'nothing'}; hold reason {code})"


def _observation(record: Mapping[str, Any], ended: bool) -> Observation:
    """What an answer says about a job.

    Args:
        record: the job's attributes.
        ended: whether it has left the queue.
    """
    native_id, status = _id(record), _number(record, "JobStatus")
    word = _WORDS.get(status, str(record.get("JobStatus")))
    host = _text(record, "RemoteHost") or _text(record, "LastRemoteHost")
    nodes = host.rpartition("@")[2] if host is not None else None
    starts = _number(record, "NumJobStarts")
    code, signal = _exit(record)
    if status == _HELD and _number(record, "HoldReasonCode") not in _ON_PURPOSE:
        hold = _number(record, "HoldReasonCode"), _text(record, "HoldReason")
    elif status == _REMOVED and ended and "via condor_rm" not in str(record.get("RemoveReason")):
        hold = _number(record, "LastHoldReasonCode"), _text(record, "LastHoldReason")
    else:
        hold = 0, None
    if hold[0]:
        reason, message = _of_hold(*hold)
        return Observation(
            native_id, JobState.FAILED, word, code or None, signal, reason, hold[1], message, nodes,
            max(0, starts - 1),
        )  # fmt: skip
    if status == _REMOVED and ended:
        why = _text(record, "RemoveReason")
        message = f"was cancelled (HTCondor says: {why})"
        return Observation(
            native_id, JobState.CANCELED, word, code or None, signal, Reason.CANCELED, why, message,
            nodes, max(0, starts - 1),
        )  # fmt: skip
    if status == _COMPLETED and code is not None:
        state = JobState.FAILED if code else JobState.COMPLETED
        return Observation(
            native_id, state, word, code, signal, nodes=nodes, restarts=max(0, starts - 1)
        )
    if status in (_IDLE, _HELD):
        why = _text(record, "HoldReason") if status == _HELD else None
        return Observation(native_id, JobState.QUEUED, word, cause=why, restarts=starts)
    # What is removed stays in the queue until its processes have ended.
    active = status in (_RUNNING, _TRANSFERRING, _SUSPENDED)
    return Observation(
        native_id,
        JobState.ACTIVE if active else None,
        word,
        nodes=nodes,
        restarts=max(0, starts - 1),
    )


def parse_answer(result: CommandResult, ended: bool) -> Answer:
    """Read what condor_q or condor_history printed with ``-json``.

    Args:
        result: the answer.
        ended: whether it is of condor_history.
    """
    records, problem = _records(result)
    found: list[Observation] = []
    skipped: list[str] = []
    for record in records:
        try:
            found.append(_observation(record, ended))
        except (KeyError, TypeError, ValueError, OverflowError):
            skipped.append(str(record))
    return Answer(found, problem, skipped=skipped)


def parse_ids(result: CommandResult) -> list[str]:
    """Read the ids of jobs that are neither removed nor completed."""
    seen = parse_answer(result, False).observations
    over = (_WORDS[_REMOVED], _WORDS[_COMPLETED])
    return [each.native_id for each in seen if each.word not in over]


def parse_logs(result: CommandResult) -> dict[str, str]:
    """Read the logs of jobs."""
    found = {}
    for record in _records(result)[0]:
        log = _text(record, "Out")
        try:
            if log is not None:
                found[_id(record)] = log
        except (KeyError, ValueError):
            continue
    return found


def _time(record: Mapping[str, Any], name: str) -> datetime | None:
    seconds = _number(record, name)
    return datetime.fromtimestamp(seconds) if seconds else None


def _details(record: Mapping[str, Any]) -> Details:
    seen = _observation(record, False)
    start = _time(record, "JobCurrentStartDate") or _time(record, "JobStartDate")
    runs = seen.state is JobState.ACTIVE and start is not None
    wall = (datetime.now() - start).total_seconds() if runs and start else 0
    info = JobInfo(
        owner=_text(record, "Owner"),
        submission_time=_time(record, "QDate"),
        dispatch_time=start if seen.state is not JobState.QUEUED else None,
        wall_time=max(0, int(wall)) or _number(record, "RemoteWallClockTime"),
        resourcelist=seen.nodes,
        reason=seen.cause,
        priority=_number(record, "JobPrio"),
    )
    limit, memory = _number(record, "AllowedJobDuration"), _number(record, "RequestMemory")
    spec = JobSpec(
        name=_text(record, "JobBatchName"),
        resources=ResourceSpecV1(
            cpu_cores_per_process=_number(record, "RequestCpus") or None,
            memory=memory * 2**20 or None,
        ),
        attributes=JobAttributes(
            timedelta(seconds=limit) if limit else None, account=_text(record, "AcctGroup")
        ),
    )
    held = seen.word == "Held" and seen.state is JobState.QUEUED
    return Details(seen, info, spec, held)


def parse_details(result: CommandResult) -> list[Details]:
    """Read what ``condor_q -json`` printed."""
    found = []
    for record in _records(result)[0]:
        try:
            found.append(_details(record))
        except (KeyError, TypeError, ValueError, OverflowError):
            continue
    return found
