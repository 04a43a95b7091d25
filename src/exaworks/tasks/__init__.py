"""Run many tasks in one allocation, or on this machine: functions and commands.

::

    from exaworks.tasks import LocalEngine, TaskSpec

    with LocalEngine() as engine:
        print(engine.submit(pow, 2, 10).result())
        print(engine.launch(TaskSpec(["date"])).result().text)
"""

from typing import TYPE_CHECKING, Any

from exaworks.tasks.engine import Engine, EngineResources, Features, as_completed
from exaworks.tasks.engines import engine_class, engine_descriptors, engine_settings, get_engine
from exaworks.tasks.errors import (
    EngineClosedError,
    EngineFailed,
    InvalidTaskError,
    NodeLost,
    OutOfMemory,
    RemoteError,
    RemoteTraceback,
    SerializationError,
    TaskError,
    TaskFailed,
    TaskTimeout,
    UnsupportedError,
    WorkerLost,
)
from exaworks.tasks.future import TaskFuture, Times
from exaworks.tasks.inline import InlineEngine
from exaworks.tasks.local.engine import LocalEngine
from exaworks.tasks.resources import NodeResources, Resources
from exaworks.tasks.result import TaskResult
from exaworks.tasks.spec import TaskSpec
from exaworks.tasks.state import TaskState

if TYPE_CHECKING:
    from exaworks.tasks.allocation import Allocation, AllocationSpec
    from exaworks.tasks.pool import EnginePool

__all__ = [
    "Allocation",
    "AllocationSpec",
    "Engine",
    "EngineClosedError",
    "EngineFailed",
    "EnginePool",
    "EngineResources",
    "Features",
    "InlineEngine",
    "InvalidTaskError",
    "LocalEngine",
    "NodeLost",
    "NodeResources",
    "OutOfMemory",
    "RemoteError",
    "RemoteTraceback",
    "Resources",
    "SerializationError",
    "TaskError",
    "TaskFailed",
    "TaskFuture",
    "TaskResult",
    "TaskSpec",
    "TaskState",
    "TaskTimeout",
    "Times",
    "UnsupportedError",
    "WorkerLost",
    "as_completed",
    "engine_class",
    "engine_descriptors",
    "engine_settings",
    "get_engine",
]

# What works on one machine does not wait for the import of what works across nodes.
_LATER = {"Allocation": "allocation", "AllocationSpec": "allocation", "EnginePool": "pool"}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
