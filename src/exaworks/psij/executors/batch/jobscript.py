"""The script that a batch scheduler runs for a job, or for each element of an array."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from exaworks.psij.dependencies import Resolved
from exaworks.psij.executors.batch.adapter import Option, Request, SchedulerAdapter
from exaworks.psij.executors.batch.prepare import Transfers
from exaworks.psij.executors.batch.report import shell_functions
from exaworks.psij.executors.batch.spool import Spool
from exaworks.psij.job import Job
from exaworks.psij.job_launcher import Launcher
from exaworks.psij.job_spec import JobSpec
from exaworks.psij.script import batch_body, element, quote
from exaworks.psij.validate import resources

__all__ = ["Entry", "Plan", "Submission", "array_name", "job_name", "plan", "render"]

_SAFE_OPTION = re.compile(r"--?[A-Za-z0-9][A-Za-z0-9_@%+=:,./\[\]-]*")
_SAFE_WORD = re.compile(r"[A-Za-z0-9_@%+=:,./\[\]-]+")


NOTHING = Resolved()


class Entry(NamedTuple):
    """A job on its way to the scheduler.

    Attributes:
        job: the job as it is to be described: the user's own, or a copy of it with what the site
            and the other machine's file system add to its specification.
        launcher: what starts its processes.
        owner: the user's job.
        transfers: files that must be brought to the other machine first, or fetched afterwards.
        waits_for: the jobs that must have begun or ended before.
    """

    job: Job
    launcher: Launcher
    owner: Job
    transfers: Transfers | None = None
    waits_for: Resolved = NOTHING


@dataclass(frozen=True)
class Plan:
    """What a job asks of the scheduler and of the script, apart from its own element.

    Jobs whose plans are equal can be elements of one array.
    """

    options: tuple[Option, ...]
    setup: tuple[str, ...]
    body: str


@dataclass(frozen=True)
class Submission:
    """A script with the options that do not fit into it.

    Attributes:
        token: what its jobs call themselves in their reports.
        options: all options.
        outside: those of them that are not in the script, for the command line.
        script: the script.
        path: the file to write the script to, if the adapter wants one.
        elements: one line for each element of an array, to be written to ``elements_path``.
    """

    token: str
    options: list[Option]
    outside: list[Option]
    script: bytes
    path: str
    elements: bytes | None = None
    elements_path: str | None = None


def job_name(spec: JobSpec) -> str | None:
    """The name for the scheduler: the job's own, or the file name of its executable."""
    name = spec.name
    if name is None or name != spec.executable:
        return name
    return os.path.basename(name) or None


def array_name(specs: Sequence[JobSpec]) -> str | None:
    """A name for an array: that of all jobs, or how all names begin."""
    names = [job_name(spec) or "" for spec in specs]
    if len(set(names)) == 1:
        return names[0] or None
    first, last = min(names), max(names)
    alike = next((i for i, c in enumerate(first) if c != last[i]), len(first))
    return first[:alike].rstrip("0123456789-_. ") or None


def _body(spec: JobSpec, launcher: Launcher) -> str:
    limit = spec.attributes.duration
    return batch_body(spec, launcher, int(limit.total_seconds()) if limit is not None else None)


def _request(
    entry: Entry,
    adapter: SchedulerAdapter,
    name: str | None,
    log: str,
    array_count: int | None,
) -> Request:
    spec = entry.job.spec
    assert spec is not None
    waits_for = entry.waits_for
    return Request(
        spec,
        resources(entry.job),
        name,
        log,
        array_count,
        waits_for.native,
        held=bool(waits_for.ours),
    )


def plan(entry: Entry, adapter: SchedulerAdapter) -> Plan:
    """Find out what a checked job asks for.

    Raises:
        InvalidJobException: a custom attribute is not allowed.
    """
    spec = entry.job.spec
    assert spec is not None
    return Plan(
        tuple(adapter.options(_request(entry, adapter, None, "", None))),
        tuple(adapter.setup(spec)),
        _body(spec, entry.launcher),
    )


# The elements are read with sed, which stops at the line it wants.
_READ_ELEMENT = """\
_psij_element=$(sed -n "$(({index} + {offset})){{p;q;}}" {path})
if [ -z "$_psij_element" ]; then
    _psij_phase=setup
    _psij_message="cannot read this element of the array from "{path}
    echo "$_psij_message" >&2
    _psij_record 1 0 "$_psij_message"
    exit 1
fi
eval "$_psij_element"
"""

