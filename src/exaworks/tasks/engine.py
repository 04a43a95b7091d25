"""What every engine is and does."""

from __future__ import annotations

import concurrent.futures
import itertools
import logging
import os
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from exaworks.core.events import Event, emit, has_subscribers
from exaworks.tasks.errors import EngineClosedError, UnsupportedError
from exaworks.tasks.future import TaskFuture
from exaworks.tasks.gpus import GPU_VARIABLES
from exaworks.tasks.options import DEFAULT, Options
from exaworks.tasks.resources import NodeResources, Resources
from exaworks.tasks.spec import TaskSpec

__all__ = ["Engine", "EngineResources", "Features", "as_completed"]

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class EngineResources:
    """What an engine has, and what of it is free.

    Attributes:
        total: the nodes.
        free: the same nodes with what nobody uses.
        waiting: how many tasks wait.
        running: how many tasks run or were handed to workers.
    """

    total: tuple[NodeResources, ...]
    free: tuple[NodeResources, ...]
    waiting: int
    running: int


@dataclass(frozen=True)
class Features:
    """What an engine can do; ``exaworks engines`` and the documentation show it.

    What it cannot do it refuses at submission (:class:`UnsupportedError`).

    Attributes:
        where: where tasks run, in a few words.
        workers: functions run in processes of their own: if one dies, that costs its task only.
        cancel_running: tasks that run can be cancelled, and have time limits.
        spread: ranks of one command may be on several nodes.
        several_nodes: it can have several nodes.
        elastic: it grows and shrinks, by itself and by :meth:`Engine.scale`.
        allocation: it can be booted in an :class:`Allocation`.
        extra: the extra of this distribution that it needs, as in ``pip install exaworks[dask]``;
            ``None``: nothing.
    """

    where: str
    workers: bool = True
    cancel_running: bool = True
    spread: bool = False
    several_nodes: bool = False
    elastic: bool = False
    allocation: bool = False
    extra: str | None = None


