"""From a job's specification to the options of qsub of Grid Engine.

Sources: qsub(1), sge_types(5) and sge_complex(5) of Son of Grid Engine 8.1.9, and what its qsub
accepts.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote_from_bytes

from exaworks.psij.exceptions import InvalidJobException
from exaworks.psij.executors.batch import Option, Request
from exaworks.psij.job_attributes import JobAttributes
from exaworks.psij.job_spec import JobSpec
from exaworks.psij.resource_spec import ResourceSpecV1
from exaworks.psij.validate import expand_home

__all__ = ["CONTEXT_DIRECTORY", "CONTEXT_NAME", "FIXED", "OF_OUR_OWN_JOB", "options"]

FIXED = ("-terse", "-b", "n", "-sync", "n", "-now", "n", "-shell", "y", "-i", "/dev/null")
"""For every submission: the user's ``.sge_request`` may say otherwise, and then nothing works."""

OF_OUR_OWN_JOB = (
    "ARC",
    "JOB_ID",
    "JOB_NAME",
    "JOB_SCRIPT",
    "NHOSTS",
    "NQUEUES",
    "NSLOTS",
    "PE",
    "PE_HOSTFILE",
    "QUEUE",
    "REQNAME",
    "REQUEST",
    "RESTARTED",
    "SGE_ACCOUNT",
    "SGE_BINARY_PATH",
    "SGE_CWD_PATH",
    "SGE_DEBUG_LEVEL",
    "SGE_JOB_SPOOL_DIR",
    "SGE_O_*",
    "SGE_RSH_COMMAND",
    "SGE_STDERR_PATH",
    "SGE_STDIN_PATH",
    "SGE_STDOUT_PATH",
    "SGE_TASK_*",
    "TASK_ID",
)
"""Variables that describe the job that we run in, if we do: they must not get into a new one."""

CONTEXT_NAME = "psij_name"
"""Context variable with the name of the job, where Grid Engine cannot take it."""

CONTEXT_DIRECTORY = "psij_directory"
"""Context variable with the directory of the job."""

_PREFIXES = ("grid_engine", "sge", "uge")
_OURS = ("pe", "l", "memory_resource", "gpu_resource", "exclusive_resource")
_YES_OR_NO = ("r", "R")
_LONGEST_NAME = 200
_RESERVED_NAMES = ("none", "all", "template")

_REFUSED = {
    "@": "give the options one by one",
    "b": "set spec.executable",
    "C": "leave it out",
    "clear": "remove the options from ~/.sge_request",
    "cwd": "set spec.directory",
    "e": "set spec.stderr_path",
    "hard": "leave it out",
    "help": "leave it out",
    "i": "set spec.stdin_path",
    "inherit": "leave it out",
    "j": "set spec.stdout_path and spec.stderr_path to the same file",
    "now": "leave it out",
    "o": "set spec.stdout_path",
    "pty": "leave it out",
    "S": "set spec.executable to the interpreter",
    "shell": "set spec.executable to the shell",
    "soft": "leave it out",
    "sync": "use job.wait()",
    "t": "submit the jobs together with submit_many()",
    "terse": "leave it out and read job.native_id",
    "v": "set spec.environment",
    "V": "set spec.inherit_environment",
    "verify": "use executor.render(job)",
    "wd": "set spec.directory",
}


def _custom(attributes: JobAttributes) -> dict[str, Any]:
    """Custom attributes ``grid_engine.X`` by X, checked."""
    found: dict[str, Any] = {}
    for key, value in (attributes.custom_attributes or {}).items():
        prefix, dot, name = key.partition(".")
        if prefix.lower() not in _PREFIXES or not dot:
            continue
        if name in _REFUSED:
            raise InvalidJobException(
                f"custom attribute {key!r} is not possible here: {_REFUSED[name]} instead"
            )
        if re.fullmatch(r"[A-Za-z][A-Za-z_]*", name, re.ASCII) is None:
            raise InvalidJobException(
                f"custom attribute {key!r} names no option of qsub; write 'grid_engine.' and the "
                "name of the option without the hyphen in front, for instance 'grid_engine.m'"
            )
        if isinstance(value, (list, tuple)):
            value = ",".join(map(str, value))
        if re.search(r"[\0\n]", str(value)):
            raise InvalidJobException(f"custom attribute {key!r} contains a NUL or a new line")
        found[name] = value
    return found


def _text(value: Any) -> str:
    return "" if value is None or isinstance(value, bool) else str(value).strip()


def _passed_on(custom: dict[str, Any]) -> Iterator[Option]:
    """The options that custom attributes name."""
    for name, value in custom.items():
        if name in _OURS:
            continue
        text = _text(value)
        if name in _YES_OR_NO and not text:
            yield f"-{name}", "n" if value is False else "y"
        elif value is not False:
            yield (f"-{name}", text) if text else (f"-{name}",)


def _names(custom: dict[str, Any], key: str, default: str) -> list[str]:
    """Names of resources; none if the attribute is empty."""
    text = _text(custom[key]) if key in custom else default
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if re.fullmatch(r"[A-Za-z_][\w.-]*", name, re.ASCII) is None:
            raise InvalidJobException(
                f"custom attribute 'grid_engine.{key}' must be the name of a resource as 'qconf "
                f"-sc' lists them, or several with commas between, not {text!r}"
            )
    return names


