"""What NQSV's qstat prints, and what NQSV writes into a job's log.

Sources: the output of these programs on several sites, and NQSV User's Guide [Operation].
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from exaworks.psij.executors.batch import Answer, Details, Hint, Observation
from exaworks.psij.job_attributes import JobAttributes
from exaworks.psij.job_info import JobInfo
from exaworks.psij.job_spec import JobSpec
from exaworks.psij.job_state import JobState
from exaworks.psij.job_status import Reason
from exaworks.psij.resource_spec import ResourceSpecV1
from exaworks.psij.runner import CommandResult

__all__ = [
    "QUERY_ITEMS",
    "listed",
    "look_again",
    "parse_details",
    "parse_logs",
    "parse_query",
    "read_log",
]

QUERY_ITEMS = "rid,stt"
"""For ``qstat -F``: the request's id and its state."""

# The second word of each is how "qstat -f" writes the state.
_WAITING = (
    "QUE Queued", "WAI Waiting", "WAT Waiting", "HLD Held", "HOL Holding", "ARI Arriving",
    "ARR Arriving", "TRS Transiting", "FWD Forwarding", "GQD Group-Queued", "ASG Assigned",
    "STG Staging", "PRR Pre-running", "MIG Migrating",
)  # fmt: skip
_BEGUN = (
    "RUN Running", "SUS Suspended", "SUS Suspending", "RSM Resuming", "CHK Checkpointing",
    "EXT Exiting", "POR Post-running",
)  # fmt: skip
_STATES = {
    word: state
    for state, words in ((JobState.QUEUED, _WAITING), (JobState.ACTIVE, _BEGUN))
    for pair in words
    for word in pair.split()
}
_HELD = ("HLD", "HOL", "Held", "Holding")
_NOTHING = ("", "(none)", "---", "UNLIMITED")

_ROW = re.compile(
    r"\s*(\d+(?:\[\d*\])?)((?:\.[A-Za-z0-9._-]+)?)\s+(?:\S+\s+\S+\s+\S+\s+\S+\s+)?([A-Z]{3})\b",
    re.ASCII,
)


def listed(text: str) -> list[tuple[str, str, str]]:
    """The requests in the answer of qstat: number, host with its dot, and state.

    Both the columns of ``-F rid,stt`` and those that qstat has by default are understood.
    """
    found = []
    for line in text.split("\n"):
        match = _ROW.match(line)
        if match is not None:
            found.append((match[1], match[2], match[3]))
    return found


def _number(native_id: str) -> str:
    return native_id.partition(".")[0]


def _names(result: CommandResult) -> dict[str, str]:
    """The native ids that were asked about, by number: a host may be written in several ways."""
    return {_number(native_id): native_id for native_id in result.command.scope.split()}


def parse_query(result: CommandResult) -> Answer:
    """Read what qstat printed of :data:`QUERY_ITEMS`."""
    names, found, skipped = _names(result), [], []
    for line in result.stdout.split("\n"):
        rows = listed(line)
        for number, host, word in rows:
            native_id = names.get(number, f"{number}{host}")
            found.append(Observation(native_id, _STATES.get(word), word))
        if not rows and re.match(r"\s*\d", line):
            skipped.append(line)
    return Answer(found, skipped=skipped)


def look_again(native_id: str, told: Mapping[str, Observation]) -> tuple[Observation | None, bool]:
    """See :meth:`SchedulerAdapter.look_again`.

    NQSV makes the elements of an array one after the other. As long as the whole is listed, an
    element that is not may still be to come, or have ended.
    """
    number, _, rest = native_id.partition("[")
    if not rest:
        return None, False
    for name, array in told.items():
        if name.startswith(f"{number}[]"):
            return replace(array, native_id=native_id, state=None), False
    return None, False


_TIMEOUT = re.compile(r"%NQSV\(INFO\).*\(Exceeded per-\w+ elapse time limit\)")
_OVER = re.compile(r"%NQSV\(INFO\).*\(Exceeded per-\w+ (.*) limit\)")


def read_log(text: str) -> Hint | None:
    """Read what NQSV wrote into a job's log after it had killed the job."""
    for line in text.split("\n"):
        said = f"(NQSV says: {line.strip()})"
        if _TIMEOUT.search(line):
            return Hint(Reason.TIMEOUT, f"ran longer than its time limit {said}")
        over = _OVER.search(line)
        if over is not None:
            reason = Reason.OUT_OF_MEMORY if "memory" in over[1].lower() else Reason.SIGNAL
            return Hint(reason, f"was killed because of its limit on {over[1]} {said}")
    return None


def _records(text: str) -> list[dict[str, str]]:
    """The requests that ``qstat -f`` tells about: lines ``name = value`` after ``Request ID:``."""
    found: list[dict[str, str]] = []
    hosts = False
    for line in text.split("\n"):
        first = re.match(r"Request ID: *(\S+)", line)
        if first is not None:
            found.append({"Request ID": first[1]})
        if not found:
            continue
        name, equals, value = (part.strip() for part in line.partition(" ="))
        if equals:
            found[-1].setdefault(name, value)
        elif hosts and (host := re.fullmatch(r"\s+(\S+)\(\d+\)\s*", line)) is not None:
            known = found[-1].get("Hosts")
            found[-1]["Hosts"] = f"{known},{host[1]}" if known else host[1]
            continue
        hosts = line.strip().startswith("Execution Hosts")
    return found


def parse_logs(result: CommandResult) -> dict[str, str]:
    """Read what ``qstat -f`` printed: the log is ``Stdout``, after the name of a host."""
    return {
        record["Request ID"]: record.get("Stdout", "").partition(":")[2]
        for record in _records(result.stdout)
    }


def _time(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, "%a %b %d %H:%M:%S %Y")
    except ValueError:
        return None


def _count(text: str) -> int | None:
    match = re.match(r"(\d+)", text, re.ASCII)
    return int(match[1]) if match is not None and match[1] != "0" else None


def parse_details(result: CommandResult) -> list[Details]:
    """Read what ``qstat -f`` printed."""
    return [_details(record) for record in _records(result.stdout)]


def _details(record: Mapping[str, str]) -> Details:
    def of(name: str) -> str:
        value = record.get(name, "")
        return "" if value in _NOTHING else value

    word, cause = of("Current State"), of("State Transition Reason")
    state, nodes = _STATES.get(word), of("Hosts") or None
    seen = Observation(of("Request ID"), state, word, cause=cause or None, nodes=nodes)
    planned = _time(of("Planned Start Time"))
    waits = state is JobState.QUEUED
    info = JobInfo(
        owner=of("User  Name") or None,
        submission_time=_time(of("Created Request Time")),
        dispatch_time=_time(of("Started Request Time")),
        wall_time=_count(of("Elapse")) or 0,
        resourcelist=nodes,
        queue_name=of("Queue").partition("@")[0] or None,
        reason=cause or None,
        estimated_start=planned.isoformat() if waits and planned is not None else None,
        priority=_count(of("Request Priority")),
    )
    elapse = re.match(r"Max: +(\d+)S", of("(Per-Req) Elapse Time Limit"), re.ASCII)
    spec = JobSpec(
        name=of("Request Name") or None,
        resources=ResourceSpecV1(node_count=_count(of("Number of Jobs"))),
        attributes=JobAttributes(
            timedelta(seconds=int(elapse[1])) if elapse is not None else None,
            info.queue_name,
            of("Account Code") or None,
            of("Reservation ID") or None,
        ),
    )
    return Details(seen, info, spec, held=word in _HELD)
