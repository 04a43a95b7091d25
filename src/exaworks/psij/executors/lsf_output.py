"""What bjobs, bsub and other commands of LSF print.

Sources: the command reference of IBM Spectrum LSF 10.1, bjobs(1); "Termination reasons displayed
by bacct, bhist, and bjobs" in its administration guide; and what these programs print.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from exaworks.psij.executors.batch import Answer, Details, Observation, Site
from exaworks.psij.job_attributes import JobAttributes
from exaworks.psij.job_info import JobInfo
from exaworks.psij.job_spec import JobSpec
from exaworks.psij.job_state import JobState
from exaworks.psij.job_status import Reason
from exaworks.psij.resource_spec import ResourceSpecV1
from exaworks.psij.runner import CommandResult

__all__ = [
    "DETAILS_FIELDS",
    "LOGS_FIELDS",
    "QUERY_FIELDS",
    "parse_details",
    "parse_list",
    "parse_logs",
    "parse_query",
    "parse_site",
    "records",
]

QUERY_FIELDS = "jobid jobindex stat exit_code exit_reason exec_host"
"""For ``bjobs -json -o``."""

LOGS_FIELDS = "jobid jobindex job_description"
"""For ``bjobs -json -o``."""

DETAILS_FIELDS = (
    f"{QUERY_FIELDS} user submit_time start_time queue proj_name job_name run_time runtimelimit "
    "pend_reason suspend_reason job_priority nreq_slot sub_cwd"
)
"""For ``bjobs -json -o``."""

_MOST_ELEMENTS = 1000  # the default of MAX_JOB_ARRAY_SIZE, lsb.params(5)

_QUEUED, _ACTIVE, _FAILED = JobState.QUEUED, JobState.ACTIVE, JobState.FAILED
_CANCELED = JobState.CANCELED
# UNKWN: LSF has lost contact with the node, and may find it again. ZOMBI: it was killed then.
_STATES = {
    **dict.fromkeys(("PEND", "PSUSP", "WAIT", "PROV", "FWD_PEND"), _QUEUED),
    **dict.fromkeys(("RUN", "USUSP", "SSUSP", "UNKWN", "ZOMBI"), _ACTIVE),
    "DONE": JobState.COMPLETED,
    "EXIT": _FAILED,
}

_BY_SOMEBODY = (_CANCELED, Reason.CANCELED, "was cancelled")
_LONG = (_FAILED, Reason.TIMEOUT, "ran longer than its time limit")
_MEMORY = (_FAILED, Reason.OUT_OF_MEMORY, "used more memory than it was allowed")
_PREEMPTED = (_FAILED, Reason.PREEMPTED, "was preempted")
_NODE = (_FAILED, Reason.NODE_FAILURE, "a node of the job failed")
_LAUNCH = (_FAILED, Reason.LAUNCH, "the job could not be launched")
_ENDS: Mapping[str, tuple[JobState, str, str]] = {
    "TERM_OWNER": _BY_SOMEBODY,
    "TERM_FORCE_OWNER": _BY_SOMEBODY,
    "TERM_ADMIN": _BY_SOMEBODY,
    "TERM_FORCE_ADMIN": _BY_SOMEBODY,
    "TERM_BUCKET_KILL": _BY_SOMEBODY,
    "TERM_RUNLIMIT": _LONG,
    "TERM_DEADLINE": (_FAILED, Reason.TIMEOUT, "reached its deadline"),
    "TERM_WINDOW": (_FAILED, Reason.TIMEOUT, "was running when its queue closed"),
    "TERM_CPULIMIT": (_FAILED, Reason.TIMEOUT, "used more CPU time than it was allowed"),
    "TERM_MEMLIMIT": _MEMORY,
    "TERM_SWAP": _MEMORY,
    "TERM_PREEMPT": _PREEMPTED,
    "TERM_RC_RECLAIM": _PREEMPTED,
    "TERM_LOAD": (_FAILED, Reason.PREEMPTED, "was killed because of the load of its node"),
    "TERM_REMOVE_HUNG_JOB": _NODE,
    "TERM_CSM_ALLOC": _LAUNCH,
    "TERM_CWD_NOTEXIST": _LAUNCH,
    "TERM_PRE_EXEC_FAIL": _LAUNCH,
    "TERM_DATA": (_FAILED, Reason.STAGING, "its data could not be brought"),
    "TERM_ORPHAN_SYSTEM": (
        _CANCELED,
        Reason.DEPENDENCY,
        "a job that it waited for has ended the other way",
    ),
}

_ID = re.compile(r"(\d+)(?:\[(\d+)\])?", re.ASCII)
_NONE = re.compile(r"is not found|No (?:\w+ )?jobs? found|Unknown user", re.IGNORECASE)


def records(result: CommandResult) -> list[dict[str, str]] | None:
    """The jobs that ``bjobs -json`` tells about; ``None`` if there is no such answer.

    Messages before it are passed over. A job that is not known is a record with ``ERROR``.
    """
    decoder = json.JSONDecoder(strict=False)
    for match in re.finditer(r"^\{", result.stdout, re.MULTILINE):
        try:
            answer, _ = decoder.raw_decode(result.stdout, match.start())
        except ValueError:
            continue
        found = answer.get("RECORDS")
        if isinstance(found, list):
            return [
                {str(key).upper(): _text(value) for key, value in record.items()}
                for record in found
                if isinstance(record, dict)
            ]
    return None


def _text(value: Any) -> str:
    return "" if value is None or value == "-" else str(value).strip()


def _native_id(record: Mapping[str, str]) -> str | None:
    """The job's id. With ``LSB_BJOBS_DISPLAY_ENH`` the index is a part of ``JOBID``."""
    match = _ID.fullmatch(record.get("JOBID", ""))
    if match is None or "ERROR" in record:
        return None
    index = match[2] or record.get("JOBINDEX", "")
    if not index or index == "0":
        return match[1]
    return f"{match[1]}[{index}]" if index.isascii() and index.isdigit() else None


