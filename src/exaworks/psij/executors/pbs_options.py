"""From a job's specification to the options of qsub, for PBS Pro and for Torque.

Sources: qsub(1B) of OpenPBS 23.06, and qsub(1B) of Torque 6.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from urllib.parse import quote, unquote

from exaworks.psij.exceptions import InvalidJobException
from exaworks.psij.executors.batch import Option, Request
from exaworks.psij.job_attributes import JobAttributes
from exaworks.psij.job_spec import JobSpec
from exaworks.psij.resource_spec import ResourceSpecV1

__all__ = [
    "LOG_VARIABLE",
    "NAME_VARIABLE",
    "OWN_LOG",
    "classic_options",
    "decode",
    "job_name",
    "pro_options",
]

NAME_VARIABLE = "EXAWORKS_NAME"
"""Variable of a job that holds its name, percent-encoded, if PBS does not allow that name."""

LOG_VARIABLE = "EXAWORKS_LOG"
"""Variable of a job that holds the path of its log, percent-encoded, if PBS does not write it."""

OWN_LOG = '[ ! /dev/fd/1 -ef /dev/null ] || exec >"$_psij_log" 2>&1'
"""Line of a job script: if PBS writes no log, the script does."""

_NO_LOG = "/dev/null"

_PRO_NAME, _CLASSIC_NAME = 230, 15  # PBS_MAXJOBNAME of pbs_ifl.h; qsub(1B) of Torque, -N
_HIDDEN_BY_DEFAULT = "set spec.stdout_path and spec.stderr_path"
_REFUSED = {
    "C": "leave it out",
    "D": "set spec.directory",
    "F": "set spec.arguments",
    "G": "leave it out",
    "I": "use job.wait()",
    "J": "submit the jobs together with submit_many()",
    "R": _HIDDEN_BY_DEFAULT,
    "S": "set spec.executable",
    "V": "set spec.inherit_environment",
    "X": "leave it out",
    "d": "set spec.directory",
    "e": "set spec.stderr_path",
    "f": "leave it out",
    "j": _HIDDEN_BY_DEFAULT,
    "k": _HIDDEN_BY_DEFAULT,
    "o": "set spec.stdout_path",
    "t": "submit the jobs together with submit_many()",
    "v": "set spec.environment",
    "w": "set spec.directory",
    "x": "leave it out",
    "z": "leave it out and read job.native_id",
    "W.block": "use job.wait()",
    "W.interactive": "use job.wait()",
}


def job_name(name: str, most: int) -> str:
    """A name that PBS allows: letters, digits and ``-_+.``, a letter first (qsub(1B), -N)."""
    allowed = re.sub(r"[^A-Za-z0-9_.+-]", "_", name)
    if not allowed[:1].isalpha():
        allowed = f"j{allowed}"
    return allowed[:most]


def decode(text: str) -> str:
    """The value of :data:`NAME_VARIABLE` or :data:`LOG_VARIABLE`."""
    return unquote(text, errors="surrogatepass")


def _encode(text: str) -> str:
    return quote(text, safe="/", errors="surrogatepass")


def _walltime(seconds: float) -> str:
    minutes, rest = divmod(max(1, -int(-seconds // 1)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{rest:02}"


def _asks_for_resources(spec: JobSpec, needs: ResourceSpecV1) -> bool:
    counts = (needs.node_count, needs.process_count, needs.processes_per_node)
    return (
        any(count is not None for count in counts)
        or needs.cpu_cores_per_process is not None
        or bool(needs.gpu_cores_per_process)
        or needs.exclusive_node_use
        or spec.launcher == "multiple"
    )


def _mebibytes(memory: int, parts: int) -> str:
    return f"{-(-memory // (parts * 2**20))}mb"


def _pro_resources(spec: JobSpec, needs: ResourceSpecV1) -> dict[str, str]:
    """``select`` and ``place``, as far as resources were asked for."""
    if not _asks_for_resources(spec, needs) and needs.memory is None:
        return {}
    cores, gpus = needs.cpu_cores_per_process or 1, needs.gpu_cores_per_process or 0
    chunks, each = needs.computed_node_count, needs.computed_processes_per_node
    by_node = needs.node_count is not None or needs.processes_per_node is not None
    # "multiple" starts all processes on one node; others can be wherever there is room
    if not by_node and spec.launcher != "multiple":
        chunks, each = needs.computed_process_count, 1
    words = [str(chunks), f"ncpus={each * cores}", f"mpiprocs={each}"]
    if gpus:
        words.append(f"ngpus={each * gpus}")
    if needs.memory is not None:
        words.append(f"mem={_mebibytes(needs.memory, chunks)}")
    found = {"select": ":".join(words)}
    place = ["scatter"] if by_node else []
    if needs.exclusive_node_use:
        place.append("exclhost")
    if place:
        found["place"] = ":".join(place)
    return found


def _classic_resources(spec: JobSpec, needs: ResourceSpecV1) -> dict[str, str]:
    """``nodes`` and ``mem``, as far as resources were asked for."""
    found = {}
    if _asks_for_resources(spec, needs):
        cores, gpus = needs.cpu_cores_per_process or 1, needs.gpu_cores_per_process or 0
        each = needs.computed_processes_per_node
        words = [f"{needs.computed_node_count}", f"ppn={each * cores}"]
        if gpus:
            words.append(f"gpus={each * gpus}")
        found["nodes"] = ":".join(words)
    if needs.memory is not None:
        found["mem"] = _mebibytes(needs.memory, 1)
    return found


def _listed(text: str) -> Iterator[str]:
    """The names in a list like ``a=1,b=2:c=3``."""
    for item in text.split(","):
        yield item.partition("=")[0].strip()


def _custom(attributes: JobAttributes, prefixes: tuple[str, ...]) -> Iterator[tuple[str, str, str]]:
    """Custom attributes for this executor.

    Yields:
        the option; the name of a resource (``-l``) or job attribute (``-W``), or ``""``; the value.
    """
    for key, value in (attributes.custom_attributes or {}).items():
        prefix, dot, name = key.partition(".")
        if prefix.lower() not in prefixes or not dot:
            continue
        text = "" if value is None or value is True else str(value)
        if "\0" in text or "\n" in text:
            raise InvalidJobException(
                f"custom attribute {key!r} contains a NUL character or a line break"
            )
        letter, dot, part = name.partition(".")
        if not dot or letter not in ("l", "W"):
            letter, part = (name, "") if len(name) == 1 else ("l", name)
        words = f"{letter} {part}".strip() if name else ""
        if re.fullmatch(r"[A-Za-z]( [A-Za-z][A-Za-z0-9_.-]*)?", words, re.ASCII) is None:
            raise InvalidJobException(
                f"custom attribute {key!r} names no option of qsub; write 'pbs.' and the letter of "
                "an option ('pbs.p'), the name of a resource ('pbs.filesystems'), or 'pbs.W.' and "
                "the name of a job attribute ('pbs.W.umask')"
            )
        named = [letter] if letter != "W" else [f"W.{each}" for each in _listed(part or text)]
        for each in named:
            if each in _REFUSED:
                raise InvalidJobException(
                    f"custom attribute {key!r} is not possible here: {_REFUSED[each]} instead"
                )
        if value is not False:
            yield f"-{letter}", part, text


def _merge(
    chosen: dict[str, str | None],
    resources: dict[str, str],
    attributes: JobAttributes,
    prefixes: tuple[str, ...],
) -> list[Option]:
    """All options; custom attributes take the place of what the specification says."""
    more: list[Option] = []
    for option, part, text in _custom(attributes, prefixes):
        if option == "-l":
            given = f"{part}={text}" if part else text
            named = {part} if part else set(_listed(text))
            for other in named:
                resources.pop(other, None)
            if "nodes" in named:  # qsub(1B): not to be mixed with the newer form
                resources.pop("select", None)
            if named & {"nodes", "select"}:
                resources.pop("place", None)
            more.append(("-l", given.rstrip("=") if not text else given))
        elif option == "-W":
            more.append(("-W", f"{part}={text}" if part else text))
        else:
            chosen[option] = text or None
    found: list[Option] = [(k,) if v is None else (k, v) for k, v in chosen.items()]
    found += [("-l", f"{name}={value}") for name, value in resources.items()]
    return found + more


def _common(request: Request, most: int) -> tuple[dict[str, str | None], dict[str, str]]:
    """The options and resources that both systems have, and variables for the job."""
    attributes = request.spec.attributes
    chosen: dict[str, str | None] = {}
    variables: dict[str, str] = {}
    if request.name:
        chosen["-N"] = job_name(request.name, most)
        if chosen["-N"] != request.name:
            variables[NAME_VARIABLE] = _encode(request.name)
    if attributes.queue_name:
        chosen["-q"] = attributes.queue_name
    if attributes.account:
        chosen["-A"] = attributes.account
    return chosen, variables


def _limits(attributes: JobAttributes) -> dict[str, str]:
    if attributes.duration is None:
        return {}
    return {"walltime": _walltime(attributes.duration.total_seconds())}


def _dependencies(dependencies: Mapping[str, object]) -> list[Option]:
    if not dependencies:
        return []
    words = [":".join([kind, *ids]) for kind, ids in dependencies.items()]  # type: ignore[misc]
    return [("-W", f"depend={','.join(words)}")]


def _rest(request: Request, variables: Mapping[str, str]) -> list[Option]:
    found: list[Option] = [("-h",)] if request.held else []
    found += _dependencies(request.dependencies)
    if request.spec.inherit_environment:
        found.append(("-V",))
    if variables:
        found.append(("-v", ",".join(f"{key}={value}" for key, value in variables.items())))
    return found


def pro_options(request: Request) -> list[Option]:
    """The options of qsub of PBS Pro and OpenPBS; see :meth:`SchedulerAdapter.options`."""
    attributes = request.spec.attributes
    chosen, variables = _common(request, _PRO_NAME)
    if attributes.reservation_id:  # a reservation has a queue, whose name is the id's first part
        chosen["-q"] = attributes.reservation_id.partition(".")[0]
    resources = {**_limits(attributes), **_pro_resources(request.spec, request.needs)}
    found = _merge(chosen, resources, attributes, ("pbs", "pbspro"))
    # Direct writing of the log (since 18.1): a copy at the end would come after the job's own
    # report, and needs a way back to the submitting machine. Paths must be printable ASCII.
    if request.log.isascii() and request.log.isprintable():
        found += [("-k", "oed"), ("-j", "oe"), ("-o", request.log)]
    else:
        variables[LOG_VARIABLE] = _encode(request.log)
        found += [("-j", "oe"), ("-o", _NO_LOG)]
    found.append(("-S", "/bin/bash"))
    if request.array_count is not None:
        found.append(("-J", f"0-{request.array_count - 1}"))
    return found + _rest(request, variables)


def classic_options(request: Request) -> list[Option]:
    """The options of qsub of Torque; see :meth:`SchedulerAdapter.options`."""
    attributes, needs = request.spec.attributes, request.needs
    chosen, variables = _common(request, _CLASSIC_NAME)
    resources = {**_limits(attributes), **_classic_resources(request.spec, needs)}
    found = _merge(chosen, resources, attributes, ("pbs", "pbs_classic", "torque"))
    if attributes.reservation_id:  # kept by the scheduler, Maui or Moab
        found.append(("-W", f"x=FLAGS:ADVRES:{attributes.reservation_id}"))
    if needs.exclusive_node_use:
        found.append(("-n",))
    # The script writes the log itself: Torque would copy it back when the job has ended.
    variables[LOG_VARIABLE] = _encode(request.log)
    found += [("-j", "oe"), ("-o", _NO_LOG), ("-S", "/bin/bash")]
    if request.array_count is not None:
        found.append(("-t", f"0-{request.array_count - 1}"))
    return found + _rest(request, variables)
