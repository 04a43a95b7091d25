"""What OAR's commands print, and what it means.

Sources: oarsub(1), oarstat(1) and oardel(1) of OAR 2.5.9, what these programs print, and the
events that its server notes about jobs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from exaworks.psij.executors.batch import Answer, Details, Observation
from exaworks.psij.executors.oar_options import log_of
from exaworks.psij.job_attributes import JobAttributes
from exaworks.psij.job_info import JobInfo
from exaworks.psij.job_spec import JobSpec
from exaworks.psij.job_state import JobState
from exaworks.psij.job_status import Reason
from exaworks.psij.runner import CommandResult

__all__ = ["parse_details", "parse_ids", "parse_logs", "parse_query"]

_QUEUED, _ACTIVE, _FAILED = JobState.QUEUED, JobState.ACTIVE, JobState.FAILED
# What is toError is about to end; what it was before is known already.
_ALIVE: Mapping[str, JobState | None] = {
    "Waiting": _QUEUED,
    "Hold": _QUEUED,
    "toLaunch": _QUEUED,
    "toAckReservation": _QUEUED,
    "Launching": _QUEUED,
    "Running": _ACTIVE,
    "Suspended": _ACTIVE,
    "Resuming": _ACTIVE,
    "Finishing": _ACTIVE,
    "toError": None,
}
# The first of these that is among a job's events tells why it is in the state Error.
_VERDICTS: tuple[tuple[str, JobState, str, str], ...] = (
    ("WALLTIME", _FAILED, Reason.TIMEOUT, "ran longer than its time limit"),
    (
        "BESTEFFORT_KILL",
        _FAILED,
        Reason.PREEMPTED,
        "was killed to make room for another job, as is done with jobs of the type besteffort",
    ),
    (
        "OUTPUT_FILES",
        _FAILED,
        Reason.LAUNCH,
        "its log could not be written on the node",
    ),
    ("WORKING_DIRECTORY", _FAILED, Reason.LAUNCH, "its directory could not be entered"),
    ("USER_SHELL", _FAILED, Reason.LAUNCH, "the node does not know the user"),
    *(
        (word, _FAILED, Reason.NODE_FAILURE, "a node of the job failed")
        for word in (
            "PING_CHECKER_NODE_SUSPECTED",
            "PROLOGUE_ERROR",
            "SERVER_PROLOGUE_ERROR",
            "SERVER_PROLOGUE_TIMEOUT",
            "SERVER_PROLOGUE_EXIT_CODE_ERROR",
            "CPUSET_ERROR",
            "CANNOT_WRITE_NODE_FILE",
            "CANNOT_WRITE_PID_FILE",
            "CANNOT_CREATE_TMP_DIRECTORY",
            "LAUNCHING_OAREXEC_TIMEOUT",
            "SSH_TRANSFER_TIMEOUT",
            "BAD_HASHTABLE_DUMP",
        )
    ),
    ("FRAG_JOB_REQUEST", JobState.CANCELED, Reason.CANCELED, "was cancelled"),
)
_TIDYING = ("SWITCH_INTO_ERROR_STATE", "SWITCH_INTO_TERMINATE_STATE", "SEND_KILL_JOB")


def _records(result: CommandResult) -> tuple[dict[str, dict[str, Any]], str | None]:
    """The jobs in JSON, and what is wrong with the answer.

    oarstat prints nothing at all if there are none.
    """
    if not result.ok:
        return {}, result.complaint()
    text = result.stdout
    start = re.search(r"^\{", text, re.MULTILINE)
    if start is None:
        words = " ".join(text.split())
        return {}, f"oarstat printed no JSON: {words[:300]}" if words else None
    try:
        found, _ = json.JSONDecoder().raw_decode(text, start.start())
    except ValueError as problem:
        return {}, f"oarstat printed JSON that cannot be read: {problem}"
    if not all(isinstance(record, dict) for record in found.values()):
        return {}, "oarstat printed JSON of another kind"
    return {key: found[key] for key in found if key.isascii() and key.isdigit()}, None


def _number(record: Mapping[str, Any], name: str) -> int:
    """A number, which may come as text; 0 if there is none."""
    value = record.get(name)
    return int(value) if value not in (None, "") else 0


def _why(record: Mapping[str, Any]) -> tuple[JobState, str, str, str]:
    """State, reason, cause and message of a job in the state Error."""
    said: dict[str, str] = {}
    for event in record.get("events") or []:
        said.setdefault(str(event.get("type")), " ".join(str(event.get("description")).split()))
    verdict = next((verdict for verdict in _VERDICTS if verdict[0] in said), None)
    if verdict is None:
        word = next((word for word in said if word not in _TIDYING), "Error")
        verdict = (word, _FAILED, Reason.SCHEDULER, "failed")
    word, state, reason, message = verdict
    told = f" (OAR says {word}: {said[word]})" if word in said else " (OAR does not say why)"
    again = re.search(r"(?:=>|new id =) *(\d+)", said.get("RESUBMIT_JOB_AUTOMATICALLY", ""))
    if again is not None:
        told += f"; OAR runs it again as job {again[1]}, which can be attached"
    return state, reason, word, message + told


def _observation(native_id: str, record: Mapping[str, Any]) -> Observation:
    word = str(record["state"])
    nodes = "+".join(map(str, record.get("assigned_network_address") or [])) or None
    if word == "Error":
        state, reason, cause, message = _why(record)
        return Observation(
            native_id, state, word, reason=reason, cause=cause, message=message, nodes=nodes
        )
    if word == "Terminated":
        status = _number(record, "exit_code")  # as wait(2) gives it
        signal = status & 0x7F or None
        code = 128 + signal if signal else status >> 8 & 0xFF
        state = _FAILED if code else JobState.COMPLETED
        return Observation(native_id, state, word, code, signal, nodes=nodes)
    said = str(record.get("message") or "") or None
    return Observation(native_id, _ALIVE.get(word), word, cause=said, nodes=nodes)


def parse_query(result: CommandResult) -> Answer:
    """Read what ``oarstat -J -f`` printed."""
    records, problem = _records(result)
    found: list[Observation] = []
    skipped: list[str] = []
    for native_id, record in records.items():
        try:
            found.append(_observation(native_id, record))
        except (AttributeError, KeyError, TypeError, ValueError):
            skipped.append(f"{native_id}: {record}")
    return Answer(found, problem, skipped=skipped)


def parse_ids(result: CommandResult) -> list[str]:
    """Read the ids of jobs that have not ended."""
    records, _ = _records(result)
    return [key for key, record in records.items() if record.get("state") in _ALIVE]


def parse_logs(result: CommandResult) -> dict[str, str]:
    """Read the logs of jobs."""
    records, _ = _records(result)
    found = {}
    for native_id, record in records.items():
        try:
            index = _number(record, "array_index")
        except (TypeError, ValueError):
            continue
        log = log_of(str(record.get("command") or ""), index)
        if log is not None:
            found[native_id] = log
    return found


def _time(record: Mapping[str, Any], name: str) -> datetime | None:
    seconds = _number(record, name)
    return datetime.fromtimestamp(seconds) if seconds else None


def _limit(record: Mapping[str, Any]) -> int:
    """The time limit in seconds; of a job that is not scheduled yet, it is in its request."""
    asked = re.search(r"walltime=(\d+):(\d+):(\d+)", str(record.get("wanted_resources")))
    hours, minutes, seconds = map(int, asked.groups()) if asked is not None else (0, 0, 0)
    return _number(record, "walltime") or (hours * 60 + minutes) * 60 + seconds


def _details(native_id: str, record: Mapping[str, Any]) -> Details:
    seen = _observation(native_id, record)
    waits = seen.state is _QUEUED
    start, stop = _time(record, "startTime"), _time(record, "stopTime")
    planned = _time(record, "scheduledStart")
    wall = ((stop or datetime.now()) - start).total_seconds() if start and not waits else 0
    info = JobInfo(
        owner=str(record.get("owner") or "") or None,
        submission_time=_time(record, "submissionTime"),
        dispatch_time=None if waits else start,
        wall_time=max(0, int(wall)),
        resourcelist=seen.nodes,
        queue_name=str(record.get("queue") or "") or None,
        reason=seen.cause,
        estimated_start=planned.isoformat() if waits and planned is not None else None,
    )
    limit = _limit(record)
    project = record.get("project")
    spec = JobSpec(
        name=record.get("name") or None,
        attributes=JobAttributes(
            timedelta(seconds=limit) if limit else None,
            record.get("queue") or None,
            project if project != "default" else None,
        ),
    )
    return Details(seen, info, spec, seen.word == "Hold")


def _all_details(records: Mapping[str, Mapping[str, Any]]) -> Iterator[Details]:
    for native_id, record in records.items():
        try:
            yield _details(native_id, record)
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
            continue


def parse_details(result: CommandResult) -> list[Details]:
    """Read what ``oarstat -J -f`` printed."""
    return list(_all_details(_records(result)[0]))
