"""From a job's specification to a submit description of HTCondor.

Sources: condor_submit(1) and the chapter "Submitting a Job" of the manual of HTCondor 23, and what
its condor_submit accepts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from exaworks.psij.exceptions import InvalidJobException
from exaworks.psij.executors.batch import Option, Request
from exaworks.psij.executors.script_environment import INHERIT
from exaworks.psij.job_attributes import JobAttributes
from exaworks.psij.job_spec import JobSpec
from exaworks.psij.resource_spec import ResourceSpecV1

__all__ = ["FORWARD", "HOSTS", "PROCESS", "SETUP", "description", "escape", "options", "setup"]

PROCESS = "$(ProcId)"
"""In a submit description: the number of the element."""

HOSTS = """\
_psij_hosts() { # COUNT
    _psij_count=$1
    while [ "$_psij_count" -gt 0 ]; do
        uname -n
        _psij_count=$((_psij_count - 1))
    done
}
_psij_hosts 1"""
"""Prints the host once, and defines how that is done for several processes."""

# HTCondor sends SIGTERM to the script alone, which cannot act on it while a program runs. So the
# script runs a second time, in a process group of its own that gets the signal as a whole.
FORWARD = """\
if [ -z "${EXAWORKS_OUTER:-}" ]; then
    set -m
    EXAWORKS_OUTER=$$ "$0" &
    _psij_inner=$! _psij_sent=
    set +m
    trap '_psij_sent=1; kill -TERM -- "-$_psij_inner"' TERM
    while wait "$_psij_inner"; _psij_code=$?; [ -n "$_psij_sent" ]; do
        _psij_sent=
    done
    if [ "$_psij_code" -gt 128 ] && [ "$_psij_code" -le 159 ]; then
        ulimit -c 0
        trap - TERM
        kill -s "$(kill -l "$_psij_code")" "$$"
    fi
    exit "$_psij_code"
