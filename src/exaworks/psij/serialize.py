"""Specifications as data: dictionaries and JSON.

The form is psij-python's: the names of the constructor's parameters, without those that have
their default value; durations as ``"600.0 s"``; a resource specification carries its version as
``__version``. Staging, which psij-python cannot write, has the form of the same rule.
"""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from datetime import timedelta
from typing import IO, Any
from urllib.parse import quote

from exaworks.psij.exceptions import InvalidJobException
from exaworks.psij.job import Job
from exaworks.psij.job_attributes import JobAttributes
from exaworks.psij.job_spec import JobSpec
from exaworks.psij.resource_spec import ResourceSpec, ResourceSpecV1
from exaworks.psij.staging import URI, StageIn, StageOut, StageOutFlags, StagingMode

__all__ = ["JSONSerializer", "Serializer", "spec_from_dict", "spec_to_dict"]

_PLAIN = ("executable", "name", "launcher")
_PATHS = ("directory", "stdin_path", "stdout_path", "stderr_path", "pre_launch", "post_launch")
_LISTS = ("arguments",)
_SPEC_KEYS = {
    *_PLAIN,
    *_PATHS,
    *_LISTS,
    "attributes",
    "cleanup",
    "cleanup_flags",
    "environment",
    "inherit_environment",
    "resources",
    "stage_in",
    "stage_out",
}
_ATTRIBUTE_KEYS = ("queue_name", "account", "reservation_id", "custom_attributes")
_RESOURCE_KEYS = ResourceSpecV1.__slots__


def spec_to_dict(spec: JobSpec) -> dict[str, Any]:
    """A specification as a dictionary of what JSON can hold.

    Raises:
        InvalidJobException: it holds something that cannot be written.
    """
    data: dict[str, Any] = {}
    for key in _PLAIN:
        if getattr(spec, key) is not None:
            data[key] = os.fspath(getattr(spec, key))
    for key in _PATHS:
        if getattr(spec, key) is not None:
            data[key] = str(getattr(spec, key))
    if spec.arguments is not None:
        data["arguments"] = [os.fspath(argument) for argument in spec.arguments]
    if not spec.inherit_environment:
        data["inherit_environment"] = False
    if spec.environment is not None:
        data["environment"] = dict(spec.environment)
    if spec.resources is not None:
        data["resources"] = _resources_to_dict(spec.resources)
    data["attributes"] = _attributes_to_dict(spec.attributes)
    if spec.stage_in:
        data["stage_in"] = sorted(
            (
                {"source": _uri_text(s.source), "target": str(s.target), "mode": s.mode.name}
                for s in spec.stage_in
            ),
            key=repr,
        )
    if spec.stage_out:
        data["stage_out"] = sorted(
            (
                {
                    "source": str(s.source),
                    "target": _uri_text(s.target),
                    "mode": s.mode.name,
                    "flags": s.flags.value,
                }
                for s in spec.stage_out
            ),
            key=repr,
        )
    if spec.cleanup:
        data["cleanup"] = sorted(str(path) for path in spec.cleanup)
    if spec.cleanup_flags != StageOutFlags.ALWAYS:
        data["cleanup_flags"] = spec.cleanup_flags.value
    return data


def _resources_to_dict(resources: ResourceSpec) -> dict[str, Any]:
    if not isinstance(resources, ResourceSpecV1):
        raise InvalidJobException(
            f"resources of version {resources.version} cannot be written; only ResourceSpecV1 can"
        )
    data: dict[str, Any] = {
        key: getattr(resources, key)
        for key in _RESOURCE_KEYS
        if getattr(resources, key) not in (None, False)
    }
    data["__version"] = resources.version
    return data


def _attributes_to_dict(attributes: JobAttributes) -> dict[str, Any]:
    data: dict[str, Any] = {}
    if attributes.duration_given:
        limit = attributes.duration
        data["duration"] = None if limit is None else _duration_text(limit)
    for key in _ATTRIBUTE_KEYS:
        if getattr(attributes, key) is not None:
            data[key] = getattr(attributes, key)
    if attributes.dependencies:
        data["dependencies"] = {
            kind: [_job_text(job) for job in jobs] for kind, jobs in attributes.dependencies.items()
        }
    return data


def _job_text(job: Job | str) -> str:
    native_id = job if isinstance(job, str) else job.native_id
    if native_id is None:
        raise InvalidJobException(f"dependencies contain {job}, which was not submitted")
    return native_id


def _duration_text(duration: timedelta) -> str:
    """Seconds, as ``"600.0 s"``; never in exponential notation, with nothing lost."""
    whole, _, rest = f"{duration.total_seconds():.6f}".partition(".")
    return f"{whole}.{rest.rstrip('0') or '0'} s"


def _uri_text(uri: URI) -> str:
    """A location as text that is read as the same location."""
    text = str(uri)
    if uri.is_local and not URI(text).is_local:  # a path that looks like a URI
        return f"file://{quote(os.path.abspath(uri.path))}"
    return text


def spec_from_dict(data: Any) -> JobSpec:
    """Make a specification from :func:`spec_to_dict`'s form.

    Raises:
        InvalidJobException: the data are not of that form; the message names the key.
    """
    _require(data, dict, "a job specification")
    _refuse_unknown(data, _SPEC_KEYS, "a job specification")
    spec = JobSpec()
    for key, value in data.items():
        if value is None:
            continue
        try:
            setattr(spec, key, _field(key, value))
        except InvalidJobException:
            raise
        except (TypeError, ValueError, OverflowError) as problem:
            raise InvalidJobException(f"{key}: {problem}") from problem
    return spec


