"""Jobs as Flux describes them: jobspec version 1 (Flux RFC 14 and RFC 25). No I/O."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from exaworks.psij.exceptions import InvalidJobException
from exaworks.psij.executors.flux.task import Task
from exaworks.psij.job_attributes import JobAttributes
from exaworks.psij.job_spec import JobSpec
from exaworks.psij.resource_spec import ResourceSpecV1

__all__ = ["DEFAULT_URGENCY", "HELD_URGENCY", "OUR_NAME", "build_jobspec", "urgency"]

OUR_NAME = "exaworks"
"""The key of ``attributes.user`` under which we describe a job to ourselves."""

HELD_URGENCY, DEFAULT_URGENCY = 0, 16
"""Urgency of a job that must not start, and that of all others (RFC 30)."""
_MOST_URGENT = 31

_PREFIX = "flux."
_URGENCY = "flux.urgency"


def _resources(needs: ResourceSpecV1, native: bool) -> list[dict[str, Any]]:
    """The request for resources.

    A native job has a slot for each process. Otherwise a node's share is one slot, so that there
    is one task on each node: a job shell without a task is an error (Flux 0.88).
    """
    nodes = needs.computed_node_count
    placed = needs.node_count is not None or needs.processes_per_node is not None
    if native:
        slots = needs.computed_processes_per_node if placed else needs.computed_process_count
        share = 1
    else:
        slots = 1
        share = needs.computed_processes_per_node
    within = [{"type": "core", "count": (needs.cpu_cores_per_process or 1) * share}]
    if needs.gpu_cores_per_process:
        within.append({"type": "gpu", "count": needs.gpu_cores_per_process * share})
    slot: dict[str, Any] = {"type": "slot", "label": "task", "count": slots, "with": within}
    if not placed and not needs.exclusive_node_use:
        return [slot]
    node: dict[str, Any] = {"type": "node", "count": nodes, "with": [slot]}
    if needs.exclusive_node_use:
        node["exclusive"] = True
    return [node]


def _job_name(spec: JobSpec) -> str | None:
    name = spec.name
    return os.path.basename(name) if name is not None and name == spec.executable else name


def _shell_options(task: Task) -> dict[str, Any]:
    output: dict[str, Any] = {"stdout": {"type": "file", "path": task.stdout}}
    if task.stderr is not None:
        output["stderr"] = {"type": "file", "path": task.stderr}
    return {"output": output, **dict(task.options)}


def _custom(attributes: JobAttributes) -> list[tuple[str, Any]]:
    """The custom attributes for Flux, without the prefix.

    Raises:
        InvalidJobException: the value of one cannot be written as JSON.
    """
    found = []
    for name, value in (attributes.custom_attributes or {}).items():
        if not name.startswith(_PREFIX) or name == _URGENCY:
            continue
        try:
            json.dumps(value, allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError) as problem:
            raise InvalidJobException(
                f"custom attribute {name!r} has a value that JSON cannot hold: {problem}"
            ) from None
        found.append((name[len(_PREFIX) :], True if value is None or value == "" else value))
    return found


def _put(system: dict[str, Any], path: str, value: Any) -> None:
    """Set a key given with dots; ``shell.options.`` is followed by one key, dots and all."""
    options = "shell.options."
    keys = (
        ["shell", "options", path[len(options) :]] if path.startswith(options) else path.split(".")
    )
    if not all(keys):
        raise InvalidJobException(f"custom attribute 'flux.{path}' has an empty part in its name")
    where = system
    for key in keys[:-1]:
        where = where.setdefault(key, {})
        if not isinstance(where, dict):
            raise InvalidJobException(
                f"custom attribute 'flux.{path}' goes into {key!r}, which has a value of its own"
            )
    where[keys[-1]] = value


def urgency(attributes: JobAttributes) -> int:
    """The urgency to submit with: the custom attribute ``flux.urgency``, or the default.

    Raises:
        InvalidJobException: it is no number from 0 to 31.
    """
    value = attributes.get_custom_attribute(_URGENCY)
    if value is None:
        return DEFAULT_URGENCY
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST_URGENT:
        raise InvalidJobException(
            f"custom attribute 'flux.urgency' is {value!r}; it must be a number from 0 (held) to "
            f"{_MOST_URGENT}"
        )
    return value


def build_jobspec(
    spec: JobSpec,
    needs: ResourceSpecV1,
    task: Task,
    ours: Mapping[str, Any],
    dependencies: Sequence[Mapping[str, str]] = (),
) -> dict[str, Any]:
    """Describe a job to Flux.

    Args:
        spec: the job, checked.
        needs: its resources.
        task: what is to be started.
        ours: what we want to find again in the description of the job.
        dependencies: objects with ``scheme`` and ``value`` (RFC 26).

    Raises:
        InvalidJobException: Flux has nothing like what is asked for.
    """
    attributes = spec.attributes
    if attributes.reservation_id is not None:
        raise InvalidJobException(
            "attributes.reservation_id is set, but Flux has no reservations: leave it out, or use "
            "a queue or the custom attribute 'flux.constraints'"
        )
    limit = attributes.duration
    system: dict[str, Any] = {
        "duration": limit.total_seconds() if limit is not None else 0,
        "cwd": task.cwd,
        "environment": dict(task.environment),
        "shell": {"options": _shell_options(task)},
    }
    if attributes.queue_name is not None:
        system["queue"] = attributes.queue_name
    if attributes.account is not None:
        system["bank"] = attributes.account
    name = _job_name(spec)
    if name is not None:
        system["job"] = {"name": name}
    if dependencies:
        system["dependencies"] = [dict(each) for each in dependencies]
    for path, value in _custom(attributes):
        _put(system, path, value)
    return {
        "version": 1,
        "resources": _resources(needs, task.native),
        "tasks": [{"command": list(task.argv), "slot": "task", "count": {"per_slot": 1}}],
        "attributes": {"system": system, "user": {OUR_NAME: dict(ours)}},
    }
