"""What is to be run: a command or a Python function, with what it needs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from exaworks.tasks.errors import InvalidTaskError
from exaworks.tasks.options import Options
from exaworks.tasks.resources import Resources

if TYPE_CHECKING:
    from exaworks.psij import JobSpec

__all__ = ["TaskSpec"]

_COMMAND_ONLY = (
    "environment", "inherit_environment", "directory", "stdin", "stdout", "stderr", "before",
    "after", "launcher", "check", "grace",
)  # fmt: skip


@dataclass(frozen=True)
class TaskSpec:
    """A task: a command, or a call of a Python function.

    ::

        TaskSpec(["./simulate", "--seed", "7"], cores=4, time_limit=600)
        TaskSpec(["./solver", "in.dat"], ranks=16)
        TaskSpec(function=analyse, args=("out.dat",), gpus=0.5)

    Attributes:
        command: the executable, a path or a name that is looked up in ``PATH``, and its
            arguments. No shell is involved: for one, write ``["sh", "-c", ...]``.
        function: the callable, in place of a command.
        args: its positional arguments.
        kwargs: its keyword arguments.
        name: for people; by default the name of the executable or function.
        ranks: processes. More than one are started by the launcher.
        cores: CPU cores of each rank.
        gpus: GPUs of each rank: a whole number, or a fraction of one.
        memory: bytes of each rank. A task that uses more in all is ended (:class:`OutOfMemory`).
        nodes: on how many nodes the ranks are; ``None``: wherever there is room.
        colocate: tasks with the same word run on the same node.
        launcher: what starts several ranks: ``"mpirun"``, ``"srun"``, ``"multiple"`` (the same
            command so many times, without MPI), ...; ``None``: the MPI that is there.
        time_limit: seconds (or a ``timedelta``) after which the task is ended
            (:class:`TaskTimeout`).
        grace: seconds that a command has between SIGTERM and SIGKILL.
        environment: variables for the command, beyond those that it inherits.
        inherit_environment: whether it inherits those of this program.
        directory: where it runs; ``None``: where this program was when it made the engine.
        stdin: file for its standard input; ``None``: nothing.
        stdout: file for its standard output; ``None``: it is captured.
        stderr: file for its standard error; the same as ``stdout`` for both; ``None``: it is
            captured.
        before: lines of shell to run before the command, in the same shell environment.
        after: lines of shell to run after it, whatever its exit code, which they do not change.
        priority: tasks with a higher number go first.
        retries: how often the task is run again after it has failed, or was lost.
        restartable: it may be run again if the process or node that ran it was lost.
        check: whether an exit code other than 0 is a failure (:class:`TaskFailed`); ``False``: it
            is a result like any other.
        metadata: whatever you want to find again; it must have a JSON form.
    """

    command: Sequence[str] | None = None
    function: Callable[..., Any] | None = None
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    name: str | None = None
    ranks: int = 1
    cores: int = 1
    gpus: float = 0
    memory: int = 0
    nodes: int | None = None
    colocate: str | None = None
    launcher: str | None = None
    time_limit: float | None = None
    grace: float = 5.0
    environment: Mapping[str, str] = field(default_factory=dict)
    inherit_environment: bool = True
    directory: str | None = None
    stdin: str | None = None
    stdout: str | None = None
    stderr: str | None = None
    before: Sequence[str] = ()
    after: Sequence[str] = ()
    priority: int = 0
    retries: int = 0
    restartable: bool = False
    check: bool = True
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check, and bring into the simplest form.

        Raises:
            InvalidTaskError: a value makes no sense.
        """
        if (self.command is None) == (self.function is None):
            raise InvalidTaskError("a task has either a command or a function")
        if self.function is None:
            self._check_command()
        else:
            self._check_function()
        self._set("time_limit", _seconds("time_limit", self.time_limit))
        self._set("grace", _seconds("grace", self.grace))
        for name in ("priority", "retries"):
            if type(getattr(self, name)) is not int:
                raise InvalidTaskError(
                    f"{name} must be a whole number, not {getattr(self, name)!r}"
                )
        if self.retries < 0:
            raise InvalidTaskError(f"retries must be at least 0, not {self.retries}")
        _ = self.resources

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _check_command(self) -> None:
        if isinstance(self.command, (str, bytes)) or not self.command:
            raise InvalidTaskError(
                f"command must be a list of words such as ['ls', '-l'], not {self.command!r}; "
                "for a line of shell write ['sh', '-c', line]"
            )
        self._set("command", tuple(_text("command", word) for word in self.command))
        if not self.command[0]:
            raise InvalidTaskError("the executable, command[0], is empty")
        if self.args or self.kwargs:
            raise InvalidTaskError("args and kwargs are for functions; a command holds its own")
        for name in ("directory", "stdin", "stdout", "stderr"):
            value = getattr(self, name)
            if value is not None:
                self._set(name, os.path.expanduser(_text(name, value)))
        for name in ("before", "after"):
            lines = getattr(self, name)
            if isinstance(lines, str):
                raise InvalidTaskError(f"{name} must be a list of lines of shell, not {lines!r}")
            self._set(name, tuple(_text(name, line) for line in lines))
        environment = {}
        for key, value in self.environment.items():
            if not isinstance(key, str) or not key or "=" in key or "\0" in key:
                raise InvalidTaskError(f"environment has the impossible name {key!r}")
            environment[key] = _text(f"environment[{key!r}]", value)
        self._set("environment", environment)

    def _check_function(self) -> None:
        if not callable(self.function):
            raise InvalidTaskError(f"function must be something to call, not {self.function!r}")
        for name in _COMMAND_ONLY:
            default = _DEFAULTS[name]
            if getattr(self, name) != default and (getattr(self, name) or default):
                raise InvalidTaskError(f"{name} is for commands; this task is a function")
        if self.ranks != 1:
            raise InvalidTaskError("a function has one rank: give it cores, or launch a command")

    @cached_property
    def resources(self) -> Resources:
        """What it needs."""
        return Resources(self.ranks, self.cores, self.gpus, self.memory, self.nodes, self.colocate)

    @cached_property
    def options(self) -> Options:
        """How it is to be run."""
        return Options(
            self.resources,
            self.priority,
            self.time_limit,
            self.retries,
            self.restartable,
            self.title,
        )

    @property
    def title(self) -> str:
        """What to call it."""
        if self.name is not None:
            return self.name
        if self.command is not None:
            return os.path.basename(self.command[0])
        return str(getattr(self.function, "__qualname__", type(self.function).__qualname__))

    def to_job_spec(self) -> JobSpec:
        """A PSI/J job of its own that does the same.

        Raises:
            UnsupportedError: a job cannot say that.
        """
        from exaworks.tasks.job_spec import to_job_spec

        return to_job_spec(self)

    @classmethod
    def from_job_spec(cls, spec: JobSpec) -> TaskSpec:
        """A task that does what a PSI/J job does.

        Raises:
            UnsupportedError: a task cannot do that.
            InvalidTaskError: the job makes no sense.
        """
        from exaworks.tasks.job_spec import from_job_spec

        return from_job_spec(spec)

    # The JSON form

    def to_json(self) -> str:
        """The task as JSON, with those fields that are not as by default.

        Raises:
            InvalidTaskError: it is a function, or its metadata have no JSON form.
        """
        if self.command is None:
            raise InvalidTaskError("a task that is a Python function has no JSON form")
        values = {
            each.name: getattr(self, each.name)
            for each in fields(self)
            if getattr(self, each.name) != _DEFAULTS[each.name]
        }
        try:
            return json.dumps(values)
        except (TypeError, ValueError) as problem:
            raise InvalidTaskError(f"metadata has no JSON form: {problem}") from problem

    @classmethod
    def from_json(cls, text: str | bytes) -> TaskSpec:
        """The task that some JSON describes.

        Raises:
            InvalidTaskError: it describes none.
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as problem:
            raise InvalidTaskError(f"this is no JSON: {problem}") from problem
        if not isinstance(values, dict):
            raise InvalidTaskError(f"a task is an object of JSON, not {values!r}")
        known = [name for name in _DEFAULTS if name not in ("function", "args", "kwargs")]
        for key in values:
            if key not in known:
                raise InvalidTaskError(f"a task has no field {key!r}; it has: {', '.join(known)}")
        try:
            return cls(**values)
        except (TypeError, AttributeError) as problem:
            raise InvalidTaskError(f"a field of the task has a wrong type: {problem}") from problem


_DEFAULTS: dict[str, Any] = {
    each.name: {} if each.name in ("kwargs", "environment", "metadata") else each.default
    for each in fields(TaskSpec)
}


def _text(name: str, value: Any) -> str:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, str):
        raise InvalidTaskError(f"{name} must be text, not {value!r}")
    if "\0" in value:
        raise InvalidTaskError(f"{name} has a NUL character: {value!r}")
    return value


def _seconds(name: str, value: Any) -> float | None:
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if value is None and name == "time_limit":
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e10:
        raise InvalidTaskError(f"{name} must be a number of seconds, not {value!r}")
    return float(value)
