"""What PBS says about jobs, and what it means.

Sources: qstat(1B) and pbs_job_attributes(7B) of OpenPBS 23.06, "Job Exit Codes" in the PBS
Professional Reference Guide 2024.1, "Job Exit Status" in the Torque 6.1 Administrator Guide, job.h
of OpenPBS and pbs_job.h of Torque, and what these programs print.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from exaworks.psij.executors.batch import Answer, Details, Hint, Observation
from exaworks.psij.executors.pbs_options import LOG_VARIABLE, NAME_VARIABLE, decode
from exaworks.psij.executors.pbs_records import (
    Record,
    asked_as,
    attribute,
    number,
    read_records,
    read_variables,
)
from exaworks.psij.job_attributes import JobAttributes
from exaworks.psij.job_info import JobInfo
from exaworks.psij.job_spec import JobSpec
from exaworks.psij.job_state import JobState
from exaworks.psij.job_status import Reason
from exaworks.psij.resource_spec import ResourceSpecV1
from exaworks.psij.runner import CommandResult

__all__ = [
    "CLASSIC_CODES",
    "PRO_CODES",
    "Codes",
    "look_again",
    "parse_answer",
    "parse_details",
    "parse_logs",
    "read_log",
]

_STATES = {
    **dict.fromkeys("QHWTM", JobState.QUEUED),
    **dict.fromkeys("RESUB", JobState.ACTIVE),
}
_ENDED = ("F", "X", "C")
_TERMINATED = "91"  # JOB_SUBSTATE_TERMINATED: deleted
_SUBSTATES = ("91", "92", "93")  # job.h: deleted, finished, failed
_GENERIC = "Subjob finished"  # the rest of the record is then of the array, not of the element

_TIMEOUT = (Reason.TIMEOUT, "ran longer than its time limit")
_MEMORY = (Reason.OUT_OF_MEMORY, "used more memory than it had asked for")
_NODE = (Reason.NODE_FAILURE, "a node of the job failed")
_LAUNCH = (Reason.LAUNCH, "the job could not be started")
_SCHEDULER = (Reason.SCHEDULER, "was ended by PBS")

Codes = Mapping[int, tuple[str, str]]
"""What exit codes below zero mean."""

PRO_CODES: Codes = {
    **dict.fromkeys((-1, -2, -3, -4, -5, -6, -7, -10, -13, -21, -23, -30), _LAUNCH),
    **dict.fromkeys((-14, -20), _NODE),
    **dict.fromkeys((-24, -25), (Reason.SCHEDULER, "used more cores than it had asked for")),
    **dict.fromkeys((-26, -27), _MEMORY),
    -28: (Reason.TIMEOUT, "used more CPU time than its limit"),
    -29: _TIMEOUT,
}
CLASSIC_CODES: Codes = {
    **dict.fromkeys((-1, -2, -3, -4, -5, -6, -7, -8, -9, -13, -14), _LAUNCH),
    -10: _MEMORY,
    -11: _TIMEOUT,
    -12: (Reason.TIMEOUT, "used more CPU time than its limit"),
}


def _seconds(text: object) -> int | None:
    """Seconds from ``[[hh:]mm:]ss``."""
    match = re.fullmatch(r"(?:(?:(\d+):)?(\d+):)?(\d+)", str(text), re.ASCII)
    if match is None:
        return None
    hours, minutes, seconds = (int(group or 0) for group in match.groups())
    return (hours * 60 + minutes) * 60 + seconds


def _part(record: Record, group: str, name: str) -> object:
    values = record.get(group)
    return values.get(name) if isinstance(values, Mapping) else None


def _whole(text: object) -> int | None:
    match = re.fullmatch(r"-?\d+", str(text), re.ASCII)
    return int(match[0]) if match else None


def _nodes(record: Record) -> str | None:
    """The hosts of ``exec_host``, which looks like ``a/0*4+b/0*4`` or ``a/0-3+b/0``."""
    text = attribute(record, "exec_host") or ""
    hosts = (part.partition("/")[0].strip() for part in text.split("+"))
    return ",".join(dict.fromkeys(host for host in hosts if host)) or None


def _over_time(record: Record) -> bool:
    used = _seconds(_part(record, "resources_used", "walltime"))
    limit = _seconds(_part(record, "Resource_List", "walltime"))
    return used is not None and limit is not None and 0 < limit <= used


def _verdict(
    record: Record, codes: Codes, cause: str | None
) -> tuple[JobState, int | None, int | None, str | None, str | None]:
    """State, exit code, signal, reason and message of a job that has ended."""
    status = _whole(record.get("Exit_status", record.get("exit_status")))
    substate = attribute(record, "substate")
    if status is not None and status < 0:
        reason, message = codes.get(status, _SCHEDULER)
        return JobState.FAILED, None, None, reason, f"{message} (PBS says exit status {status})"
    # A shell adds 128 to the signal that ended a program, pbs_mom adds 256 if it was the shell
    signal = None
    if status is not None and status > 128:
        signal = status - 256 if status > 256 else status - 128 if status < 160 else None
    code = 128 + signal if signal else status
    terminated = substate == _TERMINATED or re.search(r" and terminated(?: by \S+)?$", cause or "")
    if status is None and not terminated and "depend" in record and "stime" not in record:
        message = f"can never start: {attribute(record, 'depend')} did not come true"
        return JobState.CANCELED, None, None, Reason.DEPENDENCY, message
    if terminated or (codes is CLASSIC_CODES and status in (None, 271)):
        if _over_time(record):
            return JobState.FAILED, code or None, signal, *_TIMEOUT
        message = f"was deleted (PBS says: {cause})" if cause else "was deleted"
        return JobState.CANCELED, code or None, signal, Reason.CANCELED, message
    if status is None:
        message = f"{_SCHEDULER[1]} (it says: {cause or 'nothing'})"
        return JobState.FAILED, None, None, Reason.SCHEDULER, message
    return JobState.COMPLETED if status == 0 else JobState.FAILED, code, signal, None, None


def _observation(native_id: str, record: Record, codes: Codes) -> Observation | None:
    """What a record means; ``None`` if it says nothing about the job."""
    word, cause = attribute(record, "job_state"), attribute(record, "comment")
    if word is None:
        return None
    nodes = _nodes(record)
    if word not in _ENDED:
        return Observation(native_id, _STATES.get(word), word, cause=cause, nodes=nodes)
    generic = cause == _GENERIC or attribute(record, "substate") not in (None, *_SUBSTATES)
    if generic and "[" in native_id:
        return None
    state, code, signal, reason, message = _verdict(record, codes, cause)
    return Observation(native_id, state, word, code, signal, reason, cause, message, nodes)


def parse_answer(result: CommandResult, codes: Codes) -> Answer:
    """Read the states of jobs."""
    found = []
    for name, record in read_records(result.stdout).items():
        seen = _observation(asked_as(name, result.command), record, codes)
        if seen is not None:
            found.append(seen)
    return Answer(found)


def look_again(native_id: str, told: Mapping[str, Observation]) -> tuple[Observation | None, bool]:
    """See :meth:`SchedulerAdapter.look_again`.

    Elements of an array that have ended are not always listed, or without their own facts: those
    that never began were deleted.
    """
    base, bracket, rest = native_id.partition("[")
    server = rest.partition("]")[2]
    if not bracket or f"{base}[]{server}" not in told:
        return None, False
    message = "was deleted while it waited (PBS lists its array, and says nothing about it)"
    seen = Observation(native_id, JobState.CANCELED, "X", reason=Reason.CANCELED, message=message)
    return seen, True


_LOG_HINTS = (
    (r"job killed: (?:v?mem|pmem|pvmem)\b.* exceeded", _MEMORY),
    (r"[Cc]group mem\w* limit exceeded|oom[-_]kill|Out of memory", _MEMORY),
    (r"job killed: walltime\b.* exceeded", _TIMEOUT),
    (r"job killed: .*\bexceeded limit", _SCHEDULER),
    (r"job killed: node \d+ \(\S*\) requested job (?:die|terminate)", _NODE),
)


def read_log(text: str) -> Hint | None:
    """Read what pbs_mom, or its hook for control groups, wrote into a job's log."""
    for line in text.split("\n"):
        if not line.startswith(("=>> PBS:", "Cgroup ", "Job ", "pbs_mom")):
            continue
        for pattern, (reason, message) in _LOG_HINTS:
            if re.search(pattern, line):
                return Hint(reason, f"{message} (PBS says: {line.strip()})")
    return None


