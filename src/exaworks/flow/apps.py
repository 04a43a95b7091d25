"""Functions whose calls are calls of a flow."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from exaworks.flow.flow import Flow, current_flow
from exaworks.flow.future import FlowFuture
from exaworks.flow.kinds import COMMAND, FUNCTION, JOIN, Kind
from exaworks.flow.options import PLAIN, CallOptions
from exaworks.tasks.errors import InvalidTaskError

if TYPE_CHECKING:
    from exaworks.tasks.result import TaskResult

__all__ = ["App", "bash_app", "join_app", "mpi_app", "python_app"]

P = ParamSpec("P")
T = TypeVar("T")


class App(Generic[P, T]):
    """A function whose calls return futures. See :func:`python_app` and its like.

    In a worker it is the function that it was made of: an app that calls another there runs it
    there.
    """

    def __init__(
        self,
        kind: Kind,
        fn: Callable[..., Any],
        flow: Flow | None = None,
        options: CallOptions = PLAIN,
    ) -> None:
        """Of use to decorators only."""
        if not callable(fn):
            raise InvalidTaskError(f"an app is made of a function, not of {fn!r}")
        self.fn = fn
        self.flow = flow
        self._kind = kind
        self._options = options
        functools.update_wrapper(self, fn, updated=())

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> FlowFuture[T]:
        """Call the function, when the futures among the arguments are done.

        Returns:
            the future of what it returns; it is there at once.
        """
        flow = self.flow or current_flow()
        return flow.enter(self._kind, self.fn, args, kwargs, self._options)

    def options(self, **given: Any) -> App[P, T]:
        """The same app with other options; see :func:`python_app`."""
        flow = given.pop("flow", self.flow)
        return App(self._kind, self.fn, flow, self._options.but(given))

    def map(self, *iterables: Any) -> list[FlowFuture[T]]:
        """A call for each item, or for the items of several iterables side by side."""
        call: Any = self
        return [call(*args) for args in zip(*iterables, strict=False)]

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        if instance is None:
            return self
        return types.MethodType(self, instance)

    def __exaworks_key__(self) -> Any:
        return self.fn

    def __reduce__(self) -> Any:
        return _the_function, (self.fn,)

    def __repr__(self) -> str:
        return f"<{self._kind.name} app {getattr(self.fn, '__qualname__', self.fn)}>"


def _the_function(fn: Any) -> Any:
    return fn


def _decorator(kind: Kind, fn: Any, given: Mapping[str, Any]) -> Any:
    flow = given.get("flow")
    options = PLAIN.but({name: each for name, each in given.items() if name != "flow"})
    if fn is None:
        return lambda fn: App(kind, fn, flow, options)
    return App(kind, fn, flow, options)


@overload
def python_app(fn: Callable[P, T], /) -> App[P, T]: ...


@overload
def python_app(**options: Any) -> Callable[[Callable[P, T]], App[P, T]]: ...


def python_app(fn: Any = None, /, **options: Any) -> Any:
    """Make an app of a function: a call of it runs in a worker, and returns a future at once.

    ::

        @python_app(cores=2, retries=3)
        def simulate(seed): ...

    Args:
        fn: the function; it may be async.
        options: ``flow``: whose calls they are (else those of the innermost ``with Flow()``);
            ``engine``: the name of one of the engines of the flow; ``retries``: a number or a
            :class:`Retry`; ``time_limit``: seconds, after which it is ended; ``priority``;
            ``cache``: keep results, and take them from there; ``name``; ``tags``; ``cores``,
            ``gpus``, ``memory``, ``colocate``, or ``resources`` for several of these.

    Raises:
        InvalidTaskError: there is no such option, or a value makes no sense.
    """
    return _decorator(FUNCTION, fn, options)


@overload
def bash_app(fn: Callable[P, Any], /) -> App[P, TaskResult]: ...


@overload
def bash_app(**options: Any) -> Callable[[Callable[P, Any]], App[P, TaskResult]]: ...


def bash_app(fn: Any = None, /, **options: Any) -> Any:
    """Make an app of a function that returns a command: that is run, when the arguments are there.

    The function runs in this program and returns a line of shell, or a list of words, which no
    shell touches; it must not wait for futures. The future is that of a
    :class:`~exaworks.tasks.TaskResult`; an exit code other than 0 is the failure
    :class:`~exaworks.tasks.TaskFailed`, with the end of the standard error. Parameters called
    ``stdin``, ``stdout`` and ``stderr`` name files.

    Args:
        fn: the function.
        options: those of :func:`python_app`, ``ranks``, ``nodes``, ``launcher``, ``directory``,
            ``environment``, ``inherit_environment``, ``before``, ``after``, ``grace``, ``stdin``,
            ``stdout`` and ``stderr``; see :class:`~exaworks.tasks.TaskSpec`.

    Raises:
        InvalidTaskError: there is no such option, or a value makes no sense.
    """
    return _decorator(COMMAND, fn, options)


def mpi_app(*, ranks: int, **options: Any) -> Callable[[Callable[P, Any]], App[P, TaskResult]]:
    """Make an app of a function that returns the command of an MPI program.

    Args:
        ranks: how many processes.
        options: those of :func:`bash_app`.

    Raises:
        InvalidTaskError: there is no such option, or a value makes no sense.
    """
    decorator: Any = _decorator(COMMAND, None, {"ranks": ranks, **options})
    return decorator  # type: ignore[no-any-return]


@overload
def join_app(fn: Callable[P, Any], /) -> App[P, Any]: ...


@overload
def join_app(**options: Any) -> Callable[[Callable[P, Any]], App[P, Any]]: ...


def join_app(fn: Any = None, /, **options: Any) -> Any:
    """Make an app of a function that makes further calls, and returns their futures.

    The function runs in this program, in a thread of the flow, when the arguments are there. What
    it returns is a future, or a list, tuple, set, dictionary or dataclass of them; the future of
    the call is that of the same with results in their places. So graphs grow while they run.

    Args:
        fn: the function. It must not wait for futures.
        options: ``flow``, ``retries``, ``name`` and ``tags`` of :func:`python_app`.

    Raises:
        InvalidTaskError: there is no such option, or a value makes no sense.
    """
    return _decorator(JOIN, fn, options)
