"""The records that qstat prints about jobs, in the forms of PBS Pro and of Torque.

``qstat -f -F json`` of PBS Pro is preferred; versions before 20 print JSON that is not valid if an
environment variable of a job contains certain characters, or if several jobs are asked for (see
pull requests 585, 830, 1033 and 2049 of github.com/openpbs/openpbs, and its issues 1255 and 2541).
``qstat -f`` prints lines, which both systems do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from exaworks.psij.runner import Command

__all__ = ["Record", "asked_as", "attribute", "job_id", "number", "read_records", "read_variables"]

Record = Mapping[str, Any]
"""What is said about one job, by attribute: text, numbers, or a mapping by resource or variable."""

_ID = re.compile(r"\d+(?:\[\d*\])?(?:\.[A-Za-z0-9._-]+)?", re.ASCII)


def job_id(text: str) -> bool:
    """Whether a text is the id of a job, of an array or of an element of one."""
    return _ID.fullmatch(text) is not None


def number(native_id: str) -> str:
    """The part of an id before the server's name, such as ``"12"`` or ``"12[3]"``."""
    return native_id.partition(".")[0]


def attribute(record: Record, name: str) -> str | None:
    """An attribute as text; ``None`` if it is not there."""
    value = record.get(name)
    if value is None or isinstance(value, Mapping):
        return None
    return str(value)


def asked_as(found: str, command: Command) -> str:
    """The id under which a job was asked about: its server may be left out there, or shortened.

    Args:
        found: the id that the answer has.
        command: the question; its scope has the ids asked about, separated by spaces.
    """
    base, _, server = found.partition(".")
    for asked in command.scope.split():
        wanted, _, where = asked.partition(".")
        if wanted == base and (not where or where.partition(".")[0] == server.partition(".")[0]):
            return asked
    return found


def read_records(text: str) -> dict[str, Record]:
    """Read what ``qstat -f`` printed, as JSON or as lines. Never raises."""
    at = re.search(r"^\{", text, re.MULTILINE)
    if at is None:
        return dict(_of_lines(text))
    try:
        answer = json.loads(text[at.start() :], strict=False)
    except (ValueError, RecursionError):
        return _of_broken_json(text[at.start() :])
    jobs = answer.get("Jobs") if isinstance(answer, dict) else None
    if not isinstance(jobs, dict):
        return {}
    return {key: job for key, job in jobs.items() if job_id(key) and isinstance(job, dict)}


def _scalar(text: str) -> Any:
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text


def _of_broken_json(text: str) -> dict[str, Record]:
    """Read JSON line by line: one value in each, and indentation that tells what belongs where."""
    found: dict[str, Record] = {}
    job: dict[str, Any] | None = None
    group: dict[str, Any] | None = None
    job_indent = group_indent = ""
    for line in text.split("\n"):
        match = re.match(r'([ \t]*)"([^"]*)"[ \t]*:[ \t]*(.*?),?[ \t]*$', line)
        if match is None:
            closed = re.match(r"([ \t]*)\},?[ \t]*$", line)
            if closed is not None and group is not None and closed[1] == group_indent:
                group = None
            elif closed is not None and group is None and closed[1] == job_indent:
                job = None
            continue
        indent, name, value = match.groups()
        if value == "{" and job_id(name) and (job is None or len(indent) <= len(job_indent)):
            job, group, job_indent = {}, None, indent
            found.setdefault(name, job)
        elif job is None or len(indent) <= len(job_indent):
            continue
        elif value == "{" and group is None:
            group, group_indent = {}, indent
            job.setdefault(name, group)
        elif group is not None and len(indent) > len(group_indent):
            group.setdefault(name, _scalar(value))
        else:
            group = None
            job.setdefault(name, _scalar(value))
    return found


def _of_lines(text: str) -> Iterator[tuple[str, Record]]:
    """Read lines: a job's id, then its attributes, each begun by four spaces.

    Long lines of PBS Pro go on in the next line, which a tab begins.
    """
    current: dict[str, Any] = {}
    for block in re.split(r"^Job Id:[ \t]*", text, flags=re.MULTILINE)[1:]:
        head, _, rest = block.partition("\n")
        if not job_id(head.strip()):
            continue
        current = {}
        for line in re.sub(r"\n\t", "", rest).split("\n"):
            match = re.match(r"    ([A-Za-z]\w*)(?:\.([\w-]+))? = (.*)$", line)
            if match is None:
                continue
            name, part, value = match.groups()
            if part is None:
                current.setdefault(name, value)
            else:
                group = current.setdefault(name, {})
                if isinstance(group, dict):
                    group.setdefault(part, value)
        yield head.strip(), current


def read_variables(record: Record, names: Collection[str]) -> dict[str, str]:
    """The values of some variables of a job's environment.

    Args:
        record: the job.
        names: the variables; their values contain neither commas nor quotes.
    """
    value = record.get("Variable_List")
    if isinstance(value, Mapping):
        return {name: str(value[name]) for name in names if name in value}
    found = {}
    for name in names:
        match = re.search(rf"(?:^|,){re.escape(name)}=([^,]*)", str(value or ""))
        if match is not None:
            found[name] = match[1]
    return found
