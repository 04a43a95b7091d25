"""From a job's specification to the options of bsub.

Source: the command reference of IBM Spectrum LSF 10.1, bsub(1).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from exaworks.psij.exceptions import InvalidJobException
from exaworks.psij.executors.batch import Option, Request
from exaworks.psij.job_attributes import JobAttributes
from exaworks.psij.job_spec import JobSpec
from exaworks.psij.resource_spec import ResourceSpecV1
from exaworks.psij.validate import expand_home

__all__ = ["allocated_nodes", "job_name", "one_line", "options"]

_HIDDEN = "set spec.stdout_path and spec.stderr_path"
_REFUSED = {
    "I": "use job.wait()",
    "IS": "use job.wait()",
    "ISp": "use job.wait()",
    "ISs": "use job.wait()",
    "IX": "use job.wait()",
    "Ip": "use job.wait()",
    "Is": "use job.wait()",
    "J": "set spec.name",
    "Jd": "leave it out (it is used to find the job again)",
    "K": "use job.wait()",
    "V": "leave it out",
    "XF": "leave it out",
    "cwd": "set spec.directory",
    "e": _HIDDEN,
    "env": "set spec.environment and spec.inherit_environment",
    "eo": _HIDDEN,
    "h": "leave it out",
    "i": "set spec.stdin_path",
    "is": "set spec.stdin_path",
    "json": "leave it out",
    "jsdl": "leave it out",
    "jsdl_strict": "leave it out",
    "o": _HIDDEN,
    "oo": _HIDDEN,
    "outdir": "set spec.stdout_path",
    "pack": "submit the jobs together with submit_many()",
    "tty": "leave it out",
    "yaml": "leave it out",
}
_SEVERAL = ("R", "a", "f")  # may be given several times, and add up

_CONDITIONS = {
    "after": "started",
    "afterok": "done",
    "afternotok": "exit",
    "afterany": "ended",
}


def job_name(name: str) -> str:
    """A name that is one for LSF: brackets would ask for an array, and ``%`` and ``*`` have
    meanings in other commands (bsub(1), -J)."""
    allowed = re.sub(r"[^A-Za-z0-9_.+=@:, -]", "_", name).strip()
    return re.sub(r"^-", "_", allowed)[:4000]


def _walltime(seconds: float) -> str:
    hours, minutes = divmod(max(1, -int(-seconds // 60)), 60)
    return f"{hours}:{minutes:02}"


def _resources(spec: JobSpec, needs: ResourceSpecV1) -> Iterator[Option]:
    """Options for resources, as far as they were asked for."""
    nodes, per_node = needs.node_count, needs.processes_per_node
    cores, gpus = needs.cpu_cores_per_process or 1, needs.gpu_cores_per_process or 0
    by_node = nodes is not None or per_node is not None
    if by_node or needs.process_count is not None or cores > 1:
        yield "-n", str(needs.computed_process_count * cores)
        if by_node:
            yield "-R", f"span[ptile={needs.computed_processes_per_node * cores}]"
        elif spec.launcher == "multiple" or needs.computed_process_count == 1:
            yield "-R", "span[hosts=1]"  # the processes, or the threads of one, stay together
    if needs.memory is not None:
        parts = needs.computed_node_count * 2**20
        yield "-R", f"rusage[mem={-(-needs.memory // parts)}MB]"
    if gpus:
        yield "-gpu", f"num={needs.computed_processes_per_node * gpus}"
    if needs.exclusive_node_use:
        yield ("-x",)


def _custom(attributes: JobAttributes) -> Iterator[tuple[str, str | None]]:
    """Options from custom attributes ``lsf.X``: name and value."""
    for key, value in (attributes.custom_attributes or {}).items():
        prefix, dot, name = key.partition(".")
        if prefix.lower() != "lsf" or not dot:
            continue
        if re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name, re.ASCII) is None:
            raise InvalidJobException(
                f"custom attribute {key!r} names no option of bsub; write 'lsf.' and the name of "
                "the option without the hyphen in front, for instance 'lsf.alloc_flags'"
            )
        if name in _REFUSED:
            raise InvalidJobException(
                f"custom attribute {key!r} is not possible here: {_REFUSED[name]} instead"
            )
        text = "" if value is None or value is True else str(value)
        if "\0" in text:
            raise InvalidJobException(f"custom attribute {key!r} contains a NUL character")
        if value is not False:
            yield name, text or None


def allocated_nodes(spec: JobSpec) -> bool:
    """Whether nodes are asked for as on Summit, with ``lsf.nnodes``; then bsub takes no slots."""
    return any(name == "nnodes" for name, _ in _custom(spec.attributes))


def _condition(dependencies: Mapping[str, Sequence[str]]) -> str:
    return " && ".join(
        f"{_CONDITIONS[kind]}({native_id})"
        for kind, ids in dependencies.items()
        for native_id in ids
    )


def options(request: Request) -> list[Option]:
    """The options of bsub for a job; see :meth:`SchedulerAdapter.options`.

    Custom attributes take the place of what the specification says about the same option, except
    for those that bsub adds up (``-R``).
    """
    spec, attributes = request.spec, request.spec.attributes
    found: list[Option] = []
    name = job_name(request.name or "")
    if request.array_count is not None:
        found.append(("-J", f"{name or 'array'}[1-{request.array_count}]"))
    elif name:
        found.append(("-J", name))
    for letter, value in (
        ("-q", attributes.queue_name),
        ("-P", attributes.account),
        ("-U", attributes.reservation_id),
    ):
        if value:
            found.append((letter, value))
    if attributes.duration is not None:
        found.append(("-W", _walltime(attributes.duration.total_seconds())))
    custom = list(_custom(attributes))
    chosen = {name for name, _ in custom}
    if "nnodes" not in chosen:
        found += _resources(spec, request.needs)
    replaced = {f"-{name}" for name in chosen.difference(_SEVERAL)}
    found = [option for option in found if option[0] not in replaced]
    found += [(f"-{name}",) if value is None else (f"-{name}", value) for name, value in custom]
    if request.dependencies:
        # -ti: or it would wait for ever if that cannot come true any more
        found += [("-w", _condition(request.dependencies)), ("-ti",)]
    if request.held and "H" not in chosen:
        found.append(("-H",))
    found.append(("-env", "all" if spec.inherit_environment else "none"))
    if spec.directory is not None:
        directory = str(expand_home(spec.directory))
        if "%" not in directory:  # LSF would replace %J and others; the script goes there anyway
            found.append(("-cwd", directory))
    # The script writes the log itself: LSF would append a report to it when the job has ended.
    # The description is where the log's path can be read from again.
    found += [("-o", "/dev/null"), ("-Jd", request.log)]
    return found


def one_line(script: bytes, directives: int) -> bytes:
    """A script for bsub, which takes every line for an option that begins with ``#BSUB``.

    If there is such a line in the middle of an argument of the job, all but the script's head is
    written so that no line begins with ``#``.

    Args:
        script: the script.
        directives: how many lines of options it begins with, after the first line.
    """
    if len(re.findall(rb"^[ \t]*#[ \t]*BSUB", script, re.MULTILINE)) == directives:
        return script
    lines = script.split(b"\n")
    body = b"\n".join(lines[1 + directives :])
    for plain, escaped in ((b"\\", b"\\\\"), (b"'", b"\\0047"), (b"#", b"\\0043")):
        body = body.replace(plain, escaped)
    head = b"".join(line + b"\n" for line in lines[: 1 + directives])
    return head + b"eval \"$(printf '%b' '" + body + b"')\"\n"