def _field(key: str, value: Any) -> Any:
    """The value of a field of a specification from its written form."""
    if key == "attributes":
        return _attributes_from_dict(value)
    if key == "resources":
        return _resources_from_dict(value)
    if key == "stage_in":
        return {_stage_from_dict(StageIn, item) for item in _items(value, key)}
    if key == "stage_out":
        return {_stage_from_dict(StageOut, item) for item in _items(value, key)}
    if key == "cleanup_flags":
        return _flags(value)
    return _items(value, key) if key in ("arguments", "cleanup") else value


def _flags(value: Any) -> StageOutFlags:
    most = (StageOutFlags.ALWAYS | StageOutFlags.IF_PRESENT).value
    # Python 3.11.0 to 3.11.3 drop unknown bits silently.
    if type(value) is not int or not 0 <= value <= most:
        raise InvalidJobException(f"flags of staging are a number from 0 to {most}, not {value!r}")
    return StageOutFlags(value)


def _require(value: Any, kind: type, what: str) -> None:
    if not isinstance(value, kind):
        raise InvalidJobException(f"{what} must be a {kind.__name__}, not {value!r}")


def _refuse_unknown(data: dict[str, Any], known: Any, what: str) -> None:
    for key in data:
        if key not in known:
            raise InvalidJobException(
                f"{what} has the unknown key {key!r}; known keys: {', '.join(sorted(known))}"
            )


def _items(value: Any, what: str) -> list[Any]:
    _require(value, list, what)
    return list(value)


def _attributes_from_dict(data: Any) -> JobAttributes:
    _require(data, dict, "attributes")
    known = {*_ATTRIBUTE_KEYS, "dependencies", "duration", "project_name"}
    _refuse_unknown(data, known, "attributes")
    attributes = JobAttributes()
    for key, value in data.items():
        setattr(attributes, key, _duration(value) if key == "duration" else value)
    return attributes


def _duration(value: Any) -> timedelta | None:
    if value is None:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return timedelta(seconds=value)
    _require(value, str, "attributes.duration")
    try:
        return JobAttributes.parse_walltime(value)
    except ValueError as problem:
        raise InvalidJobException(f"attributes.duration: {problem}") from problem


def _resources_from_dict(data: Any) -> ResourceSpec:
    _require(data, dict, "resources")
    version = data.get("__version", 1)
    if version != 1:
        raise InvalidJobException(f"resources.__version is {version!r}; known versions: 1")
    _refuse_unknown(data, {*_RESOURCE_KEYS, "__version"}, "resources")
    return ResourceSpecV1(**{key: value for key, value in data.items() if key != "__version"})


def _stage_from_dict(kind: type[Any], data: Any) -> Any:
    _require(data, dict, "an item of stage_in or stage_out")
    known = {"source", "target", "mode", *(("flags",) if kind is StageOut else ())}
    _refuse_unknown(data, known, "an item of stage_in or stage_out")
    for key in ("source", "target"):
        if key not in data:
            raise InvalidJobException(f"an item of stage_in or stage_out lacks {key!r}: {data!r}")
    try:
        mode = StagingMode[data.get("mode", "COPY")]
    except (KeyError, TypeError):
        names = ", ".join(m.name for m in StagingMode)
        raise InvalidJobException(f"mode is {data['mode']!r}; there are: {names}") from None
    staged = kind(data["source"], data["target"], mode=mode)
    if "flags" in data:
        staged.flags = _flags(data["flags"])
    return staged


class Serializer(ABC):
    """Writes specifications in some format. Subclasses say which."""

    @abstractmethod
    def _dump_dict(self, data: dict[str, Any], stream: IO[Any]) -> None:
        """Write the dictionary form to a stream."""

    @abstractmethod
    def _load_dict(self, stream: IO[Any]) -> dict[str, Any]:
        """Read the dictionary form from a stream."""

    def dump(self, spec: JobSpec, stream: IO[Any]) -> None:
        """Write a specification to a stream."""
        self._dump_dict(self._from_spec(spec), stream)

    def load(self, stream: IO[Any]) -> JobSpec:
        """Read a specification from a stream.

        Raises:
            InvalidJobException: that is not in the stream.
        """
        return self._to_spec(self._load_dict(stream))

    def dumps(self, spec: JobSpec) -> str:
        """A specification as text."""
        from io import StringIO

        stream = StringIO()
        self.dump(spec, stream)
        return stream.getvalue()

    def loads(self, s: str) -> JobSpec:
        """A specification from text.

        Raises:
            InvalidJobException: the text is no specification.
        """
        from io import StringIO

        return self.load(StringIO(s))

    def _from_spec(self, spec: JobSpec) -> dict[str, Any]:
        return spec_to_dict(spec)

    def _to_spec(self, data: dict[str, Any]) -> JobSpec:
        return spec_from_dict(data)


class JSONSerializer(Serializer):
    """Writes specifications as JSON (RFC 8259)."""

    def _dump_dict(self, data: dict[str, Any], stream: IO[Any]) -> None:
        try:
            json.dump(data, stream)
        except (TypeError, ValueError, RecursionError) as problem:
            raise InvalidJobException(f"the specification cannot be written: {problem}") from None

    def _load_dict(self, stream: IO[Any]) -> dict[str, Any]:
        try:
            data: dict[str, Any] = json.load(stream)
        except (ValueError, RecursionError) as problem:
            raise InvalidJobException(f"the specification is not JSON: {problem}") from problem
        return data