def _log(record: Record) -> str | None:
    """The path of a job's log."""
    said = read_variables(record, (LOG_VARIABLE,)).get(LOG_VARIABLE)
    if said is not None:
        return decode(said)
    path = attribute(record, "Output_Path")
    if path is None:
        return None
    host, colon, rest = path.partition(":")
    return rest if colon and "/" not in host else path


def _indices(record: Record) -> Iterator[int]:
    """The numbers of an array's elements."""
    text = attribute(record, "array_indices_submitted") or attribute(record, "job_array_request")
    for first, last in re.findall(r"(\d{1,6})(?:-(\d{1,6}))?", text or ""):
        yield from range(int(first), int(last or first) + 1)


def parse_logs(result: CommandResult) -> dict[str, str]:
    """Read the logs of jobs; of an array, those of its elements."""
    found: dict[str, str] = {}
    for name, record in read_records(result.stdout).items():
        log = _log(record)
        if log is None:
            continue
        base, bracket, server = name.partition("[]")
        stem = log.removesuffix(".log")
        if not bracket:
            index = re.search(r"\[(\d+)\]", name)
            if index is not None and LOG_VARIABLE in read_variables(record, (LOG_VARIABLE,)):
                log = f"{stem}_{index[1]}.log"
            found[name] = log
            continue
        stem = stem.removesuffix("_^array_index^")
        for each in _indices(record):
            found[f"{base}[{each}]{server}"] = f"{stem}_{each}.log"
    return found


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _time(record: Record, *names: str) -> datetime | None:
    """The first of these times, of the form ``Sun Nov  2 16:46:02 2026`` in any locale of ours."""
    for name in names:
        words = (attribute(record, name) or "").split()
        if len(words) == 5 and words[1] in _MONTHS:
            month = _MONTHS.index(words[1]) + 1
            try:
                return datetime.fromisoformat(
                    f"{words[4]:0>4}-{month:02}-{words[2]:0>2} {words[3]}"
                )
            except ValueError:
                continue
    return None