fi
unset EXAWORKS_OUTER"""
"""For the beginning of a job script."""

# A job of HTCondor begins with next to no environment.
SETUP = """\
PATH=${PATH:-/usr/local/bin:/usr/bin:/bin}
USER=${USER:-$(command -p id -un)} LOGNAME=${LOGNAME:-$(command -p id -un)}
HOME=${HOME:-$(eval "echo ~$(command -p id -un)")}
export PATH USER LOGNAME HOME"""
"""For the beginning of a job script."""

_PREFIXES = ("htcondor", "condor")
_REFUSED = {
    "allowed_job_duration": "set spec.attributes.duration",
    "arguments": "set spec.arguments",
    "arguments2": "set spec.arguments",
    "env": "set spec.environment",
    "environment": "set spec.environment",
    "environment2": "set spec.environment",
    "error": "set spec.stderr_path",
    "executable": "set spec.executable",
    "getenv": "set spec.inherit_environment",
    "hold": "use executor.hold(job)",
    "initialdir": "set spec.directory",
    "input": "set spec.stdin_path",
    "output": "set spec.stdout_path",
    "queue": "submit the jobs together with submit_many()",
    "should_transfer_files": "set spec.stage_in and spec.stage_out",
    "stderr": "set spec.stderr_path",
    "stdin": "set spec.stdin_path",
    "stdout": "set spec.stdout_path",
    "transfer_executable": "leave it out",
    "transfer_input_files": "set spec.stage_in",
    "transfer_output_files": "set spec.stage_out",
    "universe": "leave it out",
    "when_to_transfer_output": "set spec.stage_out",
}
# What is held because of an error (and not by a user, or while it waits for its files) would stay
# in the queue for ever. Codes: 1 the user, 15 at submission, 16 files are being sent.
_REMOVE = "(JobStatus == 5) && !member(HoldReasonCode, {1, 15, 16})"

_VACATE = 30  # seconds between SIGTERM and SIGKILL; HTCondor's own are 600


def escape(path: str) -> str:
    """A path as it must be written in a submit description.

    Raises:
        InvalidJobException: there is no way to write it.
    """
    if re.search(r"[\n\r\0]|\$\$|^[\s\"]|\s$", path):
        raise InvalidJobException(
            f"HTCondor cannot be told of a file {path!r}, since its path contains a new line or "
            "two dollar signs, or begins or ends with white space: set work_directory in the "
            "executor's configuration to another folder"
        )
    return path.replace("$", "$(DOLLAR)")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_text, value))
    return str(value).strip()


def _custom(attributes: JobAttributes) -> dict[str, str]:
    """Custom attributes ``htcondor.X`` by X, checked."""
    found: dict[str, str] = {}
    for key, value in (attributes.custom_attributes or {}).items():
        prefix, dot, name = key.partition(".")
        if prefix.lower() not in _PREFIXES or not dot:
            continue
        if name.lower() in _REFUSED:
            raise InvalidJobException(
                f"custom attribute {key!r} is not possible here: {_REFUSED[name.lower()]} instead"
            )
        if re.fullmatch(r"(?:\+|MY\.)?[A-Za-z_][A-Za-z0-9_]*", name) is None:
            raise InvalidJobException(
                f"custom attribute {key!r} names no command of a submit description; write "
                "'htcondor.' and the name of the command, for instance 'htcondor.requirements', "
                "or 'htcondor.+NAME' for an attribute of the job"
            )
        text = _text(value)
        if re.search(r"[\0\n\r]|\\$", text) or not text:
            raise InvalidJobException(
                f"custom attribute {key!r} must be one line that is not empty and does not end "
                f"with a backslash, not {value!r}"
            )
        found[name] = text
    return found


def _refuse(attributes: JobAttributes, needs: ResourceSpecV1) -> None:
    """What cannot be said to HTCondor."""
    if needs.computed_node_count > 1:
        raise InvalidJobException(
            f"the job needs {needs.computed_node_count} nodes, and this executor runs jobs in "
            "HTCondor's vanilla universe, on one node each: set node_count to 1, or leave it out"
        )
    if needs.exclusive_node_use:
        raise InvalidJobException(
            "HTCondor has no request for a whole node: leave exclusive_node_use out, and ask for "
            "as many cores as a node has"
        )
    if attributes.queue_name:
        raise InvalidJobException(
            f"HTCondor has no queues, so leave out queue_name ({attributes.queue_name!r}); to "
            "choose among nodes, set custom attribute 'htcondor.requirements'"
        )
    if attributes.reservation_id:
        raise InvalidJobException(
            "HTCondor has no reservations, so leave out reservation_id "
            f"({attributes.reservation_id!r})"
        )


def _job_name(name: str) -> str:
    """A name without what means something in a submit description."""
    return re.sub(r"[$\"\\\x00-\x1f\x7f]", "_", name).strip()


def options(request: Request) -> list[Option]:
    """The commands of the submit description of a job; see :meth:`SchedulerAdapter.options`.

    Custom attributes take the place of what the specification says about the same command.

    Raises:
        InvalidJobException: a custom attribute is not allowed, or HTCondor has no way to say
            something.
    """
    attributes, needs = request.spec.attributes, request.needs
    custom = _custom(attributes)
    _refuse(attributes, needs)
    processes = needs.computed_process_count
    own = {name.lower() for name in custom}
    found: list[Option] = [
        ("universe", "vanilla"),
        ("transfer_executable", "false"),
        ("should_transfer_files", "NO"),
        # The script enters the job's directory itself, and can say so if it is not there.
        ("initialdir", "/"),
        ("output", request.log or "/dev/null"),
        ("error", request.log or "/dev/null"),
        (
            "environment",
            f'"EXAWORKS_JOB=$(ClusterId).{PROCESS} EXAWORKS_INDEX={PROCESS} '
            'EXAWORKS_POOL=$(FULL_HOSTNAME)"',
        ),
    ]
    limit, gpus = attributes.duration, needs.gpu_cores_per_process
    for name, value in (
        ("notification", "never"),
        ("batch_name", _job_name(request.name or "")),
        ("accounting_group", attributes.account),
        ("request_cpus", str(processes * (needs.cpu_cores_per_process or 1))),
        ("request_memory", f"{-(-needs.memory // 2**20)}M" if needs.memory else None),
        ("request_gpus", str(processes * gpus) if gpus else None),
        (
            "allowed_job_duration",
            str(max(1, -int(-limit.total_seconds() // 1))) if limit is not None else None,
        ),
        ("job_max_vacate_time", str(_VACATE)),
        ("periodic_remove", _REMOVE),
        ("hold", "true" if request.held else None),
    ):
        if value and name not in own:
            found.append((name, _one_line(name, value)))
    return [*found, *custom.items(), ("queue", str(request.array_count or 1))]


def _one_line(name: str, value: str) -> str:
    if re.search(r"[\n\r\0]", value):
        raise InvalidJobException(f"{name} is {value!r}, which must be one line")
    return value


def description(said: Sequence[Option], path: str) -> str:
    """The submit description, for :func:`options` and a script."""
    lines = [f"executable = {escape(path)}"]
    lines += [f"{name} = {value}" for name, value in said[:-1]]
    return "\n".join([*lines, " ".join(said[-1]), ""])


def setup(spec: JobSpec) -> list[str]:
    """See :meth:`SchedulerAdapter.setup`."""
    needs = spec.resources if isinstance(spec.resources, ResourceSpecV1) else ResourceSpecV1()
    processes = needs.computed_process_count
    lines = [f'_psij_hosts {processes} >"$_psij_nodefile"'] if processes > 1 else []
    return [FORWARD, *lines, *([INHERIT] if spec.inherit_environment else []), SETUP]
