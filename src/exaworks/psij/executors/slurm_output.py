"""What Slurm's commands print, and what it means.

Sources: squeue(1), sacct(1) and scontrol(1) of Slurm 22.05 to 24.11, and what these programs print.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from exaworks.psij.executors.batch import Answer, Details, Hint, Observation, Site
from exaworks.psij.job_attributes import JobAttributes
from exaworks.psij.job_info import JobInfo
from exaworks.psij.job_spec import JobSpec
from exaworks.psij.job_state import JobState
from exaworks.psij.job_status import Reason
from exaworks.psij.resource_spec import ResourceSpecV1
from exaworks.psij.runner import CommandResult

__all__ = [
    "ACCOUNTING_FORMAT",
    "DETAILS_FORMAT",
    "LIST_FORMAT",
    "LOGS_FORMAT",
    "QUERY_FORMAT",
    "look_again",
    "parse_accounting",
    "parse_details",
    "parse_list",
    "parse_logs",
    "parse_query",
    "parse_site",
    "read_log",
]

_QUEUED, _ACTIVE, _FAILED = JobState.QUEUED, JobState.ACTIVE, JobState.FAILED
_ALIVE: Mapping[JobState, str] = {
    _QUEUED: (
        "PENDING CONFIGURING POWER_UP_NODE REQUEUED REQUEUE_FED REQUEUE_HOLD RESV_DEL_HOLD "
        "SPECIAL_EXIT EXPEDITING"
    ),
    _ACTIVE: "RUNNING SUSPENDED STOPPED SIGNALING RESIZING COMPLETING STAGE_OUT",
}
_STATES: Mapping[str, tuple[JobState, str | None, str | None]] = {
    **{word: (state, None, None) for state, words in _ALIVE.items() for word in words.split()},
    "COMPLETED": (JobState.COMPLETED, None, None),
    "CANCELLED": (JobState.CANCELED, Reason.CANCELED, "was cancelled"),
    "FAILED": (_FAILED, None, None),
    "TIMEOUT": (_FAILED, Reason.TIMEOUT, "ran longer than its time limit"),
    "DEADLINE": (_FAILED, Reason.TIMEOUT, "reached its deadline"),
    "NODE_FAIL": (_FAILED, Reason.NODE_FAILURE, "a node of the job failed"),
    "BOOT_FAIL": (_FAILED, Reason.NODE_FAILURE, "a node of the job could not be booted"),
    "RECONFIG_FAIL": (_FAILED, Reason.NODE_FAILURE, "a node could not be reconfigured"),
    "LAUNCH_FAILED": (_FAILED, Reason.LAUNCH, "the job could not be launched"),
    "PREEMPTED": (_FAILED, Reason.PREEMPTED, "was preempted by a job of higher priority"),
    "OUT_OF_MEMORY": (_FAILED, Reason.OUT_OF_MEMORY, "used more memory than it had asked for"),
}
_HOLDS = ("JobHeldUser", "JobHeldAdmin", "JobHoldMaxRequeue", "job requeued in held state")
_NOTHING = ("", "None", "None assigned", "(null)", "n/a", "N/A")
_LAUNCH_FAILURE = 53  # stands in the place of a signal for a script that could not be started

_QUERY_FIELDS = ("JobArrayID", "State", "exit_code", "RestartCnt", "NodeList", "Reason")
_DETAILS_FIELDS = (
    *_QUERY_FIELDS,
    "UserName",
    "SubmitTime",
    "StartTime",
    "TimeUsed",
    "TimeLimit",
    "Partition",
    "Account",
    "Reservation",
    "PriorityLong",
    "NumNodes",
    "NumTasks",
    "cpus-per-task",
    "OverSubscribe",
    "WorkDir",
    "Name",
)

QUERY_FORMAT = ",".join(f"{name}:|" for name in _QUERY_FIELDS)
"""For ``squeue -O``."""

ACCOUNTING_FORMAT = "JobID,State,ExitCode,NodeList,Reason"
"""For ``sacct -P -o``."""

LIST_FORMAT = "%i|%T"
"""For ``squeue -o``."""

LOGS_FORMAT = "JobArrayID:|,STDOUT:"
"""For ``squeue -O``."""

# Unit and record separators: names and directories may contain anything that one can type.
DETAILS_FORMAT = ",".join(f"{name}:\x1f" for name in _DETAILS_FIELDS[:-1]) + ",Name:\x1e"
"""For ``squeue -O``."""


def _given(text: str) -> str | None:
    return None if text in _NOTHING else text


def _exit(status: str) -> tuple[int, int]:
    """Exit code and signal from ``"code:signal"``, or from a wait status as a number."""
    code, colon, signal = status.partition(":")
    if colon:
        return int(code), int(signal)
    return int(code) >> 8 & 0xFF, int(code) & 0x7F


def _observation(
    native_id: str, word: str, status: str, nodes: str, cause: str | None, restarts: int = 0
) -> Observation:
    """What Slurm's words about a job mean."""
    word, _, user = word.partition(" by ")
    state, reason, message = _STATES.get(word, (None, None, None))
    if cause == "TimeLimit":
        reason = Reason.TIMEOUT
    elif cause == "DependencyNeverSatisfied" and state is JobState.CANCELED:
        reason, message = Reason.DEPENDENCY, "a job that it waited for has ended the other way"
    if state is None or not state.final:
        return Observation(
            native_id, state, word, reason=reason, cause=cause, nodes=nodes, restarts=restarts
        )
    code, signal = _exit(status)
    exit_code: int | None = 128 + signal if signal else code
    if state is not JobState.COMPLETED and not exit_code:
        exit_code = None  # Slurm ended it, or it never began
    if state is _FAILED and signal == _LAUNCH_FAILURE:
        exit_code, signal, reason = None, 0, Reason.LAUNCH
        message = (
            "the job's script could not be started; usually a folder that it needs is missing or "
            "cannot be written to on the node"
        )
    elif state is _FAILED and cause == "OutOfMemory":
        _, reason, message = _STATES["OUT_OF_MEMORY"]
    if message is not None:
        by = f" by user {user}" if user else ""
        message = f"{message} (Slurm says {word}{by}{f', {cause}' if cause else ''})"
    return Observation(
        native_id, state, word, exit_code, signal or None, reason, cause, message, nodes, restarts
    )