def _hosts(text: str) -> str | None:
    """The hosts in a text like ``4*hostA:hostB:hostB``, each once."""
    names = (part.rpartition("*")[2] for part in text.split(":"))
    return ",".join(dict.fromkeys(name for name in names if name)) or None


def _observation(native_id: str, record: Mapping[str, str]) -> Observation:
    word = record.get("STAT", "")
    state, nodes = _STATES.get(word), _hosts(record.get("EXEC_HOST", ""))
    if state is None or not state.final:
        waits = record.get("PEND_REASON") or record.get("SUSPEND_REASON") or None
        return Observation(native_id, state, word, cause=waits, nodes=nodes)
    if state is JobState.COMPLETED:
        return Observation(native_id, state, word, 0, nodes=nodes)
    said = record.get("EXIT_REASON", "")
    cause = said.partition(":")[0].strip() if said.startswith("TERM_") else (said or None)
    state, reason, message = _ENDS.get(cause or "", (_FAILED, None, None))
    code = record.get("EXIT_CODE", "")
    number = int(code) if code.isascii() and code.isdigit() and code != "0" else None
    signal = number - 128 if number is not None and 128 < number <= 159 else None
    if message is not None:
        message = f"{message} (LSF says {said})"
    return Observation(native_id, state, word, number, signal, reason, cause, message, nodes)


def _each(result: CommandResult) -> Iterator[tuple[str, dict[str, str]]]:
    for record in records(result) or ():
        native_id = _native_id(record)
        if native_id is not None:
            yield native_id, record


def parse_query(result: CommandResult) -> Answer | None:
    """Read what bjobs printed of :data:`QUERY_FIELDS`; ``None`` if it did not answer."""
    found = records(result)
    if found is None:
        none = result.returncode is not None and _NONE.search(result.stdout + result.stderr)
        return Answer() if none else None
    seen, skipped = [], []
    for record in found:
        native_id = _native_id(record)
        if native_id is not None:
            seen.append(_observation(native_id, record))
        elif "ERROR" not in record:
            skipped.append(json.dumps(record))
    return Answer(seen, skipped=skipped)


def parse_list(result: CommandResult) -> list[str]:
    """Read the ids of jobs that have not ended."""
    return [
        native_id
        for native_id, record in _each(result)
        if not (state := _STATES.get(record.get("STAT", ""))) or not state.final
    ]


def parse_logs(result: CommandResult) -> dict[str, str]:
    """Read what bjobs printed of :data:`LOGS_FIELDS`: the log's path is the description."""
    found = {}
    for native_id, record in _each(result):
        index = native_id.partition("[")[2].rstrip("]")
        path = record.get("JOB_DESCRIPTION", "")
        if path.endswith(".log"):
            found[native_id] = f"{path[: -len('%I.log')]}{index}.log" if index else path
    return found


