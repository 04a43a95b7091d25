"""What Cobalt's qstat prints, and what Cobalt writes into a job's log.

Source: the source text of Cobalt 1.0 (print_vertical in Util.py; qstat.py; __get_job_state in
cqm.py), and what these programs print.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

from exaworks.psij.executors.batch import Details, Hint, Observation
from exaworks.psij.job_attributes import JobAttributes
from exaworks.psij.job_info import JobInfo
from exaworks.psij.job_spec import JobSpec
from exaworks.psij.job_state import JobState
from exaworks.psij.job_status import Reason
from exaworks.psij.resource_spec import ResourceSpecV1
from exaworks.psij.runner import CommandResult

__all__ = ["NEVER", "QUERY_HEADER", "parse_details", "parse_query", "read_log", "records"]

QUERY_HEADER = "JobID:State:Location"
"""For ``qstat --header``."""

NEVER = "dep_fail"
"""The state of a job whose dependency has failed; it would wait for ever."""

_WAITING = ("queued", "user_hold", "admin_hold", "dep_hold", "maxrun_hold", "preempted")
_BEGUN = ("running", "preempting", "killing", "exiting", "done")
# "starting": Cobalt runs its prologue scripts, and not yet the job's.
_STATES = {
    **dict.fromkeys((*_WAITING, "starting"), JobState.QUEUED),
    **dict.fromkeys(_BEGUN, JobState.ACTIVE),
    NEVER: JobState.CANCELED,
}
_HOLDS = ("user_hold", "admin_hold")
_NOTHING = ("", "None", "N/A", "-")


def records(text: str) -> list[dict[str, str]]:
    """The jobs that ``qstat -l`` tells about, each beginning with a line ``JobID: ...``.

    Lines of other kinds, which may be continuations of a value, are passed over.
    """
    found: list[dict[str, str]] = []
    for line in text.split("\n"):
        first = re.fullmatch(r"JobI[Dd]: +(\d+) *", line, re.ASCII)
        if first is not None:
            found.append({"JobID": first[1]})
            continue
        value = re.match(r" {4}(\w+) *: (.*)$", line, re.ASCII)
        if value is not None and found:
            found[-1].setdefault(value[1], value[2].strip())
    return found


def _observation(record: dict[str, str]) -> Observation:
    word = record.get("State", "")
    nodes = record.get("Location", "")
    location = None if nodes in _NOTHING else nodes
    native_id, state = record["JobID"], _STATES.get(word.lower())
    if word.lower() == NEVER:
        message = "a job that it waited for has ended the other way (Cobalt says dep_fail)"
        return Observation(
            native_id, state, NEVER, reason=Reason.DEPENDENCY, cause=word, message=message
        )
    waits = word if word.lower().endswith("hold") else None
    return Observation(native_id, state, word, cause=waits, nodes=location)


def parse_query(result: CommandResult) -> list[Observation]:
    """Read what qstat printed of :data:`QUERY_HEADER`."""
    return [_observation(record) for record in records(result.stdout)]


_TIMEOUT = re.compile(r"maximum execution time exceeded; initiating job (?:termination|cleanup)")


def read_log(text: str) -> Hint | None:
    """Read what Cobalt wrote into a job's log (``qsub --debuglog``)."""
    for line in text.split("\n"):
        if _TIMEOUT.search(line):
            message = f"ran longer than its time limit (Cobalt says: {line.strip()})"
            return Hint(Reason.TIMEOUT, message)
    return None


def _seconds(text: str) -> int | None:
    match = re.fullmatch(r"(?:(\d+)d )?(\d+):(\d\d):(\d\d)", text, re.ASCII)
    if match is None:
        return None
    days, hours, minutes, seconds = (int(group or 0) for group in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _time(text: str) -> datetime | None:
    """A time like ``Fri Mar 29 14:26:41 2024 +0000 (UTC)``, as a local time."""
    match = re.match(r"\w{3} (\w{3} +\d+ [\d:]{8} \d{4})(?: ([+-]\d\d)(\d\d))?", text, re.ASCII)
    if match is None:
        return None
    try:
        found = datetime.strptime(match[1], "%b %d %H:%M:%S %Y")
    except ValueError:
        return None
    if match[2] is None:
        return found
    minutes = int(match[2]) * 60 + int(match[2][0] + match[3])
    zone = timezone(timedelta(minutes=minutes))
    return found.replace(tzinfo=zone).astimezone().replace(tzinfo=None)


def _count(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and text != "0" else None


def parse_details(result: CommandResult) -> list[Details]:
    """Read what ``qstat -f -l`` printed."""
    return [_details(record) for record in records(result.stdout)]


def _details(record: dict[str, str]) -> Details:
    seen = _observation(record)

    def of(name: str) -> str | None:
        value = record.get(name, "")
        return None if value in _NOTHING else value

    info = JobInfo(
        owner=of("User"),
        submission_time=_time(of("SubmitTime") or ""),
        dispatch_time=_time(of("StartTime") or ""),
        wall_time=_seconds(of("RunTime") or "") or 0,
        resourcelist=seen.nodes,
        queue_name=of("Queue"),
        reason=seen.cause,
        estimated_start=of("Est_Start_Time"),
    )
    nodes, processes = _count(of("Nodes") or ""), _count(of("Procs") or "")
    even = nodes and processes and processes % nodes == 0
    limit = _seconds(of("WallTime") or "")
    directory = of("OutputDir") or ""
    spec = JobSpec(
        directory=directory if directory.startswith("/") else None,
        name=of("JobName"),
        resources=ResourceSpecV1(node_count=nodes, process_count=processes if even else None),
        attributes=JobAttributes(
            timedelta(seconds=limit) if limit else None, of("Queue"), of("Project")
        ),
    )
    return Details(seen, info, spec, held=seen.word in _HOLDS)