def _bare(native_id: str) -> str:
    if re.fullmatch(r"\d+(?:_\d+)?", native_id, re.ASCII) is None:
        raise ValueError(native_id)
    return native_id


def _expand(text: str) -> list[str]:
    """The ids that an id like ``4_[0-2,7%2]`` stands for."""
    match = re.fullmatch(r"(\d+)_\[([\d,-]+)(?:%\d+)?\]", text, re.ASCII)
    if match is None:
        return [_bare(text)]
    ids = []
    for part in match[2].split(","):
        first, _, last = part.partition("-")
        ids += [f"{match[1]}_{i}" for i in range(int(first), int(last or first) + 1)]
    return ids


def _full(bare: str, result: CommandResult) -> str:
    """The native id of a job of the cluster that was asked."""
    return f"{bare};{result.command.scope}" if result.command.scope else bare


def _read(result: CommandResult, read: Callable[[str], Iterator[Observation]]) -> Answer:
    """Read lines; those that cannot be read do not harm the others.

    The programs end each line, so that a last line without an end says that more is missing.
    """
    found: list[Observation] = []
    skipped: list[str] = []
    *lines, rest = result.stdout.split("\n")
    problem = f"the answer is cut off: {rest[-200:]!r}" if rest else None
    for line in lines:
        if not line.strip() or line.startswith("CLUSTER: "):
            continue
        try:
            found += read(line)
        except ValueError:
            skipped.append(line)
    return Answer(found, problem, skipped=skipped)


def parse_query(result: CommandResult) -> Answer:
    """Read what squeue printed in :data:`QUERY_FORMAT`."""

    def read(line: str) -> Iterator[Observation]:
        bare, word, status, restarts, nodes, cause = line.split("|", 5)
        yield _observation(
            _full(_bare(bare), result),
            word,
            status,
            _given(nodes) or "",
            _given(cause.rstrip("|").strip()),
            int(restarts),
        )

    return _read(result, read)


def parse_accounting(result: CommandResult) -> Answer:
    """Read what sacct printed in :data:`ACCOUNTING_FORMAT`."""

    def read(line: str) -> Iterator[Observation]:
        name, word, status, nodes, cause = line.split("|", 4)
        for bare in _expand(name):
            yield _observation(
                _full(bare, result), word, status, _given(nodes) or "", _given(cause.strip())
            )

    return _read(result, read)


def parse_list(result: CommandResult) -> list[str]:
    """Read what squeue printed in :data:`LIST_FORMAT`: the ids of jobs that have not ended."""
    ids = []
    for line in result.stdout.split("\n"):
        bare, separator, word = line.strip().partition("|")
        state = _STATES.get(word, (None,))[0]
        known = separator and re.fullmatch(r"\d+(?:_\d+)?", bare, re.ASCII)
        if known and not (state and state.final):
            ids.append(bare)
    return ids


def parse_logs(result: CommandResult) -> dict[str, str]:
    """Read what squeue printed in :data:`LOGS_FORMAT`."""
    found = {}
    for line in result.stdout.split("\n"):
        bare, _, path = line.partition("|")
        if re.fullmatch(r"\d+(?:_\d+)?", bare, re.ASCII):
            # of an array, Slurm tells the pattern
            found[bare] = path.rstrip().replace("%a", bare.partition("_")[2])
    return found


def parse_site(result: CommandResult) -> Site | None:
    """Read what ``scontrol show config`` printed."""
    if not result.ok:
        return None
    facts: dict[str, str] = {}
    for line in result.stdout.split("\n"):
        key, equals, value = line.partition("=")
        if equals:
            facts.setdefault(key.strip(), value.strip())
    # The largest index is one less than MaxArraySize (slurm.conf(5)).
    limits = re.findall(r"\d+", facts.get("MaxArraySize", ""))
    limits += re.findall(r"max_array_tasks=(\d+)", facts.get("SchedulerParameters", ""))
    codes = facts.get("RequeueExit", "") + " " + facts.get("RequeueExitHold", "")
    return Site(
        facts.get("ClusterName", "slurm"),
        min((int(limit) for limit in limits), default=1),
        frozenset(_numbers(codes)),
    )