def parse_site(result: CommandResult) -> Site | None:
    """Read what ``lsid``, ``bparams -a`` and ``bqueues -l`` printed."""
    name = re.search(r"^My cluster name is (\S+)", result.stdout, re.MULTILINE)
    if name is None:
        return None
    limit = re.search(r"\bMAX_JOB_ARRAY_SIZE\s*=\s*(\d{1,9})\b", result.stdout, re.ASCII)
    codes: set[int] = set()
    for line in re.findall(r"^\s*REQUEUE_EXIT_VALUES:?(.*)$", result.stdout, re.MULTILINE):
        kept = re.sub(r"~\d+", "", re.sub(r"EXCLUDE\(([^)]*)\)", r"\1", line))
        codes.update(range(1, 256) if "all" in kept else map(int, re.findall(r"\d{1,3}", kept)))
    return Site(name[1], int(limit[1]) if limit else _MOST_ELEMENTS, frozenset(codes))


def _time(text: str, now: datetime) -> datetime | None:
    """A time like ``Dec 28 19:56 L`` or ``Apr 12 18:10:00 2026``.

    LSF leaves the year out unless ``LSB_DISPLAY_YEAR`` is set: it is the last one that does not
    make the time lie in the future.
    """
    match = re.match(r"([A-Z][a-z]{2}) +(\d+) (\d+:\d+)(:\d+)?(?: (\d{4}))?(?: [A-Z])?$", text)
    if match is None:
        return None
    month, day, clock, seconds, year = match.groups()
    words = f"{day} {clock}{seconds or ':00'} {month}"
    try:
        if year:
            return datetime.strptime(f"{words} {year}", "%d %H:%M:%S %b %Y")
        # the leap year, so that the 29th of February is a day
        found = datetime.strptime(f"{words} 2000", "%d %H:%M:%S %b %Y")
        this_year = found.replace(year=now.year)
        early = this_year <= now + timedelta(days=1)
        return this_year if early else found.replace(year=now.year - 1)
    except ValueError:
        return None


def _seconds(text: str, unit: int) -> int | None:
    """Seconds from ``00:10:00``, ``16038 second(s)`` or ``60.0/hostA``; ``unit``: of bare ones."""
    match = re.match(r"(\d+):(\d\d):(\d\d)$", text, re.ASCII)
    if match is not None:
        return (int(match[1]) * 60 + int(match[2])) * 60 + int(match[3])
    number = re.match(r"(\d+(?:\.\d+)?)( second)?", text, re.ASCII)
    if number is None:
        return None
    return round(float(number[1]) * (1 if number[2] else unit))


def _count(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None


def parse_details(result: CommandResult, now: datetime) -> list[Details]:
    """Read what bjobs printed of :data:`DETAILS_FIELDS`.

    Args:
        result: the answer.
        now: the time, to find out about years.
    """
    return [_details(native_id, record, now) for native_id, record in _each(result)]


def _details(native_id: str, record: Mapping[str, str], now: datetime) -> Details:
    seen = _observation(native_id, record)
    waits = seen.state is _QUEUED

    def of(name: str) -> str:
        return record.get(name, "")

    info = JobInfo(
        owner=of("USER") or None,
        submission_time=_time(of("SUBMIT_TIME"), now),
        dispatch_time=None if waits else _time(of("START_TIME"), now),
        wall_time=_seconds(of("RUN_TIME"), 1) or 0,
        resourcelist=seen.nodes,
        queue_name=of("QUEUE") or None,
        reason=seen.cause,
        priority=_count(of("JOB_PRIORITY")),
    )
    limit = _seconds(of("RUNTIMELIMIT"), 60)
    attributes = JobAttributes(
        timedelta(seconds=limit) if limit else None, of("QUEUE") or None, of("PROJ_NAME") or None
    )
    name = re.sub(r"\[[^]]*\](?:%\d+)?$", "", of("JOB_NAME"))
    directory = of("SUB_CWD")
    spec = JobSpec(
        directory=directory if directory.startswith("/") else None,
        name=name or None,
        resources=ResourceSpecV1(process_count=_count(of("NREQ_SLOT")) or None),
        attributes=attributes,
    )
    return Details(seen, info, spec, held=seen.word == "PSUSP")
