"""What an engine is to run for a job: the job's own command, or a script around it.

A job that is a command with its files is handed to the engine as it is. Scripts before and after,
staging, cleanup, and references to variables need the script that batch schedulers run, too. How
it ended, it prints to its standard output, which the engine brings back with the result; so
nothing has to be on a file system that the nodes share.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exaworks.psij import script
from exaworks.psij.exceptions import InvalidJobException
from exaworks.psij.job import Job
from exaworks.psij.job_executor import Rendered
from exaworks.psij.job_launcher import Launcher
from exaworks.psij.job_spec import JobSpec
from exaworks.psij.resource_spec import ResourceSpecV1
from exaworks.psij.validate import command, directory, expand_home, resources
from exaworks.tasks.engine import Engine
from exaworks.tasks.errors import InvalidTaskError
from exaworks.tasks.spec import TaskSpec

__all__ = ["JobTask", "make_task", "shown"]

_SINGLE = Launcher.DEFAULT_LAUNCHER_NAME
_ON_ONE_NODE = (_SINGLE, "multiple")
"""Launchers that start processes on the first node only, however many there are."""

_PREFIX = "engine."
_OPTIONS = ("colocate", "priority", "restartable", "retries")
"""Fields of a task that a custom attribute can set, as in ``engine.priority``."""

# What users source before a job is often written for bash.
_SHELL = "/bin/bash" if os.path.exists("/bin/bash") else "/bin/sh"

# Descriptor 9 is for the report; all else that the script prints goes where errors go.
_FUNCTIONS = """\
exec 9>&1 >&2
_psij_nodefile=
_psij_step=
_psij_event() { # STATE
    _psij_step=$1
}
_psij_record() { # CODE TERM MESSAGE
    printf '%s\\n' token=task state=END "code=$1" "term=$2" "phase=$_psij_phase" \\
        "step=$_psij_step" "message=$3" --end-- >&9
    [ -z "$_psij_nodefile" ] || command -p rm -f -- "$_psij_nodefile"
}
"""

_NODEFILE = """\
_psij_nodefile=$(command -p mktemp "${TMPDIR:-/tmp}/exaworks-nodes.XXXXXX")
_psij_node=$(command -p uname -n)
_psij_left=%d
while [ "$_psij_left" -gt 0 ]; do
    echo "$_psij_node"
    _psij_left=$((_psij_left - 1))
done >"$_psij_nodefile"
export PSIJ_NODEFILE="$_psij_nodefile"
"""


@dataclass(frozen=True)
class JobTask:
    """A job in the words of an engine.

    Attributes:
        spec: the task.
        scripted: whether it runs a script that reports how the job ended.
    """

    spec: TaskSpec
    scripted: bool


def make_task(job: Job, launcher: Launcher, engine: Engine) -> JobTask:
    """The task for a checked job.

    Raises:
        InvalidJobException: a task cannot be like that.
    """
    spec = job.spec
    assert spec is not None
    needs = resources(job)
    name = spec.launcher or _SINGLE
    count = needs.computed_process_count
    nodes = _node_count(needs)
    parallel = count > 1 and name != _SINGLE
    # Only there can the script know the nodes; elsewhere the engine itself starts the processes.
    on_one_node = nodes == 1 or not engine.features.spread
    scripted = (
        spec.pre_launch is not None
        or spec.post_launch is not None
        or spec.moves_data
        or launcher.wraps_everything
        or (parallel and on_one_node)
        or any(script.references(word) for word in _words(spec))
    )
    fields = {**_options(spec), **_resources(needs, nodes, engine)}
    fields["name"] = spec.name
    fields["inherit_environment"] = spec.inherit_environment
    limit = spec.attributes.duration if spec.attributes.duration_given else None
    fields["time_limit"] = limit
    if scripted:
        if parallel and name not in _ON_ONE_NODE:
            if nodes is not None and nodes > 1:
                raise InvalidJobException(
                    f"{job} cannot run in an engine: its processes are on {nodes} nodes, and then "
                    "there can be no scripts before or after it, no staging, and no ${NAME}"
                )
            fields["nodes"] = 1
        seconds = None if limit is None else int(limit.total_seconds())
        fields["command"] = [_SHELL, "-c", _script(job, launcher, parallel, seconds)]
        fields["launcher"] = _SINGLE if count > 1 else None
    else:
        base = str(directory(spec) or os.getcwd())
        fields["command"] = command(spec)
        fields["launcher"] = None if name == _SINGLE and count == 1 else name
        fields["environment"] = spec.environment or {}
        fields["directory"] = base
        for stream in ("stdin", "stdout", "stderr"):
            fields[stream] = _file(base, getattr(spec, f"{stream}_path"))
    try:
        return JobTask(TaskSpec(**fields), scripted)
    except InvalidTaskError as problem:
        raise InvalidJobException(f"{job} cannot run in an engine: {problem}", problem) from problem


def shown(task: JobTask, job: Job, launcher: Launcher) -> Rendered:
    """The command that the engine would start, and its script if it has one."""
    assert task.spec.command is not None
    if task.scripted:
        *words, text = task.spec.command
        return Rendered(words, text)
    return Rendered(launcher.get_launch_command(job))


def _words(spec: JobSpec) -> list[str]:
    return [*command(spec), *(spec.environment or {}).values()]


def _file(base: str, path: Path | None) -> str:
    return os.devnull if path is None else os.path.join(base, expand_home(path))


def _node_count(needs: ResourceSpecV1) -> int | None:
    """On how many nodes the job is to be; ``None``: it does not say."""
    if needs.node_count is None and needs.processes_per_node is None:
        return 1 if needs.exclusive_node_use else None
    return needs.computed_node_count


def _resources(needs: ResourceSpecV1, nodes: int | None, engine: Engine) -> Mapping[str, Any]:
    count = needs.computed_process_count
    cores = needs.cpu_cores_per_process or 1
    if needs.exclusive_node_use and nodes is not None:
        # Nobody else has room on a node all of whose cores are taken.
        there = min((len(node.cores) for node in engine.resources().total), default=0)
        cores = max(cores, there // (count // nodes))
    return {
        "ranks": count,
        "cores": cores,
        "gpus": needs.gpu_cores_per_process or 0,
        "memory": 0 if needs.memory is None else -(-needs.memory // count),
        "nodes": nodes,
    }


def _options(spec: JobSpec) -> dict[str, Any]:
    found = {}
    for key, value in (spec.attributes.custom_attributes or {}).items():
        if not key.lower().startswith(_PREFIX):
            continue
        name = key[len(_PREFIX) :]
        if name not in _OPTIONS:
            known = ", ".join(f"{_PREFIX}{each}" for each in _OPTIONS)
            raise InvalidJobException(f"there is no custom attribute {key!r}; there are: {known}")
        found[name] = value
    return found


def _script(job: Job, launcher: Launcher, parallel: bool, limit: int | None) -> str:
    spec = job.spec
    assert spec is not None
    *lines, launch = script.element(job, launcher, os.getcwd())
    count = resources(job).computed_process_count
    return "\n".join(
        [
            _FUNCTIONS.rstrip(),
            *([(_NODEFILE % count).rstrip()] if parallel else []),
            *lines,
            f"{launch} 9>&-",  # the job itself is not to have that descriptor
            script.batch_body(spec, launcher, limit),
        ]
    )
