"""What can go wrong with tasks.

::

    TaskError
      InvalidTaskError          (also a ValueError)
        UnsupportedError
      EngineClosedError         (also a RuntimeError)
      TaskFailed
        TaskTimeout             (also a TimeoutError)
        OutOfMemory             (also a MemoryError)
      WorkerLost
        NodeLost
      EngineFailed              (also a RuntimeError)
    SerializationError          (a TypeError)
    RemoteError                 (a RuntimeError)
"""

from __future__ import annotations

from typing import Any

from exaworks.core.workers.errors import RemoteError, RemoteTraceback, SerializationError

__all__ = [
    "EngineClosedError",
    "EngineFailed",
    "InvalidTaskError",
    "NodeLost",
    "OutOfMemory",
    "RemoteError",
    "RemoteTraceback",
    "SerializationError",
    "TaskError",
    "TaskFailed",
    "TaskTimeout",
    "UnsupportedError",
    "WorkerLost",
]


class TaskError(Exception):
    """Something went wrong with a task or an engine."""


class InvalidTaskError(TaskError, ValueError):
    """The specification of a task makes no sense; the message names the field and what is allowed.

    Nothing was run.
    """


class UnsupportedError(InvalidTaskError):
    """The engine cannot do what the task asks for. Nothing was run."""


class EngineClosedError(TaskError, RuntimeError):
    """The engine takes no tasks any more."""


class TaskFailed(TaskError):
    """A command has failed, or a task was ended because of a limit.

    Attributes:
        result: what is known about the run; ``None`` for a function, and for a command that could
            not be started.
        exit_code: its exit code, if it exited; what a shell says (126 or 127) if it could not be
            started because of its executable.
    """

    def __init__(self, message: str, result: Any = None, exit_code: int | None = None) -> None:
        super().__init__(message, result, exit_code)
        self.message = message
        self.result = result
        self.exit_code = exit_code if result is None else result.exit_code

    def __str__(self) -> str:
        return self.message


class TaskTimeout(TaskFailed, TimeoutError):
    """A task was ended because its time limit was over."""


class OutOfMemory(TaskFailed, MemoryError):
    """A task was ended because it used more memory than it had asked for."""


class WorkerLost(TaskError):
    """The process that ran a task has died; it is not known how far the task had come.

    Attributes:
        exit_code: its exit code, if it exited.
        signal: the signal that ended it, if one did.
    """

    def __init__(
        self, message: str, exit_code: int | None = None, signal: int | None = None
    ) -> None:
        super().__init__(message, exit_code, signal)
        self.message = message
        self.exit_code = exit_code
        self.signal = signal

    def __str__(self) -> str:
        return self.message


class NodeLost(WorkerLost):
    """The node that ran a task is gone; it is not known how far the task had come, if it began."""


class EngineFailed(TaskError, RuntimeError):
    """The engine has no nodes, or none with room for the task, and will have none any more."""
