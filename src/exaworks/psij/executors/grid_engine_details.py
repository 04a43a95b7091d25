"""All that Grid Engine tells about jobs: its list of jobs together with the description of each.

Sources: qstat(1) of Son of Grid Engine 8.1.9, and what it prints with ``-xml`` and ``-xml -j``.
Only the list tells the state and the tasks that wait, and only the descriptions tell the rest.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from urllib.parse import unquote_to_bytes
from xml.etree.ElementTree import Element

from exaworks.psij.executors.batch import Details
from exaworks.psij.executors.grid_engine_options import CONTEXT_DIRECTORY, CONTEXT_NAME
from exaworks.psij.executors.grid_engine_output import (
    documents,
    in_error,
    native_ids,
    observation_of,
)
from exaworks.psij.job_attributes import JobAttributes
from exaworks.psij.job_info import JobInfo
from exaworks.psij.job_spec import JobSpec
from exaworks.psij.job_state import JobState
from exaworks.psij.resource_spec import ResourceSpecV1
from exaworks.psij.runner import CommandResult

__all__ = ["DETAILS_SCRIPT", "error_messages", "parse_details", "parse_logs"]

# The environment of the jobs is left out: it is long, and nobody's business.
DETAILS_SCRIPT = """\
list=$(qstat -xml -u "$1") || { printf '%s\\n' "$list"; exit 1; }
printf '%s\\n' "$list"
printf '%s\\n' "$list" | sed -n 's/.*<JB_job_number>\\([0-9]*\\)<.*/\\1/p' | sort -u |
    { if [ -n "$2" ]; then grep -x -E "$2" || :; else cat; fi; } | xargs -n 500 |
    while read -r ids; do
        qstat -xml -j "$(printf '%s' "$ids" | tr ' ' ,)" </dev/null |
            sed '/<JB_env_list>/,/<\\/JB_env_list>/d'
    done"""
"""For ``sh -c``: arguments are the user, and a regular expression for ids (empty: all)."""


class _Answer:
    """The entries of the list, each with the description of its job if there is one."""

    def __init__(self, text: str) -> None:
        self.listed: list[tuple[str, Element]] = []
        self.described: dict[str, Element] = {}
        self.messages: dict[str, str] = {}
        for document in documents(text):
            if document.tag == "job_info":
                for job in document.iter("job_list"):
                    self.listed += _named(job)
            for job in document.iterfind("djob_info/element"):
                self.described[job.findtext("JB_job_number", "").strip()] = job
            for message in document.iter("element"):
                text_of = message.findtext("MES_message")
                for number in message.iterfind("MES_job_number_list/ulong_sublist/ULNG_value"):
                    if text_of and number.text:
                        self.messages.setdefault(number.text.strip(), text_of)

    def __iter__(self) -> Iterator[tuple[str, Element, Element | None]]:
        for native_id, job in self.listed:
            yield native_id, job, self.described.get(native_id.partition(".")[0])


def _named(job: Element) -> list[tuple[str, Element]]:
    try:
        return [(native_id, job) for native_id in native_ids(job)]
    except ValueError:
        return []


def parse_logs(result: CommandResult) -> dict[str, str]:
    """Read native ids and log files from what :data:`DETAILS_SCRIPT` printed."""
    found = {}
    for native_id, _, job in _Answer(result.stdout):
        path = job.findtext("JB_stdout_path_list/path_list/PN_path") if job is not None else None
        if path:
            found[native_id] = path.replace("$TASK_ID", native_id.partition(".")[2])
    return found


def error_messages(result: CommandResult) -> dict[str, str]:
    """Why jobs could not be started, by native id, from what ``qstat -xml -j`` printed."""
    found = {}
    for number, job in _Answer(result.stdout).described.items():
        for task in job.iterfind("JB_ja_tasks/ulong_sublist"):
            message = task.findtext("JAT_message_list/ulong_sublist/QIM_message")
            if message:
                # "11/22/2026 16:26:20 [0:844]: error: ..."
                plain = re.sub(r"^[\d/]+ [\d:.]+ \[\d+:\d+\]: (?:error: )?", "", message.strip())
                found[f"{number}.{task.findtext('JAT_task_number', '').strip()}"] = plain
                found.setdefault(number, plain)
    return found


def _float(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:
        return 0.0


def _count(text: str | None) -> int | None:
    return int(_float(text)) or None


def _time(text: str | None) -> datetime | None:
    """Seconds since the epoch (of some versions, milliseconds) as local time."""
    seconds = _float(text)
    if seconds > 1e11:
        seconds /= 1000
    return datetime.fromtimestamp(seconds) if seconds else None


def _iso(text: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat((text or "").strip())
    except ValueError:
        return None


def parse_details(result: CommandResult) -> list[Details]:
    """Read what :data:`DETAILS_SCRIPT` printed about the jobs of ``result.command.scope``.

    An empty scope stands for all jobs.
    """
    wanted = set(result.command.scope.split())
    answer = _Answer(result.stdout)
    found = []
    for native_id, listed, job in answer:
        if wanted and native_id not in wanted:
            continue
        cause = answer.messages.get(native_id.partition(".")[0])
        found.append(_details(native_id, listed, job, cause))
    return found


def _task(job: Element | None, native_id: str) -> Element | None:
    """The entry of a task that has been started."""
    number = native_id.partition(".")[2] or "1"
    for task in job.iterfind("JB_ja_tasks/ulong_sublist") if job is not None else ():
        if task.findtext("JAT_task_number", "").strip() == number:
            return task
    return None


def _usage(task: Element | None) -> Mapping[str, float]:
    found: dict[str, float] = {}
    for entry in task.iterfind("JAT_scaled_usage_list/scaled") if task is not None else ():
        found[entry.findtext("UA_name", "")] = _float(entry.findtext("UA_value"))
    return found


def _details(native_id: str, listed: Element, job: Element | None, cause: str | None) -> Details:
    seen = observation_of(listed, native_id)
    task = _task(job, native_id)
    waits = seen.state is JobState.QUEUED
    if in_error(seen.word) and task is not None:
        cause = task.findtext("JAT_message_list/ulong_sublist/QIM_message") or cause
    seen = replace(seen, cause=cause if waits or in_error(seen.word) else None)
    started = task.findtext("JAT_start_time") if task is not None else None
    dispatched = _time(started) or _iso(listed.findtext("JAT_start_time"))
    submitted = job.findtext("JB_submission_time") if job is not None else None
    earliest = _time(job.findtext("JB_execution_time")) if job is not None and waits else None
    usage = _usage(task)
    now = datetime.now()
    info = JobInfo(
        owner=listed.findtext("JB_owner"),
        submission_time=_time(submitted) or _iso(listed.findtext("JB_submission_time")),
        dispatch_time=None if waits else dispatched,
        wall_time=max(0, int((now - dispatched).total_seconds()))
        if seen.state is JobState.ACTIVE and dispatched is not None
        else 0,
        cpu_time=int(usage["cpu"]) if "cpu" in usage else None,
        resourcelist=seen.nodes,
        queue_name=(listed.findtext("queue_name") or "").partition("@")[0] or None,
        max_memory=int(usage.get("maxvmem", 0)) or None,
        reason=cause,
        estimated_start=earliest.isoformat() if earliest is not None else None,
        priority=_priority(job),
    )
    waits_for = job is not None and job.find("JB_jid_predecessor_list") is not None
    held = waits and "h" in seen.word and not waits_for
    return Details(seen, info, _spec(listed, job), held)


def _priority(job: Element | None) -> int | None:
    """The priority as ``-p`` sets it; Grid Engine keeps it without a sign."""
    text = job.findtext("JB_priority") if job is not None else None
    return int(_float(text)) - 1024 if text else None


def _spec(listed: Element, job: Element | None) -> JobSpec:
    if job is None:
        return JobSpec(name=listed.findtext("JB_name"))
    context = {
        entry.findtext("VA_variable", ""): os.fsdecode(
            unquote_to_bytes(entry.findtext("VA_value", ""))
        )
        for entry in job.iterfind("JB_context/context_list")
    }
    requests = {
        entry.findtext("CE_name", ""): entry
        for entry in job.iterfind("JB_hard_resource_list/qstat_l_requests")
    }
    directory = context.get(CONTEXT_DIRECTORY) or job.findtext("JB_cwd")
    limit = _float(requests["h_rt"].findtext("CE_doubleval")) if "h_rt" in requests else 0
    needs = ResourceSpecV1(
        process_count=_count(job.findtext("JB_pe_range/ranges/RN_min")),
        exclusive_node_use="excl" in requests or "exclusive" in requests,
    )
    reservation = job.findtext("JB_ar", "0").strip()
    return JobSpec(
        directory=directory if directory != "/" or CONTEXT_DIRECTORY in context else None,
        name=context.get(CONTEXT_NAME) or job.findtext("JB_job_name"),
        resources=needs,
        attributes=JobAttributes(
            timedelta(seconds=limit) if 0 < limit < 1e9 else None,
            job.findtext("JB_hard_queue_list/destin_ident_list/QR_name"),
            job.findtext("JB_project"),
            None if reservation == "0" else reservation,
        ),
    )
