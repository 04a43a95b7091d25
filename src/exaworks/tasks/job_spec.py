"""Tasks as PSI/J jobs, and the other way round."""

from __future__ import annotations

import os
import re
import shlex
from typing import TYPE_CHECKING

from exaworks.tasks.errors import UnsupportedError
from exaworks.tasks.spec import TaskSpec

if TYPE_CHECKING:
    from exaworks.psij import JobSpec

__all__ = ["from_job_spec", "to_job_spec"]

_REFERENCE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}")


def to_job_spec(spec: TaskSpec) -> JobSpec:
    """A job of its own that does what a task does.

    Raises:
        UnsupportedError: a job cannot say that: it is a function, has a fraction of a GPU, a word
            for its place, lines of shell around it, or a text that a job would change.
    """
    from exaworks.psij import JobAttributes, JobSpec, ResourceSpecV1

    if spec.command is None:
        raise UnsupportedError("a Python function is no job; run it with python -c or a script")
    if spec.gpus != int(spec.gpus):
        raise UnsupportedError(f"a job has whole GPUs, not {spec.gpus:g} of one")
    for name in ("colocate", "before", "after"):
        if getattr(spec, name):
            raise UnsupportedError(f"a job has nothing like {name}")
    for word in (*spec.command, *spec.environment.values()):
        if _REFERENCE.search(word):
            raise UnsupportedError(
                f"in a job, {word!r} would be replaced by the value of a variable"
            )
    resources = ResourceSpecV1(
        node_count=spec.nodes,
        process_count=spec.ranks,
        processes_per_node=None if spec.nodes is None else spec.ranks // spec.nodes,
        cpu_cores_per_process=spec.cores,
        gpu_cores_per_process=int(spec.gpus),
        memory=spec.memory * spec.ranks or None,
    )
    attributes = JobAttributes()
    if spec.time_limit is not None:
        from datetime import timedelta

        attributes.duration = timedelta(seconds=spec.time_limit)
    return JobSpec(
        spec.command[0],
        list(spec.command[1:]),
        directory=spec.directory,
        name=spec.name,
        inherit_environment=spec.inherit_environment,
        environment=dict(spec.environment) or None,
        stdin_path=spec.stdin,
        stdout_path=spec.stdout,
        stderr_path=spec.stderr,
        resources=resources,
        attributes=attributes,
        launcher=spec.launcher or ("mpirun" if spec.ranks > 1 else None),
    )


def from_job_spec(spec: JobSpec) -> TaskSpec:
    """A task that does what a job does.

    Raises:
        UnsupportedError: a task cannot do that: files are staged or cleaned up, or an argument
            refers to a variable.
        InvalidTaskError: the job makes no sense.
    """
    from exaworks.psij import ResourceSpecV1

    for name in ("stage_in", "stage_out", "cleanup"):
        if getattr(spec, name):
            raise UnsupportedError(f"a task has nothing like {name}: it stages no files")
    words = [str(spec.executable or ""), *map(str, spec.arguments or ())]
    environment = {name: str(value) for name, value in (spec.environment or {}).items()}
    for word in (*words, *environment.values()):
        if _REFERENCE.search(word):
            raise UnsupportedError(f"a task does not replace the variable in {word!r}")
    resources = spec.resources or ResourceSpecV1()
    if not isinstance(resources, ResourceSpecV1):
        raise UnsupportedError(f"resources of the kind {type(resources).__name__} are not known")
    ranks = resources.computed_process_count
    limit = spec.attributes.duration
    memory = resources.memory
    return TaskSpec(
        words,
        name=spec.name,
        ranks=ranks,
        cores=resources.cpu_cores_per_process or 1,
        gpus=resources.gpu_cores_per_process or 0,
        memory=0 if memory is None else -(-memory // ranks),
        nodes=resources.node_count,
        launcher=_launcher(spec.launcher, ranks),
        time_limit=None if limit is None else limit.total_seconds(),
        environment=environment,
        inherit_environment=spec.inherit_environment,
        directory=_path(spec.directory),
        stdin=_path(spec.stdin_path) or os.devnull,
        stdout=_path(spec.stdout_path) or os.devnull,
        stderr=_path(spec.stderr_path) or os.devnull,
        before=[] if spec.pre_launch is None else [f". {shlex.quote(str(spec.pre_launch))}"],
        after=[] if spec.post_launch is None else [f". {shlex.quote(str(spec.post_launch))}"],
    )


def _path(path: os.PathLike[str] | str | None) -> str | None:
    return None if path is None else os.fspath(path)


def _launcher(name: str | None, ranks: int) -> str | None:
    """PSI/J's default starts one process, whatever the number of places for processes."""
    if name in (None, "single"):
        return "single" if ranks > 1 else None
    return name
