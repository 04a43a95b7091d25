"""Engines by name. Those that run on another system are each one module of this folder.

A distribution of its own adds an engine with an entry point in the group ``exaworks.tasks.engines``
whose value is a :class:`~exaworks.psij.Descriptor` or a list of them.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from exaworks.core.plugins import Descriptor, Registry
from exaworks.tasks.engine import Engine
from exaworks.tasks.errors import InvalidTaskError

__all__ = ["engine_class", "engine_descriptors", "engine_settings", "get_engine"]

_HERE = "exaworks.tasks.engines"

_registry = Registry(
    "engine",
    (
        Descriptor(
            "local", "0.3.0", "exaworks.tasks.local.engine.LocalEngine", nice_name="This machine"
        ),
        Descriptor(
            "inline", "0.3.0", "exaworks.tasks.inline.InlineEngine", nice_name="This process"
        ),
        Descriptor(
            "allocation",
            "0.3.0",
            "exaworks.tasks.allocation.Allocation",
            nice_name="Nodes of a batch job",
        ),
        Descriptor(
            "pool", "0.3.0", "exaworks.tasks.pool.EnginePool", nice_name="Several batch jobs"
        ),
        Descriptor("slurm", "0.3.0", f"{_HERE}.slurm.SlurmEngine", nice_name="A Slurm job"),
        Descriptor("flux", "0.3.0", f"{_HERE}.flux.FluxEngine", nice_name="A Flux instance"),
        Descriptor("mpi", "0.3.0", f"{_HERE}.mpi.MPIEngine", nice_name="MPI"),
        Descriptor("dask", "0.3.0", f"{_HERE}.dask.DaskEngine", nice_name="Dask"),
        Descriptor("parsl", "0.3.0", f"{_HERE}.parsl.ParslEngine", nice_name="Parsl"),
        Descriptor("radical", "0.3.0", f"{_HERE}.radical.RadicalEngine", nice_name="RADICAL-Pilot"),
    ),
    "exaworks.tasks.engines",
)


def engine_descriptors() -> list[Descriptor]:
    """All engines that are known, in order of name; none is imported."""
    return _registry.descriptors()


def engine_class(name: str) -> type[Engine]:
    """The class of an engine.

    Raises:
        InvalidTaskError: there is none of that name, or it cannot be loaded.
    """
    try:
        return _registry.find(name)[1]
    except ValueError as problem:
        raise InvalidTaskError(str(problem)) from problem


def get_engine(name: str = "local", **settings: Any) -> Engine:
    """Start an engine by its name.

    Args:
        name: such as ``"local"``; ``exaworks engines`` lists them.
        settings: arguments of its class.

    Raises:
        InvalidTaskError: there is none of that name, it cannot be loaded, or an argument makes no
            sense.
    """
    cls = engine_class(name)
    try:
        inspect.signature(cls).bind(**settings)
    except TypeError as problem:
        raise InvalidTaskError(f"the engine {name!r}: {problem}") from problem
    return cls(**settings)


def engine_settings(texts: Iterable[str]) -> dict[str, Any]:
    """Arguments of an engine from the words of a command line.

    Args:
        texts: each ``KEY=VALUE``; values that look like numbers, or are ``true`` or ``false``, are
            taken as such, and ``-`` in a key is ``_``.

    Raises:
        InvalidTaskError: one is something else.
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise InvalidTaskError(f"{text!r} is no option of an engine; write KEY=VALUE")
        found[name.replace("-", "_")] = _value(value)
    return found


def _value(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
