"""What Grid Engine's commands print, and what it means.

Sources: qstat(1), qacct(1), sge_status(5), sge_accounting(5) and sge_conf(5) of Son of Grid Engine
8.1.9, and what these programs print.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from xml.etree import ElementTree

from exaworks.psij.executors.batch import Answer, Observation, Site
from exaworks.psij.job_state import JobState
from exaworks.psij.job_status import Reason
from exaworks.psij.runner import CommandResult

__all__ = [
    "ACCOUNTING_FIELDS",
    "documents",
    "in_error",
    "native_ids",
    "observation_of",
    "parse_accounting",
    "parse_list",
    "parse_query",
    "parse_site",
]

ACCOUNTING_FIELDS = ("jobnumber", "taskid", "hostname", "failed", "exit_status", "deleted_by")
"""The fields of qacct's output that are read; others need not be there."""

_MOST_ELEMENTS = 1_000_000
_NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_JOB_LIST = re.compile(r"<job_list\b.*?</job_list>", re.DOTALL)
_NOTHING = ("", "NONE", "undefined")

_SIGKILL, _SIGUSR1, _SIGUSR2, _SIGXCPU = 9, 10, 12, 24  # as on Linux
_BY_SIGNAL = (17, 100)
_LIMIT = 37
_AGAIN = (24, 25)
_AFTER_JOB = (12, 13, 14, 15, 16, 30)
_NODE = (18, 19, 21)


def _clean(text: str) -> str:
    """XML that can be read: 8.1.9 prints control characters as they are, and ``%lt;`` for ``<``."""
    return _NOT_XML.sub("?", text.replace("%lt;", "&lt;"))


def documents(text: str) -> Iterator[ElementTree.Element]:
    """The XML documents in a text, one after the other; those that are damaged are left out."""
    for part in text.split("<?xml")[1:]:
        body = part.partition("?>")[2]
        begin, end = body.find("<"), body.rfind(">")
        try:
            yield ElementTree.fromstring(_clean(body[max(0, begin) : end + 1]))
        except ElementTree.ParseError:
            continue


def _number(text: str | None) -> int:
    """A number of a job or a task.

    Raises:
        ValueError: it is none.
    """
    if text is None or re.fullmatch(r"[0-9]{1,18}", text.strip()) is None:
        raise ValueError(text)
    return int(text)


def _tasks(text: str) -> Iterator[int]:
    """The numbers in a text like ``"3-10:1,12"``."""
    for part in text.split(","):
        span, _, step = part.partition(":")
        first, dash, last = span.partition("-")
        end = _number(last if dash else first)
        numbers = range(_number(first), end + 1, _number(step or "1"))
        if len(numbers) > _MOST_ELEMENTS:
            raise ValueError(text)
        yield from numbers


def native_ids(job: ElementTree.Element) -> list[str]:
    """The ids of the jobs that an entry of qstat's list stands for.

    Raises:
        ValueError: it has none.
    """
    number = _number(job.findtext("JB_job_number"))
    tasks = job.findtext("tasks")
    if not tasks:
        return [str(number)]
    return [f"{number}.{task}" for task in _tasks(tasks)]


def in_error(word: str) -> bool:
    """Whether a state of qstat says that Grid Engine could not start the job and keeps it."""
    return re.fullmatch(r"[A-Za-z]{1,8}", word) is not None and "E" in word


def _state(word: str) -> JobState | None:
    """The meaning of the letters of a state, see sge_status(5).

    A job that is being handed to a node (``t``) may run or not: the node may be down.
    """
    if not word or set(word) - set("dEhPrRsStTwqz"):
        return None
    if "E" in word:
        return JobState.FAILED
    if "q" in word or "w" in word:
        return JobState.QUEUED
    return JobState.ACTIVE if set(word) & set("PrsST") else None


def observation_of(job: ElementTree.Element, native_id: str) -> Observation:
    """What an entry of qstat's list says about one job."""
    word = (job.findtext("state") or "").strip()
    nodes = (job.findtext("queue_name") or "").rpartition("@")[2] or None
    restarts = 1 if "R" in word else 0
    if not in_error(word):
        return Observation(native_id, _state(word), word, nodes=nodes, restarts=restarts)
    message = f"the job could not be started (Grid Engine says {word})"
    return Observation(
        native_id,
        JobState.FAILED,
        word,
        reason=Reason.LAUNCH,
        message=message,
        nodes=nodes,
        restarts=restarts,
    )


def parse_query(result: CommandResult) -> Answer:
    """Read the list of jobs that ``qstat -xml`` printed."""
    if "</job_info>" not in result.stdout:
        return Answer(problem=f"qstat printed no complete list of jobs: {result.stdout[-200:]!r}")
    found: list[Observation] = []
    skipped: list[str] = []
    for text in _JOB_LIST.findall(result.stdout):
        try:
            job = ElementTree.fromstring(_clean(text))
            found += [observation_of(job, native_id) for native_id in native_ids(job)]
        except (ElementTree.ParseError, ValueError):
            skipped.append(text)
    return Answer(found, skipped=skipped)


