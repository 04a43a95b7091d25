"""Checks of a job before it is handed to a backend, so that mistakes are reported at once."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from exaworks.psij import dependencies
from exaworks.psij.exceptions import InvalidJobException, InvalidJobTypeException
from exaworks.psij.job import Job
from exaworks.psij.job_attributes import JobAttributes
from exaworks.psij.job_launcher import Launcher
from exaworks.psij.job_spec import JobSpec
from exaworks.psij.resource_spec import ResourceSpec, ResourceSpecV1
from exaworks.psij.staging import URI, StageIn, StageOut

__all__ = ["check_spec", "command", "directory", "expand_home", "resources"]


def command(spec: JobSpec) -> list[str]:
    """The executable and its arguments as text."""
    assert spec.executable is not None  # check_spec has seen to it
    return [os.fspath(word) for word in (spec.executable, *(spec.arguments or ()))]


def directory(spec: JobSpec) -> Path | None:
    """The directory of the job with ``~/`` replaced by the home directory."""
    return None if spec.directory is None else expand_home(spec.directory)


def expand_home(path: Path) -> Path:
    """A path that begins with ``~/`` with the home directory in its place; others as they are."""
    if path.parts[:1] == ("~",):
        return Path.home().joinpath(*path.parts[1:])
    return path


def resources(job: Job) -> ResourceSpecV1:
    """What the job needs; one process on one core if it does not say.

    Raises:
        InvalidJobException: it is of a version that we do not know.
    """
    needs = job.spec.resources if job.spec is not None else None
    if needs is None:
        return ResourceSpecV1()
    if not isinstance(needs, ResourceSpecV1):
        version = needs.version if isinstance(needs, ResourceSpec) else type(needs).__name__
        raise InvalidJobException(
            f"resources is of version {version!r}; only ResourceSpecV1 is supported"
        )
    return needs


def _text(value: Any, field: str, optional: bool = True, path: bool = False) -> None:
    if value is None and optional:
        return
    text = os.fspath(value) if path and isinstance(value, os.PathLike) else value
    if not isinstance(text, str):
        kind = "a str" + (" or a path" if path else "") + (" or None" if optional else "")
        raise InvalidJobTypeException(f"{field} must be {kind}, not {value!r}")
    if "\0" in text:
        raise InvalidJobException(
            f"{field} contains a NUL character, which no program can be given: {value!r}"
        )


def _check_environment(environment: Any) -> None:
    for name, value in (environment or {}).items():
        _text(name, f"environment key {name!r}", optional=False)
        if not name or "=" in name:
            raise InvalidJobException(f"environment key {name!r} must not be empty or contain '='")
        _text(value, f"environment[{name!r}]", optional=False)


def _check_attributes(attributes: Any) -> None:
    if not isinstance(attributes, JobAttributes):
        raise InvalidJobTypeException(f"attributes must be a JobAttributes, not {attributes!r}")
    for field in ("queue_name", "account", "reservation_id"):
        _text(getattr(attributes, field), f"attributes.{field}")
    if attributes.duration is not None and attributes.duration <= timedelta(0):
        raise InvalidJobException(
            f"attributes.duration is {attributes.duration}; it must be more than zero "
            "(or None for the queue's default)"
        )
    dependencies.check(attributes.dependencies)
    custom = attributes.custom_attributes
    if custom is not None and not isinstance(custom, Mapping):
        raise InvalidJobTypeException(
            f"attributes.custom_attributes must be a dict or None, not {custom!r}"
        )
    for name in custom or {}:
        _text(name, f"attributes.custom_attributes key {name!r}", optional=False)


def _check_uri(uri: URI, field: str, host: str | None) -> None:
    there = uri.scheme == "file" and (uri.hostname or "") == (host or "").lower()
    if not uri.is_local and not there:
        other = f", or file://{host}/path for files of {host}" if host is not None else ""
        raise InvalidJobException(
            f"{field} is {uri}: only files of this file system can be staged "
            f"(a path, or file:///path{other})"
        )
    _text(uri.path, field)


def _check_staging(spec: JobSpec, host: str | None) -> None:
    for stage_in in spec.stage_in:
        if not isinstance(stage_in, StageIn):
            raise InvalidJobTypeException(f"stage_in must contain StageIn, not {stage_in!r}")
        _check_uri(stage_in.source, "stage_in source", host)
        _text(stage_in.target, "stage_in target", path=True)
    for stage_out in spec.stage_out:
        if not isinstance(stage_out, StageOut):
            raise InvalidJobTypeException(f"stage_out must contain StageOut, not {stage_out!r}")
        _check_uri(stage_out.target, "stage_out target", host)
        _text(stage_out.source, "stage_out source", path=True)
    if not spec.cleanup:
        return
    base = directory(spec)
    if base is None:
        raise InvalidJobException("cleanup needs a directory: set spec.directory")
    top = os.path.normpath(base)
    for path in spec.cleanup:
        _text(path, "cleanup", path=True)
        target = os.path.normpath(os.path.join(top, path))
        if os.path.commonpath([top, target]) != top or target == top:
            raise InvalidJobException(
                f"cleanup path {path} is not inside the job's directory {top}; "
                "only files inside it are removed"
            )


def check_spec(spec: JobSpec | None, host: str | None = None) -> JobSpec:
    """Check that a specification can be understood.

    Args:
        spec: the specification.
        host: the machine where the job will run, if it is reached over a network; its files can
            be staged, too.

    Returns:
        the specification.

    Raises:
        InvalidJobException: it cannot; the message names the field, what was given and what is
            allowed. If the type of a value is wrong it is an :class:`InvalidJobTypeException`.
    """
    if spec is None:
        raise InvalidJobException("the job has no specification: set job.spec to a JobSpec")
    if not isinstance(spec, JobSpec):
        raise InvalidJobTypeException(f"job.spec must be a JobSpec, not {spec!r}")
    if spec.executable is None or spec.executable == "":
        raise InvalidJobException("executable is missing: set spec.executable to the program")
    _text(spec.executable, "executable", optional=False, path=True)
    if spec.arguments is not None and (
        isinstance(spec.arguments, (str, bytes)) or not isinstance(spec.arguments, Sequence)
    ):
        raise InvalidJobTypeException(
            f"arguments must be a list of str, not {spec.arguments!r}; "
            "write one item for each argument"
        )
    for index, argument in enumerate(spec.arguments or ()):
        _text(argument, f"arguments[{index}]", optional=False, path=True)
    for field in ("name", "launcher"):
        _text(getattr(spec, field), field)
    for field in ("stdin_path", "stdout_path", "stderr_path", "pre_launch", "post_launch"):
        _text(getattr(spec, field), field, path=True)
    _text(spec.directory, "directory", path=True)
    if not isinstance(spec.inherit_environment, bool):
        raise InvalidJobTypeException(
            f"inherit_environment must be True or False, not {spec.inherit_environment!r}"
        )
    base = directory(spec)
    if base is not None and not base.is_absolute():
        raise InvalidJobException(
            f"directory is {str(spec.directory)!r}; it must be absolute or begin with '~/' "
            f"(perhaps {str(base.absolute())!r})"
        )
    _check_environment(spec.environment)
    _check_attributes(spec.attributes)
    if spec.resources is not None:
        resources(Job(spec)).check()
    if spec.moves_data:
        _check_staging(spec, host)
    if spec.launcher is not None and spec.launcher not in Launcher.get_launcher_names():
        known = ", ".join(sorted(Launcher.get_launcher_names()))
        raise InvalidJobException(f"launcher is {spec.launcher!r}; there are: {known}")
    return spec
