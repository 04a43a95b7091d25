"""The options of ``exaworks map``, and what follows from them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from exaworks.cli import values
from exaworks.cli.errors import USAGE, Problem
from exaworks.cli.mapping.halt import Halt

if TYPE_CHECKING:
    from exaworks.cli.mapping.outcome import Task
    from exaworks.tasks import Engine, TaskSpec

__all__ = ["MapOptions", "map_options"]

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

_ON_THE_WAY: Final = 1000
"""How many tasks may wait in an engine if nothing is said."""


@dataclass(frozen=True)
class MapOptions:
    """The values of the options, as click gives them."""

    engine: str
    engine_option: Sequence[str]
    jobs: int | None
    max_waiting: int | None
    arg_file: Sequence[str]
    from_: Path | None
    null: bool
    shuffle: bool
    cores: int
    gpus: float
    memory: int
    ranks: int
    nodes: int | None
    launcher: str | None
    time: float | None
    retries: int
    priority: int
    chdir: str | None
    env: Sequence[str]
    keep_order: bool
    tag: bool
    results: str | None
    joblog: str | None
    resume: bool
    resume_failed: bool
    halt: Halt
    dry_run: bool
    progress: bool | None
    as_json: bool

    def make_engine(self) -> Engine:
        """Start the engine.

        Raises:
            Problem: there is none of that name, it cannot be used here, it has no such option, or
                it cannot be started.
        """
        from exaworks.tasks import (
            InvalidTaskError,
            TaskError,
            engine_class,
            engine_settings,
            get_engine,
        )

        try:
            settings = {**self._engine_settings(), **engine_settings(self.engine_option)}
            reason = engine_class(self.engine).unusable()
            if reason is not None:
                raise Problem(
                    f"The engine {self.engine!r} cannot be used here: {reason}",
                    "`exaworks engines` lists those that can be.",
                    USAGE,
                )
            return get_engine(self.engine, **settings)
        except InvalidTaskError as problem:
            raise Problem(str(problem), exit_code=USAGE) from problem
        except TaskError as problem:
            text = f"The engine {self.engine!r} cannot be started: {problem}"
            raise Problem(text) from problem

    def _engine_settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = {}
        if self.engine == "local" and self.jobs is not None:
            cores = self.jobs * self.cores * self.ranks
            # More than there are cannot be bound to cores of their own.
            settings = {"workers": cores, "bind": cores <= len(os.sched_getaffinity(0))}
        return settings

    def most_on_the_way(self, engine: Engine) -> int:
        """How many tasks may be handed to an engine that have not ended."""
        jobs = self.jobs or sum(len(node.cores) for node in engine.resources().total)
        jobs = max(1, jobs)  # nodes may be asked for only when a task waits for them
        if self.halt.failed is not None or (self.jobs is not None and self.engine != "local"):
            return jobs  # none waits in the engine, to start behind our back
        if self.max_waiting is not None:
            return jobs + self.max_waiting
        return max(2 * jobs, _ON_THE_WAY)

    def spec_maker(self) -> Callable[[Task], TaskSpec]:
        """What makes of a task what an engine runs.

        Raises:
            click.BadParameter: a variable has no value.
        """
        from exaworks.tasks import TaskSpec

        environment = {}
        for text in self.env:
            name, value = values.assignment(text, "--env")
            if value is None:
                raise click.BadParameter(
                    f"{text!r} has no value; write NAME=VALUE", param_hint="--env"
                )
            environment[name] = value
        results = None if self.results is None else os.path.abspath(self.results)
        directory = None if self.chdir is None else values.absolute(self.chdir)

        def make(task: Task) -> TaskSpec:
            folder = None if results is None else os.path.join(results, str(task.seq))
            if folder is not None:
                os.makedirs(folder, exist_ok=True)
            return TaskSpec(
                task.words,
                name=f"task {task.seq}",
                ranks=self.ranks,
                cores=self.cores,
                gpus=self.gpus,
                memory=self.memory,
                nodes=self.nodes,
                launcher=self.launcher,
                time_limit=self.time,
                environment=environment,
                directory=directory,
                stdout=None if folder is None else os.path.join(folder, "stdout"),
                stderr=None if folder is None else os.path.join(folder, "stderr"),
                priority=self.priority,
                retries=self.retries,
            )

        return make


def _complete_engines(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    from exaworks.tasks import engine_descriptors

    return [each.name for each in engine_descriptors() if each.name.startswith(incomplete)]


_COUNT: Final = click.IntRange(min=1)

_OPTIONS: Final = (
    click.option(
        "--engine",
        default="local",
        show_default=True,
        shell_complete=_complete_engines,
        help="What runs the tasks; see `exaworks engines`.",
    ),
    click.option(
        "--engine-option",
        multiple=True,
        metavar="KEY=VALUE",
        help="An argument of the engine, such as gpus=2. Repeatable.",
    ),
    click.option(
        "--jobs",
        "-j",
        type=_COUNT,
        help="How many tasks run at a time.  [default: as many as there are cores for]",
    ),
    click.option(
        "--max-waiting",
        type=click.IntRange(min=0),
        help="How many tasks may wait in the engine beyond those that run.  [default: some 1000]",
    ),
    click.option(
        "--arg-file",
        "-a",
        multiple=True,
        metavar="FILE",
        help="Run for each line of a file, as with ::::; - is standard input. Repeatable.",
    ),
    click.option(
        "--from",
        "from_",
        metavar="FILE",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Run for each row of a .csv, .tsv, .json or .jsonl file, whose columns have names.",
    ),
    click.option(
        "--null", "-0", is_flag=True, help="Lines of files end with NUL, as of `find -print0`."
    ),
    click.option("--shuffle", is_flag=True, help="Run in random order (all inputs are kept)."),
    click.option(
        "--cores", type=_COUNT, default=1, help="CPU cores of each rank of a task.  [default: 1]"
    ),
    click.option(
        "--gpus",
        type=click.FloatRange(min=0),
        default=0.0,
        help="GPUs of each rank, also a fraction of one, such as 0.25.",
    ),
    click.option(
        "--memory",
        type=values.memory,
        default="0",
        metavar="SIZE",
        help="Memory of each rank, such as 512M or 4G; a task that uses more is ended.",
    ),
    click.option("--ranks", type=_COUNT, default=1, help="Processes of each task (MPI)."),
    click.option("--nodes", type=_COUNT, help="On how many nodes the ranks of a task are."),
    click.option("--launcher", help="What starts several ranks: mpirun, srun, multiple, ..."),
    click.option(
        "--time",
        type=values.duration,
        metavar="DURATION",
        help="End a task that takes longer: seconds, or such as '1h 30m'.",
    ),
    click.option(
        "--retries",
        type=click.IntRange(min=0),
        default=0,
        help="How often a task that has failed is run again.",
    ),
    click.option("--priority", type=int, default=0, help="Higher goes first in the engine."),
    click.option("--chdir", metavar="DIR", help="Directory to run in.  [default: this one]"),
    click.option(
        "--env", multiple=True, metavar="NAME=VALUE", help="Variable for the tasks. Repeatable."
    ),
    click.option("--keep-order", "-k", is_flag=True, help="Show output in the order of inputs."),
    click.option("--tag", is_flag=True, help="Begin each line of output with its argument."),
    click.option(
        "--results",
        metavar="DIR",
        help="Keep the output of each task in DIR/<number>/stdout and stderr.",
    ),
    click.option(
        "--joblog", metavar="FILE", help="Note each end in FILE, in the format of GNU parallel."
    ),
    click.option(
        "--resume", is_flag=True, help="Skip the tasks that --joblog tells of, and add to it."
    ),
    click.option(
        "--resume-failed", is_flag=True, help="Likewise, but run those again that have failed."
    ),
    click.option(
        "--halt",
        type=Halt.parse,
        default="never",
        metavar="WHEN",
        help="When tasks fail: never, soon (start no more), now (end those that run, too); with "
        ",fail=3 or ,fail=10% when so many have.",
    ),
    click.option("--dry-run", is_flag=True, help="Print the commands, and run nothing."),
    click.option(
        "--progress/--no-progress",
        default=None,
        help="Show how far it is on standard error.  [default: on a terminal]",
    ),
    click.option(
        "--json",
        "as_json",
        is_flag=True,
        help="Print a summary, and no output of tasks (--results keeps it).",
    ),
)


def map_options(function: Decorated) -> Callable[..., Any]:
    """Add the options. The function gets them as one argument ``options``."""
    names = [field.name for field in fields(MapOptions)]

    @wraps(function)
    def collect(**arguments: Any) -> Any:
        options = MapOptions(**{name: arguments.pop(name) for name in names})
        return function(options=options, **arguments)

    decorated: Callable[..., Any] = collect
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated
