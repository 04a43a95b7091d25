"""From a job's specification to the options of oarsub, and what OAR jobs do in the shell.

Sources: oarsub(1) of OAR 2.5.9, and what its oarsub accepts.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from exaworks.psij.exceptions import InvalidJobException
from exaworks.psij.executors.batch import Option, Request
from exaworks.psij.executors.script_environment import INHERIT
from exaworks.psij.job_attributes import JobAttributes
from exaworks.psij.job_spec import JobSpec
from exaworks.psij.resource_spec import ResourceSpecV1

__all__ = [
    "HOLD",
    "HOSTS",
    "INDEX",
    "LOG",
    "command_of",
    "log_of",
    "options",
    "setup",
]

LOG = "--stdout"
"""The option with the log, for :func:`command_of`: oarsub's own takes few characters in paths."""

INDEX = "%index%"
"""In that option: the number of the element."""

HOSTS = """\
_psij_hosts() { # COUNT
    command -p sort -u "$OAR_NODEFILE" | while read -r _psij_host; do
        _psij_count=$1
        while [ "$_psij_count" -gt 0 ]; do
            printf '%s\\n' "$_psij_host"
            _psij_count=$((_psij_count - 1))
        done
    done
}
command -p cat "$OAR_NODEFILE\""""
"""Prints the host of each core, and defines how that is done for processes of another width."""

# oarhold only asks the server, which sees to it when it has time.
HOLD = """\
ids=$1
shift
oarhold "$@" || exit
for _ in 1 2 3 4 5 6 7 8 9 10; do
    [ -n "$(oarstat -J --sql "state = 'Waiting' AND job_id IN ($ids)")" ] || break
    sleep 0.5
done
"""
"""For ``sh -c``, with ids with commas between, and the same as words: hold, and wait for it."""

_RUN = 'exec "$0" >>"$1" 2>&1'
_RUN_ELEMENT = 'exec "$0" >>"$1$OAR_ARRAY_INDEX$2" 2>&1'

_FLAGS = {
    "a": "anterior",
    "e": "export-job-key-to-file",
    "i": "import-job-key-from-file",
    "k": "use-job-key",
    "l": "resource",
    "n": "name",
    "p": "property",
    "q": "queue",
    "r": "reservation",
    "t": "type",
}
_REFUSED = {
    "array": "submit the jobs together with submit_many()",
    "array-param-file": "submit the jobs together with submit_many()",
    "C": "leave it out",
    "connect": "leave it out",
    "d": "set spec.directory",
    "directory": "set spec.directory",
    "D": "leave it out",
    "dumper": "leave it out",
    "E": "set spec.stderr_path",
    "stderr": "set spec.stderr_path",
    "O": "set spec.stdout_path",
    "stdout": "set spec.stdout_path",
    "I": "leave it out",
    "interactive": "leave it out",
    "J": "leave it out and read job.native_id",
    "json": "leave it out and read job.native_id",
    "resubmit": "submit a new job",
    "S": "leave it out",
    "scanscript": "leave it out",
    "X": "leave it out",
    "xml": "leave it out",
    "Y": "leave it out",
    "yaml": "leave it out",
    "h": "leave it out",
    "help": "leave it out",
    "V": "leave it out",
    "version": "leave it out",
}
_LONGEST_NAME = 100


def _custom(attributes: JobAttributes) -> dict[str, Any]:
    """Custom attributes ``oar.X`` by the long name of the option X, checked."""
    found: dict[str, Any] = {}
    for key, value in (attributes.custom_attributes or {}).items():
        prefix, dot, name = key.partition(".")
        if prefix.lower() != "oar" or not dot:
            continue
        if name in _REFUSED:
            raise InvalidJobException(
                f"custom attribute {key!r} is not possible here: {_REFUSED[name]} instead"
            )
        name = _FLAGS.get(name, name.replace("_", "-"))
        if re.fullmatch(r"[a-z][a-z0-9-]+", name, re.ASCII) is None:
            raise InvalidJobException(
                f"custom attribute {key!r} names no option of oarsub; write 'oar.' and the name "
                "of the option without hyphens in front, for instance 'oar.t'"
            )
        if re.search(r"[\0\n]", str(value)):
            raise InvalidJobException(f"custom attribute {key!r} contains a NUL or a new line")
        found[name] = value
    return found


def _values(value: Any) -> Iterator[str]:
    """The texts that an option is given with, one after the other."""
    for each in value if isinstance(value, (list, tuple)) else [value]:
        yield "" if each is None or isinstance(each, bool) else str(each).strip()


def _per_node(needs: ResourceSpecV1) -> bool:
    """Whether it is said how the job's processes are spread over nodes, or follows."""
    return bool(
        needs.node_count is not None
        or needs.processes_per_node is not None
        or needs.exclusive_node_use
        or needs.gpu_cores_per_process
        or (needs.cpu_cores_per_process or 1) > 1
    )