# These signals are warnings of schedulers and users. Without a trap the shell would die of one, and
# report the exit code of some command before.
_BEGIN = """\
trap : USR1 USR2 XCPU ALRM
[ ! -e "$_psij_records/$_psij_id" ] || command -p rm -f -- "$_psij_records/$_psij_id"
if [ -e {void} ]; then
    echo "This submission was given up because the scheduler did not answer in time." >&2
    exit 1
fi
"""


def _safe(option: Option) -> bool:
    """Whether an option can be written into a script, where quoting differs by scheduler."""
    first, *rest = option
    return _SAFE_OPTION.fullmatch(first) is not None and all(map(_SAFE_WORD.fullmatch, rest))


def render(
    entries: Sequence[Entry],
    adapter: SchedulerAdapter,
    spool: Spool,
    token: str,
    keep_files: bool,
    cwd: str,
    site_setup: Sequence[str] = (),
) -> Submission:
    """Write the script for a job or, if there are several jobs with equal plans, for an array.

    Args:
        entries: the jobs.
        adapter: the scheduler.
        spool: the executor's files.
        token: a name for the submission.
        keep_files: keep files also after success.
        cwd: where jobs run that name no directory.
        site_setup: lines of shell that the site wants to be run first.
    """
    entry = entries[0]
    spec = entry.job.spec
    assert spec is not None
    array = len(entries) > 1
    stem = spool.path("log", token)
    options = adapter.options(
        _request(
            entry,
            adapter,
            array_name([each.job.spec for each in entries if each.job.spec is not None]),
            adapter.log_path(stem, array),
            len(entries) if array else None,
        )
    )
    inside = [option for option in options if adapter.directive and _safe(option)]
    log = f"{quote(stem)}{f'_{adapter.shell_index}' if array else ''}.log"
    native = {
        "id": adapter.shell_element_id if array else adapter.shell_id,
        "restarts": adapter.shell_restarts,
        "nodes": adapter.shell_nodes,
        "site": adapter.shell_site,
        "stopped": adapter.shell_stopped,
        "index": f"$(({adapter.shell_index} - {adapter.array_base}))" if array else "",
    }
    text = [
        f"#!{adapter.interpreter}",
        *(f"{adapter.directive} {' '.join(option)}" for option in inside),
        "",
        "# What the job tells about itself",
        shell_functions(token, spool.inbox, spool.records, log, keep_files, native)
        + _BEGIN.format(void=quote(spool.path("void", token))),
        "# The nodes of the job, a line for each process",
        f'_psij_nodefile={quote(spool.path("nodes", token))}."$_psij_id"',
        f'{{ {adapter.shell_node_list}; }} >"$_psij_nodefile"',
        'export PSIJ_NODEFILE="$_psij_nodefile"',
        *adapter.setup(spec),
        "",
    ]
    if any(each.transfers is not None for each in entries):
        text += [
            "# Files that come over the network, or go",
            f"_psij_staged_in={quote(spool.staged_in(token))}",
            f'_psij_staged_out={quote(spool.path("staged"))}/"$_psij_id"',
            "",
        ]
    if site_setup:
        text += ["# What the site wants", *site_setup, ""]
    elements: bytes | None = None
    elements_path: str | None = None
    if array:
        elements_path = spool.path("elements", token)
        text.append("# The element of the array")
        offset = 1 - adapter.array_base
        text.append(
            _READ_ELEMENT.format(
                index=adapter.shell_index, offset=offset, path=quote(elements_path)
            )
        )
        elements = b"".join(_element_line(each, cwd) for each in entries)
    else:
        text += ["# The job", *element(entry.job, entry.launcher, cwd), ""]
    text.append("# How it is run")
    text.append(_body(spec, entry.launcher))
    return Submission(
        token,
        options,
        [option for option in options if option not in inside],
        os.fsencode("\n".join(text)),
        spool.path("scripts", f"{token}.sh"),
        elements,
        elements_path,
    )


def _element_line(entry: Entry, cwd: str) -> bytes:
    return os.fsencode("; ".join(element(entry.job, entry.launcher, cwd, one_line=True)) + "\n")