def parse_list(result: CommandResult) -> list[str]:
    """Read the ids in the list of jobs that ``qstat -xml`` printed."""
    return [o.native_id for o in parse_query(result).observations if not in_error(o.word)]


def _records(text: str) -> Iterator[dict[str, str]]:
    """What qacct prints about each job: the first word of a line names the field."""
    record: dict[str, str] = {}
    for line in text.split("\n"):
        if line.startswith("====="):
            yield record
            record = {}
        else:
            name, _, value = line.strip().partition(" ")
            record.setdefault(name, value.strip())
    yield record


def _leading_number(text: str) -> int:
    """The number that a text begins with.

    Raises:
        ValueError: there is none.
    """
    match = re.match(r"\s*(\d{1,9})(?!\d)", text, re.ASCII)
    if match is None:
        raise ValueError(text)
    return int(match[1])


def _killed(signal: int, deleted_by: str | None) -> tuple[JobState, str | None, str | None]:
    """State, reason and message for a job whose script a signal has ended from outside.

    Our scripts do not die of the signals of their jobs, so that these do not get here. SIGKILL is
    what qdel sends; only some versions tell who asked for it.
    """
    if deleted_by is not None and deleted_by not in _NOTHING:
        message = f"was deleted by {deleted_by}"
        return JobState.CANCELED, Reason.CANCELED, message
    if signal == _SIGUSR1:
        return JobState.FAILED, Reason.TIMEOUT, "reached its soft time limit (s_rt)"
    if signal == _SIGXCPU:
        return JobState.FAILED, Reason.TIMEOUT, "reached its limit of CPU time"
    if signal in (_SIGKILL, _SIGUSR2) and deleted_by is None:
        message = "was killed from outside, as qdel does it"
        return JobState.CANCELED, Reason.CANCELED, message
    return JobState.FAILED, None, None


def _verdict(record: Mapping[str, str]) -> Observation:
    """What an entry of the accounting means.

    Raises:
        ValueError: it lacks the number of the job, or how it ended.
    """
    native_id = str(_number(record["jobnumber"]))
    if record.get("taskid", "undefined") not in _NOTHING:
        native_id += f".{_number(record['taskid'])}"
    failed, code = _leading_number(record["failed"]), _leading_number(record["exit_status"])
    signal = code - 128 if 128 < code <= 128 + 64 else None
    words = " ".join(record["failed"].split())
    state, reason, message = JobState.FAILED, None, None
    exit_code: int | None = code
    if failed == 0:
        state = JobState.FAILED if code else JobState.COMPLETED
    elif failed in _AGAIN:
        state, exit_code, signal = JobState.QUEUED, None, None
    elif failed == _LIMIT:
        reason, message = Reason.TIMEOUT, "reached its time limit"
    elif failed in _BY_SIGNAL and signal is not None:
        state, reason, message = _killed(signal, record.get("deleted_by"))
    elif failed in _BY_SIGNAL or failed in _AFTER_JOB:
        if not code:
            reason, message = Reason.SCHEDULER, "went wrong after its end"
    elif failed in _NODE:
        reason, exit_code, signal = Reason.NODE_FAILURE, None, None
        message = "was lost by the node"
    else:
        reason, exit_code, signal = Reason.LAUNCH, None, None
        message = "the job could not be started"
    if message is not None:
        message += f" (Grid Engine says {words})"
    return Observation(
        native_id,
        state,
        f"failed {words}" if failed else f"exit_status {code}",
        exit_code,
        signal,
        reason,
        words if failed else None,
        message,
        record.get("hostname"),
    )


def parse_accounting(result: CommandResult) -> Answer:
    """Read what ``qacct -j`` printed. A job that was started again has several entries."""
    found: dict[str, Observation] = {}
    skipped: list[str] = []
    for record in _records(result.stdout):
        if "jobnumber" not in record:
            continue
        try:
            seen = _verdict(record)
        except (KeyError, ValueError):
            skipped.append(str(record))
            continue
        found[seen.native_id] = seen
    return Answer(list(found.values()), skipped=skipped)


def parse_site(result: CommandResult) -> Site | None:
    """Read what the command printed that asks about the installation."""
    if not result.ok:
        return None
    name = re.search(r"^cluster ([\w.-]+)$", result.stdout, re.MULTILINE | re.ASCII)
    limit = re.search(r"^max_aj_tasks\s+(\d{1,9})\s*$", result.stdout, re.MULTILINE | re.ASCII)
    return Site(
        name[1] if name is not None else "default",
        (int(limit[1]) if limit is not None else 75000) or _MOST_ELEMENTS,  # 0: no limit
    )