def _environment(custom: dict[str, Any], needs: ResourceSpecV1) -> tuple[Option | None, int]:
    """The parallel environment, and the slots that the job gets for certain."""
    slots = needs.computed_process_count * (needs.cpu_cores_per_process or 1)
    words = _text(custom.get("pe")).split()
    if not words:
        if slots > 1 or needs.computed_node_count > 1:
            raise InvalidJobException(
                f"the job needs {slots} slots, and Grid Engine gives more than one only in a "
                "parallel environment: set custom attribute 'grid_engine.pe' to the name of one "
                "('qconf -spl' lists them), such as 'smp'"
            )
        return None, 1
    if len(words) == 1:
        words.append(str(slots))
    least = re.fullmatch(r"(\d+)(?:-\d*)?|-\d+", words[1], re.ASCII)
    if len(words) > 2 or least is None:
        raise InvalidJobException(
            "custom attribute 'grid_engine.pe' must be the name of a parallel environment, or a "
            f"name and a number of slots such as 'smp 4' or 'mpi 8-16', not {custom['pe']!r}"
        )
    return ("-pe", *words), max(1, int(least[1] or 1))


def _resources(
    attributes: JobAttributes, custom: dict[str, Any], needs: ResourceSpecV1, slots: int
) -> list[str]:
    """Requests for ``-l``."""
    requests: dict[str, str] = {}
    if attributes.duration is not None:
        requests["h_rt"] = str(max(1, -int(-attributes.duration.total_seconds() // 1)))
    if needs.memory is not None:  # theirs is for each slot, ours for the job
        for name in _names(custom, "memory_resource", "mem_free"):
            requests[name] = f"{-(-needs.memory // (slots * 1024))}K"
    if needs.gpu_cores_per_process:
        for name in _names(custom, "gpu_resource", "gpu"):
            requests[name] = str(needs.gpu_cores_per_process * needs.computed_processes_per_node)
    if needs.exclusive_node_use:
        for name in _names(custom, "exclusive_resource", "excl"):
            requests[name] = "true"
    extra = _text(custom.get("l"))
    for name in [part.partition("=")[0].strip() for part in extra.split(",")]:
        requests.pop(name, None)
    return [*(f"{name}={value}" for name, value in requests.items()), *([extra] if extra else [])]


def _job_name(name: str) -> str:
    """A name as Grid Engine takes it: it refuses some characters, words and beginnings."""
    name = re.sub(r"[^A-Za-z0-9._+=-]", "_", name)[:_LONGEST_NAME]
    if re.match(r"[0-9-]", name) or name.lower() in _RESERVED_NAMES:
        name = f"_{name}"
    return name


def _context(spec: JobSpec, name: str) -> Iterator[str]:
    """What Grid Engine is to remember about a job, with all odd characters escaped."""
    if name and name != _job_name(name):
        yield f"{CONTEXT_NAME}={quote_from_bytes(os.fsencode(name), safe='')}"
    if spec.directory is not None:
        path = os.fsencode(expand_home(spec.directory))
        yield f"{CONTEXT_DIRECTORY}={quote_from_bytes(path, safe='/')}"


def _log(path: str) -> str:
    """A path for ``-o``: what is before a colon would be a host, and a comma begins another path.

    Raises:
        InvalidJobException: there is no way to write it.
    """
    stem = path.removesuffix("_$TASK_ID.log")
    if re.search(r"[,\n]|\$[A-Z]", stem):
        raise InvalidJobException(
            f"Grid Engine cannot write to a file {stem!r}, since its path contains a comma, a new "
            "line, or a dollar sign before a capital letter: set work_directory in the executor's "
            "configuration to another folder"
        )
    return f":{path}" if ":" in path else path


def _dependencies(native_ids: Iterable[str]) -> str:
    """Jobs to wait for. That can only be whole arrays."""
    return ",".join(dict.fromkeys(native_id.partition(".")[0] for native_id in native_ids))


def options(request: Request) -> list[Option]:
    """The options of qsub for a job; see :meth:`SchedulerAdapter.options`.

    Custom attributes take the place of what the specification says about the same option; requests
    for resources are added to it.

    Raises:
        InvalidJobException: a custom attribute is not allowed, the job needs a parallel
            environment and names none, or the path of its log cannot be said.
    """
    spec, attributes = request.spec, request.spec.attributes
    custom = _custom(attributes)
    environment, slots = _environment(custom, request.needs)
    # The script enters the job's directory itself and can say so if it is not there; Grid Engine
    # would put the job into an error state and keep it.
    found: list[Option] = [("-S", "/bin/bash"), ("-j", "y"), ("-wd", "/")]
    if request.log:
        found.append(("-o", _log(request.log)))
    passed_on = list(_passed_on(custom))
    named = {option[0] for option in passed_on}
    for flag, value in (
        ("-N", _job_name(request.name or "")),
        ("-q", attributes.queue_name),
        ("-P", attributes.account),
        ("-ar", attributes.reservation_id),
    ):
        if value and flag not in named:
            found.append((flag, value))
    requests = _resources(attributes, custom, request.needs, slots)
    if requests:
        found.append(("-l", ",".join(requests)))
    if environment is not None:
        found.append(environment)
    context = list(_context(spec, request.name or ""))
    if context:
        found.append(("-ac", ",".join(context)))
    if spec.inherit_environment:
        found.append(("-V",))
    if request.array_count is not None:
        found.append(("-t", f"1-{request.array_count}"))
    waits_for = [native_id for ids in request.dependencies.values() for native_id in ids]
    if waits_for:
        found.append(("-hold_jid", _dependencies(waits_for)))
    if request.held and "-h" not in named:
        found.append(("-h",))
    return [*found, *passed_on]