class Engine(concurrent.futures.Executor, ABC):
    """Runs tasks: Python functions and commands.

    It is a :class:`concurrent.futures.Executor`, so that everything in Python that takes one can
    use it, and a context manager that ends with :meth:`shutdown`. All methods may be called from
    any thread.
    """

    name: ClassVar[str]
    """What the engine is called in configurations and on the command line."""

    features: ClassVar[Features]
    """What it can do."""

    @classmethod
    def unusable(cls) -> str | None:
        """Why it cannot be used here, and what would help; ``None``: it can."""
        return None

    _numbers: ClassVar[Iterator[int]] = itertools.count(1)

    def __init__(self) -> None:
        self.id = f"{self.name}-{os.getpid()}-{next(self._numbers)}"
        self._lock = threading.RLock()
        self._process = os.getpid()
        self._when_closed: list[Callable[[], object]] | None = []

    # Functions

    def submit(  # type: ignore[override]
        self,
        fn: Callable[..., T],
        /,
        *args: Any,
        resources: Resources | Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> TaskFuture[T]:
        """Run ``fn(*args, **kwargs)`` in a worker.

        Args:
            fn: any callable that can be pickled, also lambdas and functions of ``__main__``
                (by value). An async function is run in an event loop of the worker. It is sent
                once: what it refers to is what it was when it was first submitted.
            args: positional arguments.
            resources: what it needs, such as ``{"cores": 2}``; one core if nothing is said. To
                give the function itself an argument of this name, see :meth:`configured`.
            kwargs: keyword arguments.

        Raises:
            InvalidTaskError: it can never run here.
            SerializationError: it cannot be pickled; the message names the culprit.
            EngineClosedError: :meth:`shutdown` was called.
        """
        options = DEFAULT if resources is None else Options(Resources.of(resources))
        return self._submit(fn, args, kwargs, options)

    def configured(
        self,
        *,
        resources: Resources | Mapping[str, Any] | None = None,
        priority: int = 0,
        time_limit: float | None = None,
        retries: int = 0,
        restartable: bool = False,
        name: str | None = None,
    ) -> Configured:
        """The same engine, as an Executor whose tasks all have these options.

        Args:
            resources: what each task needs.
            priority: tasks with a higher number go first.
            time_limit: seconds after which a task is ended and fails with :class:`TaskTimeout`.
            retries: how often a task is run again after it has failed or its worker was lost.
            restartable: a task may be run again if its worker was lost.
            name: what tasks are called, for people.

        Raises:
            InvalidTaskError: a value makes no sense.
        """
        options = Options(Resources.of(resources), priority, time_limit, retries, restartable, name)
        return Configured(self, options)

    # Commands

    @abstractmethod
    def launch(self, spec: TaskSpec) -> TaskFuture[Any]:
        """Run a task.

        Returns:
            the future of a :class:`TaskResult`; for a function, of what it returns. The future
            of a command that fails has the exception :class:`TaskFailed`, with the result.

        Raises:
            InvalidTaskError: it can never run here.
            SerializationError: it is a function that cannot be pickled.
            EngineClosedError: :meth:`shutdown` was called.
        """

    def launch_many(self, specs: Sequence[TaskSpec]) -> list[TaskFuture[Any]]:
        """Run many tasks; all or, if one of them can never run here, none.

        Exceptions are those of :meth:`launch`.
        """
        return [self.launch(spec) for spec in specs]

    @abstractmethod
    def _submit(
        self,
        fn: Callable[..., T],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: Options,
    ) -> TaskFuture[T]:
        """Take a call of a function."""

    # What goes on

    @abstractmethod
    def resources(self) -> EngineResources:
        """What is there, and what is free."""

    @abstractmethod
    def drain(self, timeout: float | None = None) -> bool:
        """Wait until all tasks that were submitted have ended.

        Args:
            timeout: seconds to wait for that; ``None``: as long as it takes.

        Returns:
            whether they have.
        """

    def scale(self, count: int) -> None:
        """Have so many workers, or allocations: what the engine can have more or fewer of.

        Raises:
            InvalidTaskError: the number makes no sense.
            UnsupportedError: it has always the same.
        """
        raise UnsupportedError(
            f"the engine {self.name!r} has always the same size; EnginePool grows and shrinks"
        )

    @abstractmethod
    def explain(self, task: TaskFuture[Any]) -> str:
        """Why a task waits, where it runs, or why it failed, in a sentence or two."""

    def when_closed(self, callback: Callable[[], object]) -> None:
        """Call back when the engine was shut down and all of its tasks have ended; at once if so.

        Args:
            callback: called in the engine's thread; it must return soon.
        """
        with self._lock:
            if self._when_closed is not None:
                self._when_closed.append(callback)
                return
        callback()

    def _is_closed(self) -> None:
        """Tell those who want to know. Of use to engines only; the lock is not held."""
        with self._lock:
            callbacks, self._when_closed = self._when_closed or [], None
        for callback in callbacks:
            try:
                callback()
            except Exception:
                logger.exception("a callback of %s failed", self.id)

    @abstractmethod
    def _cancel(self, task: TaskFuture[Any]) -> bool:
        """See :meth:`TaskFuture.cancel`."""

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise EngineClosedError(
                "this engine belongs to the parent of this process: make one after the fork"
            )

    def _event(self, task: TaskFuture[Any], state: str, **detail: Any) -> None:
        if has_subscribers():
            emit(Event(time.time(), "tasks", task.id, state, detail))

    def __enter__(self) -> Any:
        return self


class Configured(concurrent.futures.Executor):
    """An engine with options for its tasks; see :meth:`Engine.configured`."""

    def __init__(self, engine: Engine, options: Options) -> None:
        self.engine = engine
        self.options = options

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> TaskFuture[T]:
        """Run ``fn(*args, **kwargs)``; see :meth:`Engine.submit`."""
        return self.engine._submit(fn, args, kwargs, self.options)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Shut the engine down."""
        self.engine.shutdown(wait, cancel_futures=cancel_futures)


def as_completed(
    futures: Iterable[TaskFuture[T]], timeout: float | None = None
) -> Iterator[TaskFuture[T]]:
    """Futures in the order in which they end; see :func:`concurrent.futures.as_completed`."""
    waited: Any = futures
    return concurrent.futures.as_completed(waited, timeout)  # type: ignore[return-value]


def this_node(cores: int | Sequence[int] | None = None) -> NodeResources:
    """What this machine lets this process use.

    Args:
        cores: how many of its CPU cores, or which; ``None``: all.
    """
    try:
        usable = sorted(os.sched_getaffinity(0))
    except AttributeError:  # only Linux has it
        usable = list(range(os.cpu_count() or 1))
    if cores is None:
        chosen = usable
    elif isinstance(cores, int):
        chosen = usable[:cores] + list(range(len(usable), cores))
    else:
        chosen = list(cores)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return NodeResources(socket.gethostname(), tuple(chosen), _gpus(), memory)


def _gpus() -> tuple[str, ...]:
    """The GPUs that this process may use, as the variable says that limits them."""
    for name in GPU_VARIABLES:
        value = os.environ.get(name)
        if value:
            return tuple(word for word in value.split(",") if word)
    return ()
