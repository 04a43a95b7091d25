"""From a job's specification to the options of sbatch.

Source: sbatch(1) of Slurm 22.05 to 24.11.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from exaworks.psij.exceptions import InvalidJobException
from exaworks.psij.executors.batch import Option, Request
from exaworks.psij.job_attributes import JobAttributes
from exaworks.psij.job_spec import JobSpec
from exaworks.psij.resource_spec import ResourceSpecV1
from exaworks.psij.validate import expand_home

__all__ = ["options", "overriding_variables"]

_LONG_NAMES = {
    "a": "array",
    "A": "account",
    "b": "begin",
    "B": "extra-node-info",
    "c": "cpus-per-task",
    "C": "constraint",
    "d": "dependency",
    "D": "chdir",
    "e": "error",
    "F": "nodefile",
    "G": "gpus",
    "h": "help",
    "H": "hold",
    "i": "input",
    "J": "job-name",
    "k": "no-kill",
    "L": "licenses",
    "m": "distribution",
    "M": "clusters",
    "n": "ntasks",
    "N": "nodes",
    "o": "output",
    "O": "overcommit",
    "p": "partition",
    "q": "qos",
    "Q": "quiet",
    "s": "oversubscribe",
    "S": "core-spec",
    "t": "time",
    "v": "verbose",
    "V": "version",
    "w": "nodelist",
    "W": "wait",
    "x": "exclude",
}

_REFUSED = {
    "array": "submit the jobs together with submit_many()",
    "chdir": "set spec.directory",
    "error": "set spec.stderr_path",
    "export": "set spec.environment and spec.inherit_environment",
    "export-file": "set spec.environment",
    "help": "leave it out",
    "input": "set spec.stdin_path",
    "open-mode": "set spec.stdout_path, or append to a file in the job itself",
    "output": "set spec.stdout_path",
    "parsable": "leave it out and read job.native_id",
    "quiet": "leave it out",
    "test-only": "use executor.render(job)",
    "usage": "leave it out",
    "verbose": "leave it out",
    "version": "leave it out",
    "wait": "use job.wait()",
    "wrap": "set spec.executable and spec.arguments",
}


def _walltime(seconds: float) -> str:
    minutes, rest = divmod(max(1, -int(-seconds // 1)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{f'{days}-' if days else ''}{hours:02}:{minutes:02}:{rest:02}"


def _resources(spec: JobSpec, needs: ResourceSpecV1) -> dict[str, str | None]:
    """Options for resources, as far as they were asked for."""
    chosen: dict[str, str | None] = {}
    nodes, per_node = needs.node_count, needs.processes_per_node
    if nodes is not None or per_node is not None:
        chosen["nodes"] = str(needs.computed_node_count)
    elif spec.launcher == "multiple":
        chosen["nodes"] = "1"  # it starts all processes on the lead node
    counted = any(count is not None for count in (nodes, needs.process_count, per_node))
    if counted or needs.gpu_cores_per_process or needs.exclusive_node_use:
        # without it, Slurm takes a node that is given whole for as many tasks as it has CPUs
        chosen["ntasks"] = str(needs.computed_process_count)
    if nodes is not None or per_node is not None:
        chosen["ntasks-per-node"] = str(needs.computed_processes_per_node)
    if needs.cpu_cores_per_process is not None:
        chosen["cpus-per-task"] = str(needs.cpu_cores_per_process)
    if needs.gpu_cores_per_process:
        chosen["gpus-per-task"] = str(needs.gpu_cores_per_process)
    if needs.memory is not None:  # theirs is for each node, ours for the job
        chosen["mem"] = f"{-(-needs.memory // (needs.computed_node_count * 2**20))}M"
    if needs.exclusive_node_use:
        chosen["exclusive"] = None
    return chosen


def _custom(attributes: JobAttributes) -> dict[str, str | None]:
    """Options from custom attributes ``slurm.X``."""
    chosen: dict[str, str | None] = {}
    for key, value in (attributes.custom_attributes or {}).items():
        prefix, dot, name = key.partition(".")
        if prefix.lower() != "slurm" or not dot:
            continue
        name = _LONG_NAMES.get(name, name.lower().replace("_", "-"))
        if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]+", name, re.ASCII) is None:
            raise InvalidJobException(
                f"custom attribute {key!r} names no option of sbatch; write 'slurm.' and the name "
                "of the option without hyphens in front, for instance 'slurm.constraint'"
            )
        if name in _REFUSED:
            raise InvalidJobException(
                f"custom attribute {key!r} is not possible here: {_REFUSED[name]} instead"
            )
        text = "" if value is None or value is True else str(value)
        if "\0" in text:
            raise InvalidJobException(f"custom attribute {key!r} contains a NUL character")
        if value is not False:
            chosen[name] = text or None
    return chosen


def options(request: Request) -> list[Option]:
    """The options of sbatch for a job; see :meth:`SchedulerAdapter.options`.

    Custom attributes take the place of what the specification says about the same option.
    """
    spec, attributes = request.spec, request.spec.attributes
    chosen: dict[str, str | None] = {
        "job-name": request.name,
        "partition": attributes.queue_name,
        "account": attributes.account,
        "reservation": attributes.reservation_id,
    }
    chosen = {key: value for key, value in chosen.items() if value}
    if attributes.duration is not None:
        chosen["time"] = _walltime(attributes.duration.total_seconds())
    chosen.update(_resources(spec, request.needs))
    if request.dependencies:
        chosen["dependency"] = ",".join(
            ":".join([kind, *(native_id.partition(";")[0] for native_id in ids)])
            for kind, ids in request.dependencies.items()
        )
        chosen["kill-on-invalid-dep"] = "yes"  # or it would wait for ever
    chosen.update(_custom(attributes))
    if request.held:
        chosen["hold"] = None
    chosen["export"] = "ALL" if spec.inherit_environment else "NONE"
    if spec.directory is not None:
        chosen["chdir"] = str(expand_home(spec.directory))
    chosen["output"] = request.log
    if request.array_count is not None:
        chosen["array"] = f"0-{request.array_count - 1}"
    return [(f"--{k}" if v is None else f"--{k}={v}",) for k, v in chosen.items()]


_ALWAYS_OVERRIDING = ("ARRAY_INX", "ERROR", "INPUT", "OPEN_MODE", "OUTPUT", "WAIT")
_OVERRIDING = {
    "mem": ("MEM_PER_*",),
    "mem-per-cpu": ("MEM_PER_*",),
    "mem-per-gpu": ("MEM_PER_*",),
    "no-requeue": ("NO_REQUEUE", "REQUEUE"),
    "requeue": ("NO_REQUEUE", "REQUEUE"),
    "time": ("TIMELIMIT",),
}


def overriding_variables(options: Iterable[Option]) -> list[str]:
    """The environment variables that would override these options in a script.

    Source: sbatch(1), "INPUT ENVIRONMENT VARIABLES": they take precedence over options in the
    script, and the command line takes precedence over them.
    """
    found = [f"SBATCH_{name}" for name in _ALWAYS_OVERRIDING]
    for option in options:
        name = option[0].removeprefix("--").partition("=")[0]
        usual = (name.upper().replace("-", "_"),)
        found += [f"SBATCH_{variable}" for variable in _OVERRIDING.get(name, usual)]
    return found
