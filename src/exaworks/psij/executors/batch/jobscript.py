"""The script that a batch scheduler runs for a job, or for each element of an array."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from exaworks.psij.executors.batch.adapter import SchedulerAdapter
from exaworks.psij.executors.batch.report import shell_functions
from exaworks.psij.executors.batch.spool import Spool
from exaworks.psij.job import Job
from exaworks.psij.job_launcher import Launcher
from exaworks.psij.job_spec import JobSpec
from exaworks.psij.script import batch_body, element, quote
from exaworks.psij.validate import resources

__all__ = ["Plan", "Submission", "array_name", "job_name", "plan", "render"]

_SAFE_OPTION = re.compile(r"--?[A-Za-z0-9][A-Za-z0-9_@%+=:,./\[\]-]*")


@dataclass(frozen=True)
class Plan:
    """What a job asks of the scheduler and of the script, apart from its own element.

    Jobs whose plans are equal can be elements of one array.
    """

    options: tuple[str, ...]
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
        elements: one line for each element of an array, to be written to ``elements_path``.
    """

    token: str
    options: list[str]
    outside: list[str]
    script: bytes
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


def plan(job: Job, launcher: Launcher, adapter: SchedulerAdapter) -> Plan:
    """Find out what a checked job asks for.

    Raises:
        InvalidJobException: a custom attribute is not allowed.
    """
    spec = job.spec
    assert spec is not None
    return Plan(
        tuple(adapter.options(spec, resources(job), None, "", None)),
        tuple(adapter.setup(spec)),
        _body(spec, launcher),
    )


# The elements are read with sed, which stops at the line it wants.
_READ_ELEMENT = """\
_psij_element=$(sed -n "$(({index} + 1)){{p;q;}}" {path})
if [ -z "$_psij_element" ]; then
    _psij_phase=setup
    _psij_message="cannot read this element of the array from "{path}
    echo "$_psij_message" >&2
    _psij_record 1 0 "$_psij_message"
    exit 1
fi
eval "$_psij_element"
"""

_BEGIN = """\
[ ! -e "$_psij_records/$_psij_id" ] || command -p rm -f -- "$_psij_records/$_psij_id"
if [ -e {void} ]; then
    echo "This submission was given up because the scheduler did not answer in time." >&2
    exit 1
fi
"""


def render(
    jobs: Sequence[tuple[Job, Launcher]],
    adapter: SchedulerAdapter,
    spool: Spool,
    token: str,
    keep_files: bool,
) -> Submission:
    """Write the script for a job or, if there are several jobs with equal plans, for an array.

    Args:
        jobs: the jobs, each with its launcher.
        adapter: the scheduler.
        spool: the executor's files.
        token: a name for the submission.
        keep_files: keep files also after success.
    """
    job, launcher = jobs[0]
    spec = job.spec
    assert spec is not None
    array = len(jobs) > 1
    stem = spool.path("log", token)
    options = adapter.options(
        spec,
        resources(job),
        array_name([job.spec for job, _ in jobs if job.spec is not None]),
        adapter.log_path(stem, array),
        len(jobs) if array else None,
    )
    lines = [option for option in options if _SAFE_OPTION.fullmatch(option)]
    log = f"{quote(stem)}{f'_{adapter.shell_index}' if array else ''}.log"
    native = {
        "id": adapter.shell_element_id if array else adapter.shell_id,
        "restarts": adapter.shell_restarts,
        "nodes": adapter.shell_nodes,
        "site": adapter.shell_site,
        "stopped": adapter.shell_stopped,
    }
    text = [
        "#!/bin/bash",
        *(f"{adapter.directive} {line}" for line in lines),
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
    elements: bytes | None = None
    elements_path: str | None = None
    if array:
        elements_path = spool.path("elements", token)
        text.append("# The element of the array")
        text.append(_READ_ELEMENT.format(index=adapter.shell_index, path=quote(elements_path)))
        elements = b"".join(_element_line(job, launcher) for job, launcher in jobs)
    else:
        text += ["# The job", *element(job, launcher, os.getcwd()), ""]
    text.append("# How it is run")
    text.append(_body(spec, launcher))
    return Submission(
        token,
        options,
        [option for option in options if not _SAFE_OPTION.fullmatch(option)],
        os.fsencode("\n".join(text)),
        elements,
        elements_path,
    )


def _element_line(job: Job, launcher: Launcher) -> bytes:
    return os.fsencode("; ".join(element(job, launcher, os.getcwd(), one_line=True)) + "\n")
