"""The options that describe a job, common to ``run``, ``submit`` and ``script``."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import timedelta
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from exaworks.cli import values
from exaworks.cli.completion import complete_executors

if TYPE_CHECKING:
    from pathlib import Path

    from exaworks.psij import JobAttributes, JobSpec, ResourceSpec

__all__ = ["JobOptions", "executor_option", "job_options"]

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


@dataclass(frozen=True)
class JobOptions:
    """The values of the options, as click gives them. Those not given are empty or ``None``."""

    name: str | None = None
    nodes: int | None = None
    processes: int | None = None
    processes_per_node: int | None = None
    cores: int | None = None
    gpus: int | None = None
    memory: int | None = None
    exclusive: bool = False
    time: timedelta | None = None
    queue: str | None = None
    account: str | None = None
    reservation: str | None = None
    attr: Sequence[str] = ()
    env: Sequence[str] = ()
    clean_env: bool = False
    directory: str | None = None
    stdin: str | None = None
    stdout: str | None = None
    stderr: str | None = None
    launcher: str | None = None
    pre_launch: str | None = None
    post_launch: str | None = None
    stage_in: Sequence[str] = ()
    stage_out: Sequence[str] = ()
    cleanup: Sequence[str] = ()

    def given(self) -> list[str]:
        """The options that were given, as they are written."""
        return [
            f"--{field.name.replace('_', '-')}"
            for field in fields(self)
            if getattr(self, field.name) != field.default
        ]

    def spec(
        self, executor: str, command: Sequence[str], working_directory: Path | None
    ) -> JobSpec:
        """The specification that the options and the command describe.

        Args:
            executor: the executor's name, which completes names of custom attributes.
            command: the executable and its arguments.
            working_directory: the directory if the options name none.

        Raises:
            click.BadParameter: an option cannot be understood.
            click.UsageError: values contradict each other.
        """
        from exaworks.psij import JobSpec

        return JobSpec(
            executable=command[0],
            arguments=list(command[1:]),
            directory=values.absolute(self.directory) if self.directory else working_directory,
            name=self.name,
            inherit_environment=not self.clean_env,
            environment=self._environment(),
            stdin_path=self.stdin,
            stdout_path=self.stdout,
            stderr_path=self.stderr,
            resources=self._resources(),
            attributes=self._attributes(executor),
            pre_launch=None if self.pre_launch is None else values.absolute(self.pre_launch),
            post_launch=None if self.post_launch is None else values.absolute(self.post_launch),
            launcher=self.launcher,
            stage_in=[values.stage_in(text) for text in self.stage_in],
            stage_out=[values.stage_out(text) for text in self.stage_out],
            cleanup=self.cleanup,
        )

    def _environment(self) -> dict[str, str] | None:
        environment = {}
        for text in self.env:
            name, value = values.assignment(text, "--env")
            if value is None:
                if name not in os.environ:
                    raise click.BadParameter(
                        f"{name} is not set here, so its value cannot be passed on; "
                        f"write {name}=VALUE",
                        param_hint="--env",
                    )
                value = os.environ[name]
            environment[name] = value
        return environment or None

    def _resources(self) -> ResourceSpec | None:
        from exaworks.psij import InvalidJobException, ResourceSpecV1

        given = {
            "node_count": self.nodes,
            "process_count": self.processes,
            "processes_per_node": self.processes_per_node,
            "cpu_cores_per_process": self.cores,
            "gpu_cores_per_process": self.gpus,
            "memory": self.memory,
        }
        if not self.exclusive and all(value is None for value in given.values()):
            return None
        try:
            return ResourceSpecV1(**given, exclusive_node_use=self.exclusive)
        except InvalidJobException as problem:
            raise click.UsageError(f"{problem.message}.") from problem

    def _attributes(self, executor: str) -> JobAttributes:
        from exaworks.psij import JobAttributes

        attributes = JobAttributes(
            queue_name=self.queue, account=self.account, reservation_id=self.reservation
        )
        if self.time is not None:
            attributes.duration = self.time
        for text in self.attr:
            name, value = values.assignment(text, "--attr")
            attributes.set_custom_attribute(name if "." in name else f"{executor}.{name}", value)
        return attributes


_HELP: Final = {
    "name": "Name of the job.  [default: the command]",
    "nodes": "Number of nodes.",
    "processes": "Number of processes that the launcher starts, in all.",
    "processes_per_node": "Number of processes on each node.",
    "cores": "CPU cores for each process.",
    "gpus": "GPUs for each process.",
    "memory": "Memory of the whole job, such as 512M or 4G (powers of 1024).",
    "exclusive": "Share the nodes with no other job.",
    "time": "Walltime: hh:mm:ss, d-hh:mm:ss, minutes, or such as '1h 30m'.",
    "queue": "Queue (Slurm: partition).",
    "account": "Account or project that pays.",
    "reservation": "Advance reservation to run in.",
    "attr": "Option for one executor, such as constraint=gpu or slurm.constraint=gpu. Repeatable.",
    "env": "Variable for the job; without =VALUE, the one from here. Repeatable.",
    "clean_env": "Start without the variables from here.",
    "directory": "Directory to run in.  [default: this one]",
    "stdin": "File for standard input.  [default: nothing]",
    "stdout": "File for standard output.  [default: kept for `exaworks logs`]",
    "stderr": "File for standard error.  [default: kept for `exaworks logs`]",
    "launcher": "What starts the processes: single, multiple, mpirun, srun, ...  [default: single]",
    "pre_launch": "Shell script to source before the command.",
    "post_launch": "Shell script to source after it.",
    "stage_in": "Copy (or MODE link, move) a file to the job before it starts. Repeatable.",
    "stage_out": "Copy a file from the job when it has ended. FLAGS: if-present, on-success, "
    "on-error, on-cancel, link, move. Repeatable.",
    "cleanup": "Remove it from the job's directory at the very end. Repeatable.",
}
_COUNT: Final = click.IntRange(min=1)


def _option(*names: str, **more: Any) -> Callable[[Decorated], Decorated]:
    key = next(name for name in names if name.startswith("--"))[2:].replace("-", "_")
    return click.option(*names, help=_HELP[key], **more)


_OPTIONS: Final = (
    _option("--name"),
    _option("--time", "-t", type=values.walltime, metavar="WALLTIME"),
    _option("--nodes", "-N", type=_COUNT),
    _option("--processes", "-n", type=_COUNT),
    _option("--processes-per-node", type=_COUNT),
    _option("--cores", "-c", type=_COUNT),
    _option("--gpus", "-g", type=click.IntRange(min=0)),
    _option("--memory", "-m", type=values.memory, metavar="SIZE"),
    _option("--exclusive", is_flag=True),
    _option("--queue", "-q"),
    _option("--account", "-A"),
    _option("--reservation"),
    _option("--attr", multiple=True, metavar="KEY[=VALUE]"),
    _option("--env", "-E", multiple=True, metavar="NAME[=VALUE]"),
    _option("--clean-env", is_flag=True),
    _option("--directory", "-C", metavar="DIR"),
    _option("--stdin", metavar="FILE"),
    _option("--stdout", metavar="FILE"),
    _option("--stderr", metavar="FILE"),
    _option("--launcher"),
    _option("--pre-launch", metavar="FILE"),
    _option("--post-launch", metavar="FILE"),
    _option("--stage-in", multiple=True, metavar="SRC[:DST[:MODE]]"),
    _option("--stage-out", multiple=True, metavar="SRC:DST[:FLAGS]"),
    _option("--cleanup", multiple=True, metavar="PATH"),
)

executor_option = click.option(
    "--executor",
    "-e",
    shell_complete=complete_executors,
    help="Where to submit to; see `exaworks executors`.  "
    "[default: EXAWORKS_EXECUTOR, else slurm if it answers here, else local]",
)
url_option = click.option(
    "--url", help="Location of the executor, such as ssh://user@login.site for a batch scheduler."
)
site_option = click.option(
    "--site",
    metavar="[USER@]NAME",
    help="Submit to this site as its profile says; see `exaworks site list`.",
)


def _at_site(site: str, executor: str | None, url: str | None) -> dict[str, str]:
    """The executor and the location for a site."""
    from exaworks.core.sites import get_site

    if url is not None:
        raise click.UsageError("--site and --url exclude each other")
    try:
        profile = get_site(site.rpartition("@")[2])
        name = executor or profile.scheduler().executor
    except ValueError as problem:
        raise click.BadParameter(str(problem), param_hint="'--site'") from problem
    return {"executor": name, "url": f"site:{site}"}


def job_options(function: Decorated) -> Callable[..., Any]:
    """Add the options that describe a job.

    The function gets them as one argument ``options``, besides ``executor`` and ``url``.
    """
    names = [field.name for field in fields(JobOptions)]

    @wraps(function)
    def collect(**arguments: Any) -> Any:
        options = JobOptions(**{name: arguments.pop(name) for name in names})
        site = arguments.pop("site")
        if site is not None:
            arguments.update(_at_site(site, arguments["executor"], arguments["url"]))
        return function(options=options, **arguments)

    decorated: Callable[..., Any] = site_option(url_option(collect))
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return executor_option(decorated)
