"""What a job is to run (PSI/J specification, "JobSpec")."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exaworks.psij.exceptions import InvalidJobTypeException
from exaworks.psij.job_attributes import JobAttributes
from exaworks.psij.staging import StageIn, StageOut, StageOutFlags, normalize_flags

if TYPE_CHECKING:
    from exaworks.psij.resource_spec import ResourceSpec

__all__ = ["JobSpec"]

StrPath = str | os.PathLike[str]

_FIELDS = (
    "executable",
    "arguments",
    "directory",
    "name",
    "inherit_environment",
    "environment",
    "stdin_path",
    "stdout_path",
    "stderr_path",
    "resources",
    "attributes",
    "pre_launch",
    "post_launch",
    "launcher",
    "stage_in",
    "stage_out",
    "cleanup",
    "cleanup_flags",
)


def _path(value: StrPath | None, field: str) -> Path | None:
    if value is None or isinstance(value, Path):
        return value
    if isinstance(value, (str, os.PathLike)):
        return Path(value)
    raise InvalidJobTypeException(f"{field} must be a path or None, not {value!r}")


def _several(
    value: Iterable[Any] | None, kind: type[Any] | tuple[Any, ...], field: str
) -> list[Any]:
    """The items of a field that takes several; a single one is refused, not taken apart."""
    if value is None:
        return []
    if isinstance(value, (str, os.PathLike, StageIn, StageOut)) or not isinstance(value, Iterable):
        raise InvalidJobTypeException(f"{field} must be a set or list, not {value!r}")
    items = list(value)
    for item in items:
        if not isinstance(item, kind):
            raise InvalidJobTypeException(f"{field} must not contain {item!r}")
    return items


class JobSpec:
    """The description of a job.

    Attributes:
        executable: the program: a path, or a name that is looked up in ``PATH`` where the job
            runs.
        arguments: its arguments, without its name. ``${NAME}`` in an argument is replaced by the
            value of the environment variable ``NAME`` of the job; where there is no such
            variable, the text is left as it is.
        inherit_environment: whether the job starts with the environment of the submitting
            process.
        resources: what it needs of the machine; ``None`` means one process on one core.
        attributes: duration, queue and other directions to the scheduler.
        launcher: the name of the launcher that starts the processes; ``None`` means ``single``.
    """

    __slots__ = (
        "_attributes",
        "_cleanup",
        "_cleanup_flags",
        "_directory",
        "_environment",
        "_name",
        "_post_launch",
        "_pre_launch",
        "_stage_in",
        "_stage_out",
        "_stderr_path",
        "_stdin_path",
        "_stdout_path",
        "arguments",
        "executable",
        "inherit_environment",
        "launcher",
        "resources",
    )

    def __init__(
        self,
        executable: StrPath | None = None,
        arguments: Sequence[StrPath] | None = None,
        directory: StrPath | None = None,
        name: str | None = None,
        inherit_environment: bool = True,
        environment: Mapping[str, str | int] | None = None,
        stdin_path: StrPath | None = None,
        stdout_path: StrPath | None = None,
        stderr_path: StrPath | None = None,
        resources: ResourceSpec | None = None,
        attributes: JobAttributes | None = None,
        pre_launch: StrPath | None = None,
        post_launch: StrPath | None = None,
        launcher: str | None = None,
        stage_in: Iterable[StageIn] | None = None,
        stage_out: Iterable[StageOut] | None = None,
        cleanup: Iterable[StrPath] | None = None,
        cleanup_flags: StageOutFlags = StageOutFlags.ALWAYS,
    ) -> None:
        """Describe a job.

        Raises:
            InvalidJobTypeException: a value has the wrong type.
        """
        self.executable = executable
        self.arguments = arguments
        self.directory = directory
        self._name = name
        self.inherit_environment = inherit_environment
        self.environment = environment
        self.stdin_path = stdin_path
        self.stdout_path = stdout_path
        self.stderr_path = stderr_path
        self.resources = resources
        self._attributes = attributes
        self.pre_launch = pre_launch
        self.post_launch = post_launch
        self.launcher = launcher
        self._stage_in: set[StageIn] | None = None
        self._stage_out: set[StageOut] | None = None
        self._cleanup: set[Path] | None = None
        self.stage_in = stage_in
        self.stage_out = stage_out
        self.cleanup = cleanup
        self.cleanup_flags = cleanup_flags

    @property
    def name(self) -> str | None:
        """The job's name, also for the scheduler; the executable if none was given."""
        if self._name is not None or self.executable is None:
            return self._name
        return os.fspath(self.executable)

    @name.setter
    def name(self, value: str | None) -> None:
        self._name = value

    @property
    def attributes(self) -> JobAttributes:
        """Directions to the scheduler; never ``None``."""
        if self._attributes is None:
            self._attributes = JobAttributes()
        return self._attributes

    @attributes.setter
    def attributes(self, value: JobAttributes | None) -> None:
        self._attributes = value

    @property
    def directory(self) -> Path | None:
        """The directory to run in: absolute, or beginning with ``~/``.

        ``None`` leaves the choice to the executor.
        """
        return self._directory

    @directory.setter
    def directory(self, value: StrPath | None) -> None:
        self._directory = _path(value, "directory")

    @property
    def environment(self) -> dict[str, str] | None:
        """Variables to set for the job; numbers become text.

        ``${NAME}`` in a value is replaced as in arguments, so that
        ``{"PATH": "/opt/bin:${PATH}"}`` extends a list.
        """
        return self._environment

    @environment.setter
    def environment(self, value: Mapping[str, str | int] | None) -> None:
        if value is None:
            self._environment: dict[str, str] | None = None
            return
        if not isinstance(value, Mapping):
            raise InvalidJobTypeException(f"environment must be a dict or None, not {value!r}")
        for key, item in value.items():
            if not isinstance(key, str):
                raise InvalidJobTypeException(f"environment key {key!r} must be a str")
            if not isinstance(item, (str, int)):
                raise InvalidJobTypeException(
                    f"environment[{key!r}] must be a str or an int, not {item!r}"
                )
        self._environment = {key: str(item) for key, item in value.items()}

    @property
    def stdin_path(self) -> Path | None:
        """The file to read standard input from; ``None``: it is empty."""
        return self._stdin_path

    @stdin_path.setter
    def stdin_path(self, value: StrPath | None) -> None:
        self._stdin_path = _path(value, "stdin_path")

    @property
    def stdout_path(self) -> Path | None:
        """The file to write standard output to; ``None``: it is discarded.

        A relative path is relative to the job's directory (so are the other two).
        """
        return self._stdout_path

    @stdout_path.setter
    def stdout_path(self, value: StrPath | None) -> None:
        self._stdout_path = _path(value, "stdout_path")

    @property
    def stderr_path(self) -> Path | None:
        """The file to write standard error to; ``None``: it is discarded."""
        return self._stderr_path

    @stderr_path.setter
    def stderr_path(self, value: StrPath | None) -> None:
        self._stderr_path = _path(value, "stderr_path")

    @property
    def pre_launch(self) -> Path | None:
        """A POSIX shell script that is sourced once, on the lead node, before the launch."""
        return self._pre_launch

    @pre_launch.setter
    def pre_launch(self, value: StrPath | None) -> None:
        self._pre_launch = _path(value, "pre_launch")

    @property
    def post_launch(self) -> Path | None:
        """A POSIX shell script that is sourced once, after all processes have ended."""
        return self._post_launch

    @post_launch.setter
    def post_launch(self, value: StrPath | None) -> None:
        self._post_launch = _path(value, "post_launch")

    @property
    def stage_in(self) -> set[StageIn]:
        """What to bring before the job starts."""
        if self._stage_in is None:
            self._stage_in = set()
        return self._stage_in

    @stage_in.setter
    def stage_in(self, value: Iterable[StageIn] | None) -> None:
        self._stage_in = set(_several(value, StageIn, "stage_in")) or None

    @property
    def stage_out(self) -> set[StageOut]:
        """What to take away when the job has ended."""
        if self._stage_out is None:
            self._stage_out = set()
        return self._stage_out

    @stage_out.setter
    def stage_out(self, value: Iterable[StageOut] | None) -> None:
        self._stage_out = set(_several(value, StageOut, "stage_out")) or None

    @property
    def cleanup(self) -> set[Path]:
        """Files and directories, inside the job's directory, to remove at the very end."""
        if self._cleanup is None:
            self._cleanup = set()
        return self._cleanup

    @cleanup.setter
    def cleanup(self, value: Iterable[StrPath] | None) -> None:
        paths = _several(value, (str, os.PathLike), "cleanup")
        self._cleanup = {Path(path) for path in paths} or None

    @property
    def cleanup_flags(self) -> StageOutFlags:
        """When to clean up."""
        return self._cleanup_flags

    @cleanup_flags.setter
    def cleanup_flags(self, value: StageOutFlags) -> None:
        if not isinstance(value, StageOutFlags):
            raise InvalidJobTypeException(f"cleanup_flags must be StageOutFlags, not {value!r}")
        self._cleanup_flags = normalize_flags(value)

    @property
    def moves_data(self) -> bool:
        """Whether the job stages files or cleans up."""
        return bool(self._stage_in or self._stage_out or self._cleanup)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, JobSpec):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in _FIELDS)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = []
        for name in _FIELDS:
            value = getattr(self, f"_{name}" if name in ("name", "attributes") else name)
            if value not in (None, set(), True, StageOutFlags.ALWAYS):
                shown.append(f"{name}={value!r}")
        return f"JobSpec({', '.join(shown)})"