def _hierarchy(needs: ResourceSpecV1) -> str:
    """The resources, as OAR's hierarchy of them."""
    if not _per_node(needs):
        return f"/core={needs.computed_process_count}"
    each = needs.computed_processes_per_node
    cores, gpus = needs.cpu_cores_per_process, needs.gpu_cores_per_process
    text = f"/nodes={needs.computed_node_count}"
    if needs.exclusive_node_use:
        return text
    if gpus:
        text += f"/gpu={gpus * each}"
        return f"{text}/core={-(-cores // gpus)}" if cores else text
    return f"{text}/core={(cores or 1) * each}"


def _walltime(attributes: JobAttributes) -> str | None:
    if attributes.duration is None:
        return None
    seconds = max(1, -int(-attributes.duration.total_seconds() // 1))
    return f"walltime={seconds // 3600}:{seconds // 60 % 60}:{seconds % 60}"


def _resources(
    attributes: JobAttributes, custom: dict[str, Any], needs: ResourceSpecV1
) -> Iterator[str]:
    given = [text for text in _values(custom.get("resource")) if text]
    if needs.memory is not None and not given and not custom.get("property"):
        raise InvalidJobException(
            "resources.memory cannot be asked for: OAR has no memory of its own, only properties "
            "of nodes that differ by site. Leave it out and say in custom attribute 'oar.p' which "
            'nodes will do, for instance "memnode >= 64000" (oarnodes lists the properties)'
        )
    wall = _walltime(attributes)
    for text in given or [_hierarchy(needs)]:
        yield text if wall is None or "walltime" in text else f"{text},{wall}"


def _job_name(name: str) -> str:
    """A name as OAR takes it: at most 100 characters, and it does not quote it everywhere."""
    return re.sub(r"[^A-Za-z0-9 ._+=:,@-]", "_", name)[:_LONGEST_NAME].strip()


def options(request: Request) -> list[Option]:
    """The options of oarsub for a job; see :meth:`SchedulerAdapter.options`.

    Custom attributes take the place of what the specification says about the same option.

    Raises:
        InvalidJobException: a custom attribute is not allowed, or memory is asked for, which OAR
            cannot do.
    """
    attributes = request.spec.attributes
    custom = _custom(attributes)
    # The script enters the job's directory itself, and can say so if it is not there.
    found: list[Option] = [("--directory", "/"), ("--stderr", "/dev/null")]
    if request.log:
        found.append((LOG, request.log))
    found += [("--resource", text) for text in _resources(attributes, custom, request.needs)]
    for name, value in (
        ("name", _job_name(request.name or "")),
        ("queue", attributes.queue_name),
        ("project", attributes.account),
    ):
        if value and name not in custom:
            found.append((f"--{name}", value))
    if attributes.reservation_id:
        found.append(("--type", f"inner={attributes.reservation_id}"))
    if request.array_count is not None:
        found.append(("--array", str(request.array_count)))
    for native_ids in request.dependencies.values():
        found += [("--anterior", native_id) for native_id in native_ids]
    if request.held and "hold" not in custom:
        found.append(("--hold",))
    for name, value in custom.items():
        if name == "resource" or value is False:
            continue
        for text in _values(value):
            found.append((f"--{name}", text) if text else (f"--{name}",))
    return found


def setup(spec: JobSpec) -> list[str]:
    """See :meth:`SchedulerAdapter.setup`. OAR itself hands no variables on."""
    needs = spec.resources if isinstance(spec.resources, ResourceSpecV1) else ResourceSpecV1()
    lines = []
    if _per_node(needs) and "resource" not in _custom(spec.attributes):
        lines.append(f'_psij_hosts {needs.computed_processes_per_node} >"$_psij_nodefile"')
    return [*lines, INHERIT] if spec.inherit_environment else lines


def command_of(path: str, log: str) -> str:
    """The command for oarsub, which the user's shell will read: run a script, with its log."""
    before, element, after = log.partition(INDEX)
    words = [_RUN_ELEMENT, path, before, after] if element else [_RUN, path, log]
    return shlex.join(["/bin/sh", "-c", *words])


def log_of(command: str, index: int) -> str | None:
    """The log in a command that :func:`command_of` has made; ``None`` if it has not.

    Args:
        command: the command as OAR tells it.
        index: the number of the element, from 1.
    """
    try:
        words: Sequence[str] = shlex.split(command)
    except ValueError:
        return None
    if words[:2] != ["/bin/sh", "-c"]:
        return None
    if len(words) == 5 and words[2] == _RUN:
        return words[4]
    if len(words) == 6 and words[2] == _RUN_ELEMENT:
        return f"{words[4]}{index}{words[5]}"
    return None
