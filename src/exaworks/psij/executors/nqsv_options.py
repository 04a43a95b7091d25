"""From a job's specification to the options of qsub, for NQSV.

Sources: the usage text of NQSV's qsub for ``-l``, job scripts in public use on several sites, and
NQSV User's Guide [Operation].
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from exaworks.psij.exceptions import InvalidJobException
from exaworks.psij.executors.batch import Option, Request
from exaworks.psij.job_attributes import JobAttributes
from exaworks.psij.resource_spec import ResourceSpecV1

__all__ = ["OWN_LOG", "job_name", "options"]

_VARIABLE = "EXAWORKS_OWN_LOG"

OWN_LOG = f'[ -z "${{{_VARIABLE}:-}}" ] || exec >"$_psij_log" 2>&1'
"""Line of a job script: it writes the log itself if NQSV does not."""

_LONGEST_NAME = 63
_HIDDEN = "set spec.stdout_path and spec.stderr_path"
_ARRAY = "submit the jobs together with submit_many()"
_REFUSED = {
    "I": "use job.wait()",
    "S": "set spec.executable",
    "V": "set spec.inherit_environment",
    "d": "set spec.directory",
    "e": _HIDDEN,
    "f": "leave it out",
    "j": _HIDDEN,
    "k": _HIDDEN,
    "o": _HIDDEN,
    "t": _ARRAY,
    "x": "leave it out",
    "z": "leave it out and read job.native_id",
}
_TOPOLOGIES = "'openmpi', 'intmpi' or 'necmpi', as the site has it"


def job_name(name: str) -> str:
    """A name that NQSV allows: letters, digits and ``-_+.``, a letter first."""
    allowed = re.sub(r"[^A-Za-z0-9_.+-]", "_", name)
    if not allowed[:1].isalpha():
        allowed = f"j{allowed}"
    return allowed[:_LONGEST_NAME]


def _walltime(seconds: float) -> str:
    minutes, rest = divmod(max(1, -int(-seconds // 1)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{rest:02}"


def _resources(needs: ResourceSpecV1) -> tuple[dict[str, str], int]:
    """Values for ``-l``, each for one node, and the number of nodes, as far as asked for."""
    cores, gpus = needs.cpu_cores_per_process, needs.gpu_cores_per_process
    nodes, each = needs.computed_node_count, needs.computed_processes_per_node
    counts = (needs.node_count, needs.process_count, needs.processes_per_node, cores)
    found: dict[str, str] = {}
    if any(count is not None for count in counts):
        found["cpunum_job"] = str(each * (cores or 1))
    if gpus:
        found["gpunum_job"] = str(each * gpus)
    if needs.memory is not None:
        found["memsz_job"] = f"{-(-needs.memory // (nodes * 2**20))}mb"
    return found, nodes


def _custom(attributes: JobAttributes) -> Iterator[tuple[str, str | None]]:
    """Options from custom attributes ``nqsv.X``: a letter, ``l.name`` or a long name; a value."""
    for key, value in (attributes.custom_attributes or {}).items():
        prefix, dot, name = key.partition(".")
        if prefix.lower() != "nqsv" or not dot:
            continue
        if len(name) > 1 and not name.startswith("l."):
            name = name.replace("_", "-")
        if re.fullmatch(r"[A-Za-z]|l\.[A-Za-z_]+|[A-Za-z][A-Za-z0-9-]+", name, re.ASCII) is None:
            raise InvalidJobException(
                f"custom attribute {key!r} names no option of qsub; write 'nqsv.' and the letter "
                "or the long name of an option ('nqsv.T', 'nqsv.group'), or 'nqsv.l.' and the "
                "name of a resource ('nqsv.l.cputim_job')"
            )
        if name in _REFUSED:
            raise InvalidJobException(
                f"custom attribute {key!r} is not possible here: {_REFUSED[name]} instead"
            )
        text = "" if value is None or value is True else str(value)
        if "\0" in text or "\n" in text:
            raise InvalidJobException(
                f"custom attribute {key!r} contains a NUL character or a line break"
            )
        if value is not False:
            yield name, text or None


def options(request: Request) -> list[Option]:
    """The options of qsub for a job; see :meth:`SchedulerAdapter.options`.

    Custom attributes take the place of what the specification says about the same option.

    Raises:
        InvalidJobException: a custom attribute is not allowed, or a job on several nodes does not
            say which MPI starts its processes.
    """
    attributes, needs = request.spec.attributes, request.needs
    limits: dict[str, str] = {}
    if attributes.duration is not None:
        limits["elapstim_req"] = _walltime(attributes.duration.total_seconds())
    resources, nodes = _resources(needs)
    limits.update(resources)
    chosen: dict[str, str | None] = {
        "N": job_name(request.name) if request.name else None,
        "q": attributes.queue_name,
        "A": attributes.account,
        "y": attributes.reservation_id,
        "b": str(nodes) if resources or nodes > 1 else None,
    }
    chosen = {key: value for key, value in chosen.items() if value}
    if needs.exclusive_node_use:
        chosen["exclusive"] = None
    more: list[Option] = []
    for name, value in _custom(attributes):
        if name == "l":
            more.append(("-l", value or ""))
        elif name.startswith("l."):
            limits[name[2:]] = value or ""
        else:
            chosen[name] = value
    if (chosen.get("b") or "1") != "1" and chosen.get("T", "distrib") == "distrib":
        # NQSV would run the script on each of the nodes
        raise InvalidJobException(
            "a job on several nodes must say which MPI starts its processes: set the custom "
            f"attribute 'nqsv.T' to {_TOPOLOGIES}"
        )
    variables = chosen.pop("v", None)
    found: list[Option] = []
    for name, value in chosen.items():
        if len(name) == 1:
            found.append((f"-{name}",) if value is None else (f"-{name}", value))
        else:
            found.append((f"--{name}",) if value is None else (f"--{name}={value}",))
    found += [("-l", f"{name}={value}") for name, value in limits.items()] + more
    return found + _rest(request, variables)


def _rest(request: Request, variables: str | None) -> list[Option]:
    found: list[Option] = [("-S", "/bin/bash")]
    if request.array_count is not None:
        found.append(("-t", f"1-{request.array_count}"))
    if request.held:
        found.append(("-h",))
    if request.spec.inherit_environment:
        found.append(("-V",))
    # A colon separates a host from a path, and "%" begins what NQSV replaces.
    plain = re.fullmatch(r"[A-Za-z0-9_@+=,./-]*", request.log, re.ASCII) is not None
    named = request.array_count is None and plain
    known = [variables] if variables else []
    if not named:
        known.append(f"{_VARIABLE}=1")
    found += [("-j", "o"), ("-o", request.log if named else "/dev/null")]
    return [*found, ("-v", ",".join(known))] if known else found