def _numbers(text: str) -> Iterator[int]:
    """The numbers in a text like ``"1,5-7"``."""
    for first, last in re.findall(r"(\d{1,3})(?:-(\d{1,3}))?", text):
        yield from range(int(first), int(last or first) + 1)


def look_again(native_id: str, told: Mapping[str, Observation]) -> tuple[Observation | None, bool]:
    """See :meth:`SchedulerAdapter.look_again`.

    The elements of an array that never began are one record. If all are cancelled, it is listed
    under the id of the array; an element that is cancelled alone vanishes from it.
    """
    bare, _, cluster = native_id.partition(";")
    base, _, index = bare.partition("_")
    if not index:
        return None, False
    array = told.get(f"{base};{cluster}" if cluster else base)
    if array is not None:
        return replace(array, native_id=native_id), False
    if any(other.startswith(f"{base}_") for other in told):
        state, reason, message = _STATES["CANCELLED"]
        message = f"{message} while it waited (Slurm lists its array without it)"
        return Observation(native_id, state, "CANCELLED", reason=reason, message=message), True
    return None, False


_LOG_HINTS = (
    (r"exceeded memory limit|Exceeded job memory limit|oom[-_]kill|Out Of Memory", "OUT_OF_MEMORY"),
    (r"CANCELLED AT \S+ DUE TO TIME LIMIT", "TIMEOUT"),
    (r"CANCELLED AT \S+ DUE TO PREEMPTION", "PREEMPTED"),
    (r"CANCELLED AT \S+ DUE TO NODE FAILURE", "NODE_FAIL"),
)


def read_log(text: str) -> Hint | None:
    """Read what slurmstepd wrote into a job's log.

    Where Slurm polices memory without cgroups, this is the only place that tells why it killed a
    job: its state is just ``FAILED``.
    """
    for line in text.split("\n"):
        if not line.startswith("slurmstepd"):
            continue
        for pattern, word in _LOG_HINTS:
            if re.search(pattern, line):
                _, reason, message = _STATES[word]
                assert reason is not None
                return Hint(reason, f"{message} (Slurm says: {line.strip()})")
    return None


def _seconds(text: str) -> int | None:
    """Seconds from ``d-hh:mm:ss``, ``hh:mm:ss`` or ``mm:ss``."""
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text, re.ASCII)
    if match is None:
        return None
    days, hours, minutes, seconds = (int(group or 0) for group in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _count(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and text != "0" else None


def parse_details(result: CommandResult) -> list[Details]:
    """Read what squeue printed in :data:`DETAILS_FORMAT`."""
    found = []
    for record in result.stdout.split("\x1e"):
        values = record.split("\x1f", len(_DETAILS_FIELDS) - 1)
        if len(values) != len(_DETAILS_FIELDS):
            continue
        values[0] = values[0].rpartition("\n")[2]  # before it, there may be lines of others
        try:
            found.append(_details(dict(zip(_DETAILS_FIELDS, values, strict=True)), result))
        except ValueError:
            continue
    return found


def _details(values: Mapping[str, str], result: CommandResult) -> Details:
    cause = _given(values["Reason"])
    seen = _observation(
        _full(_bare(values["JobArrayID"]), result),
        values["State"],
        values["exit_code"],
        _given(values["NodeList"]) or "",
        cause,
        int(values["RestartCnt"]),
    )
    start, waits = _time(values["StartTime"]), seen.state is _QUEUED
    info = JobInfo(
        owner=values["UserName"],
        submission_time=_time(values["SubmitTime"]),
        dispatch_time=None if waits else start,
        wall_time=_seconds(values["TimeUsed"]) or 0,
        resourcelist=_given(values["NodeList"]),
        queue_name=values["Partition"],
        reason=cause,
        estimated_start=start.isoformat() if waits and start is not None else None,
        priority=_count(values["PriorityLong"]),
    )
    held = waits and cause is not None and cause.startswith(_HOLDS)
    return Details(seen, info, _spec(values), held)


def _spec(values: Mapping[str, str]) -> JobSpec:
    nodes, tasks = _count(values["NumNodes"]), _count(values["NumTasks"])
    needs = ResourceSpecV1(
        node_count=nodes,
        process_count=tasks if nodes and tasks and tasks % nodes == 0 else None,
        cpu_cores_per_process=_count(values["cpus-per-task"]),
        exclusive_node_use=values["OverSubscribe"] in ("NO", "EXCLUSIVE"),
    )
    limit = _seconds(values["TimeLimit"])
    return JobSpec(
        directory=_given(values["WorkDir"]),
        name=_given(values["Name"]),
        resources=needs,
        attributes=JobAttributes(
            timedelta(seconds=limit) if limit else None,
            _given(values["Partition"]),
            _given(values["Account"]),
            _given(values["Reservation"]),
        ),
    )
