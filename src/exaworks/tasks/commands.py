"""What commands are made of, and what becomes of them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from exaworks.core.workers.captures import LOST
from exaworks.core.workers.commands import OUT_OF_MEMORY, OUT_OF_TIME, Command, Ending
from exaworks.tasks.errors import (
    InvalidTaskError,
    OutOfMemory,
    TaskFailed,
    TaskTimeout,
    UnsupportedError,
)
from exaworks.tasks.future import Failure, TaskFuture, Value
from exaworks.tasks.gpus import gpu_variables
from exaworks.tasks.result import TaskResult
from exaworks.tasks.scheduler import Placement
from exaworks.tasks.spec import TaskSpec

__all__ = [
    "CommandTask",
    "Environments",
    "command_words",
    "make_command",
    "not_started",
    "outcome_of",
    "variables_for",
]

_TAIL = 400

# Ranks have the cores that the task has; the launcher is not to choose others, nor to count them,
# nor to ask a batch system for the nodes of the job.
_MPI_VARIABLES = {
    "OMPI_MCA_ras": "^slurm,tm,lsf,gridengine",
    "OMPI_MCA_plm": "isolated",
    "HYDRA_LAUNCHER": "fork",
    "HYDRA_RMK": "user",
    "PRTE_MCA_ras": "^slurm,pbs,lsf,gridengine",
    "OMPI_MCA_hwloc_base_binding_policy": "none",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "PRTE_MCA_hwloc_default_binding_policy": "none",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "HYDRA_BINDING": "none",
}

_RUN_BETWEEN = """\
set -e
{before}
set +e
"$@"
_code=$?
{after}
exit $_code
"""


class CommandTask:
    """A command, as a future keeps it until it has ended."""

    __slots__ = ("environment", "options", "runs", "spec", "words")

    def __init__(self, spec: TaskSpec, words: list[str], environment: int) -> None:
        self.spec = spec
        self.options = spec.options
        self.words = words
        self.environment = environment
        self.runs = 0

    @property
    def title(self) -> str:
        """What to call it."""
        return self.spec.title


def command_words(spec: TaskSpec, launch: Sequence[str] | None = None) -> list[str]:
    """The words of the command that starts a task, with its launcher and its shell.

    Args:
        spec: the task.
        launch: what starts its ranks, if the engine knows that; before the words of each.

    Raises:
        UnsupportedError: there is no such launcher here.
    """
    assert spec.command is not None
    words = list(spec.command)
    if launch is not None:
        words = [*launch, *words]
    elif spec.ranks > 1 or spec.launcher is not None:
        words = _launch(spec, words)
    if spec.before or spec.after:
        shell = "/bin/bash" if os.access("/bin/bash", os.X_OK) else "/bin/sh"
        script = _RUN_BETWEEN.format(before="\n".join(spec.before), after="\n".join(spec.after))
        words = [shell, "-c", script, "sh", *words]
    return words


def _launch(spec: TaskSpec, words: list[str]) -> list[str]:
    from exaworks.psij import Job, JobSpec, Launcher, ResourceSpecV1

    name = spec.launcher
    if name is None:
        name = next((each for each in ("mpirun", "mpiexec") if shutil.which(each)), None)
        if name is None:
            raise UnsupportedError(
                f"{spec.ranks} ranks are started by an MPI, and there is no mpirun in PATH; "
                "launcher='multiple' starts them without one"
            )
    try:
        launcher = Launcher.get_instance(name)
    except ValueError as problem:
        raise InvalidTaskError(f"launcher: {problem}") from problem
    job = Job(JobSpec(words[0], words[1:], resources=ResourceSpecV1(process_count=spec.ranks)))
    return launcher.get_launch_command(job)


class Environments:
    """The variables of this program, remembered each time that they have changed."""

    def __init__(self) -> None:
        self._all: list[dict[str, str]] = []

    def current(self, inherit: bool) -> int:
        """The key of the variables that a command inherits that is launched now."""
        now = dict(os.environ) if inherit else {}
        for key in range(len(self._all) - 1, -1, -1):
            if self._all[key] == now:
                return key
        return self.add(now)

    def add(self, variables: dict[str, str]) -> int:
        """The key of these variables."""
        self._all.append(variables)
        return len(self._all) - 1

    def get(self, key: int) -> dict[str, str]:
        """Those variables."""
        return self._all[key]


def variables_for(
    spec: TaskSpec, placement: Placement, has_gpus: bool, inherited: Mapping[str, str]
) -> dict[str, str]:
    """The variables of a command that has got its place, beyond those that it inherits."""
    variables = gpu_variables(placement) if has_gpus else {}
    if spec.ranks > 1:
        variables.update(_MPI_VARIABLES)
    if "OMP_NUM_THREADS" not in inherited:
        variables["OMP_NUM_THREADS"] = str(spec.cores)
    variables.update(spec.environment)
    return variables


def make_command(
    future: TaskFuture[Any],
    placement: Placement,
    bind: bool,
    has_gpus: bool,
    capture: int,
    environments: Environments,
) -> Command:
    """What to send for a task that has got its place."""
    task: CommandTask = future._task
    spec = task.spec
    cores = tuple(core for rank in placement.ranks for core in rank.cores)
    return Command(
        future.id,
        task.words,
        task.environment,
        variables_for(spec, placement, has_gpus, environments.get(task.environment)),
        spec.directory,
        spec.stdin,
        spec.stdout,
        spec.stderr,
        (cores or None) if bind else None,
        spec.time_limit,
        spec.grace,
        spec.memory * spec.ranks,
        capture,
    )


def not_started(id: str, why: str, exit_code: int | None) -> TaskFailed:
    """The error of a command that could not be started, with the code that a shell would give."""
    return TaskFailed(f"{id} could not be started: {why}", exit_code=exit_code)


def outcome_of(spec: TaskSpec, id: str, ending: Ending, node: str) -> Value | Failure:
    """What a command that has ended has come to."""
    result = _result_of(ending, node)
    name, why = f"{spec.title} ({id})", ending[-1]
    if why == OUT_OF_TIME:
        text = f"{name} has run for {spec.time_limit:g} s, its limit, and was ended"
        return Failure(TaskTimeout(text, result))
    if why == OUT_OF_MEMORY:
        text = f"{name} has used more than {spec.memory * spec.ranks / 2**20:g} MiB, its limit"
        return Failure(OutOfMemory(text, result))
    if result.ok or not spec.check:
        return Value(result)
    return Failure(TaskFailed(f"{name} {result}{_tail(result)}", result))


def _tail(result: TaskResult) -> str:
    """The end of what a command has complained about."""
    text = result.stderr.decode("utf-8", "replace").strip()
    if not text:
        return f"; its standard error is in {result.stderr_path}" if result.stderr_path else ""
    return f"; the end of its standard error: {text[-_TAIL:]}"


def _result_of(ending: Ending, node: str) -> TaskResult:
    """How a command has run."""
    status, begun, ended, cpu, rss, out, err, out_path, err_path, _ = ending
    code = os.waitstatus_to_exitcode(status)
    return TaskResult(
        exit_code=code if code >= 0 else None,
        signal=-code if code < 0 else None,
        stdout=out,
        stderr=err,
        stdout_path=out_path or None,
        stderr_path=err_path or None,
        started=begun,
        ended=ended,
        cpu_seconds=cpu,
        peak_memory=rss * 1024,
        node=node,
        output_lost=LOST in (out_path, err_path),
    )