_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40, "p": 2**50}


def _bytes(text: object) -> int | None:
    match = re.fullmatch(r"(\d+)([kmgtp]?)([bw])", str(text).lower(), re.ASCII)
    return int(match[1]) * _UNITS[match[2]] * (8 if match[3] == "w" else 1) if match else None


def parse_details(result: CommandResult, codes: Codes) -> list[Details]:
    """Read all about jobs."""
    found = []
    for name, record in read_records(result.stdout).items():
        native_id = asked_as(name, result.command)
        seen = _observation(native_id, record, codes)
        if seen is None or "[]" in number(name):
            continue
        waits = seen.state is JobState.QUEUED
        estimated = _part(record, "estimated", "start_time")
        info = JobInfo(
            owner=(attribute(record, "Job_Owner") or "").partition("@")[0] or None,
            submit_host=attribute(record, "Submit_Host") or attribute(record, "submit_host"),
            submission_time=_time(record, "ctime", "qtime"),
            dispatch_time=None if waits else _time(record, "stime", "start_time"),
            wall_time=_seconds(_part(record, "resources_used", "walltime")) or 0,
            cpu_time=_seconds(_part(record, "resources_used", "cput")),
            resourcelist=seen.nodes,
            queue_name=attribute(record, "queue"),
            max_memory=_bytes(_part(record, "resources_used", "mem")),
            reason=seen.cause,
            estimated_start=str(estimated) if estimated and waits else None,
            priority=_whole(record.get("Priority")),
        )
        held = seen.word == "H" and "u" in (attribute(record, "Hold_Types") or "")
        found.append(Details(seen, info, _spec(record), held))
    return found


def _spec(record: Record) -> JobSpec:
    name = read_variables(record, (NAME_VARIABLE,)).get(NAME_VARIABLE)
    limit = _seconds(_part(record, "Resource_List", "walltime"))
    nodes = _whole(_part(record, "Resource_List", "nodect"))
    place = str(_part(record, "Resource_List", "place") or "")
    if place and "scatter" not in place:
        nodes = None  # it is the number of chunks
    return JobSpec(
        name=decode(name) if name is not None else attribute(record, "Job_Name"),
        resources=ResourceSpecV1(
            node_count=nodes if nodes and nodes > 0 else None, exclusive_node_use="excl" in place
        ),
        attributes=JobAttributes(
            timedelta(seconds=limit) if limit else None,
            attribute(record, "queue"),
            attribute(record, "Account_Name"),
        ),
    )
