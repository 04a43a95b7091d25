"""What calls do: run a function in a worker, run a command, or make further calls."""

from __future__ import annotations

import inspect
import os
from abc import ABC, abstractmethod
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exaworks.flow.errors import JoinError
from exaworks.tasks.engine import Engine
from exaworks.tasks.errors import InvalidTaskError, UnsupportedError
from exaworks.tasks.future import Value
from exaworks.tasks.options import DEFAULT

if TYPE_CHECKING:
    from exaworks.flow.flow import Flow
    from exaworks.flow.future import FlowCall, FlowFuture
    from exaworks.flow.options import CallOptions

__all__ = ["COMMAND", "FUNCTION", "JOIN", "Kind"]

_STREAMS = ("stdin", "stdout", "stderr")


class Kind(ABC):
    """One way to run a call. It keeps no state."""

    name: str
    kept: bool = True
    """Whether results can be kept for another time."""

    def matters(self, options: CallOptions) -> Any:
        """What of the options makes a difference to results."""
        return None

    @abstractmethod
    def start(
        self,
        flow: Flow,
        future: FlowFuture[Any],
        call: FlowCall,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        """Start a call whose arguments are there. What it raises is the failure of the call."""


class _Function(Kind):
    """A function runs in a worker of an engine."""

    name = "function"

    def start(
        self,
        flow: Flow,
        future: FlowFuture[Any],
        call: FlowCall,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        """See :meth:`Kind.start`."""
        engine: Executor = flow.engine_for(call.options)
        if call.options.command:
            names = ", ".join(call.options.command)
            raise InvalidTaskError(f"{names}: that is for commands, and this is a function")
        if isinstance(engine, Engine):
            inner: Future[Any] = engine._submit(call.fn, args, kwargs, call.options.task)
        elif call.options.task.resources != DEFAULT.resources or call.options.task.time_limit:
            raise UnsupportedError(
                f"{type(engine).__name__} knows no resources and no time limits; an engine of "
                "exaworks.tasks does"
            )
        else:
            inner = engine.submit(call.fn, *args, **kwargs)
        flow.handed(future, call, inner)


class _Command(Kind):
    """A function says here what command an engine is to run."""

    name = "command"

    def matters(self, options: CallOptions) -> Any:
        """See :meth:`Kind.matters`."""
        stdin = options.command.get("stdin")
        file = None if stdin is None else Path(options.command.get("directory") or "", stdin)
        directory = options.command.get("directory") or os.getcwd()
        return dict(options.command), str(directory), file, options.task.resources

    def start(
        self,
        flow: Flow,
        future: FlowFuture[Any],
        call: FlowCall,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        """See :meth:`Kind.start`."""
        engine = flow.engine_for(call.options)
        if not isinstance(engine, Engine):
            raise UnsupportedError(
                f"{type(engine).__name__} runs no commands; an engine of exaworks.tasks does"
            )
        command = call.fn(*args, **kwargs)
        if isinstance(command, str):
            words = [_shell(), "-c", command]
        elif isinstance(command, (list, tuple)) and command:
            words = [os.fspath(word) for word in command]
        else:
            raise InvalidTaskError(
                f"{future.name} must return a line of shell, or the words of a command, "
                f"not {command!r}"
            )
        spec = call.options.spec(words, future.name, _streams(call.fn, args, kwargs))
        flow.handed(future, call, engine.launch(spec))


def _shell() -> str:
    return "/bin/bash" if os.access("/bin/bash", os.X_OK) else "/bin/sh"


def _streams(fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Files for the streams of a command, if its function has parameters of these names."""
    names = fn.__code__.co_varnames if inspect.isfunction(fn) else ()
    if not any(name in names for name in _STREAMS):
        return {}
    given = inspect.signature(fn).bind(*args, **kwargs)
    given.apply_defaults()
    found = {name: given.arguments.get(name) for name in _STREAMS}
    return {name: os.fspath(value) for name, value in found.items() if value is not None}


class _Join(Kind):
    """A function makes further calls here, in a thread of the flow, and returns their futures."""

    name = "join"
    kept = False  # its calls are

    def start(
        self,
        flow: Flow,
        future: FlowFuture[Any],
        call: FlowCall,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        """See :meth:`Kind.start`."""
        from exaworks.flow.arguments import futures_in

        def run() -> Any:
            with flow.as_current():
                made = call.fn(*args, **kwargs)
            found = futures_in((made,), {})
            if found is None:
                raise JoinError(
                    f"{future.name} must return a future, or a list, tuple, set, dictionary or "
                    f"dataclass with futures, not {made!r}"
                )
            return made, found

        flow.handed(future, call, _Joining(flow, future, flow.thread(run)))


class _Joining:
    """First the function that makes calls, then those calls; to a flow, one thing that ends.

    What it returned stands in for the arguments of a second call, that of a function which returns
    what it is given.
    """

    def __init__(self, flow: Flow, future: FlowFuture[Any], first: Future[Any]) -> None:
        self._flow = flow
        self._future = future
        self._first = first
        self._second: FlowFuture[Any] | None = None

    def cancel(self) -> bool:
        """End it. Calls that were made are calls of the flow like others, and go on."""
        return self._first.cancel() if self._second is None else self._second.cancel()

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self._first.cancelled()

    def add_done_callback(self, fn: Any) -> None:
        """Call ``fn`` when the calls have ended that were made."""

        def made(first: Future[Any]) -> None:
            problem = None if first.cancelled() else first.exception()
            if first.cancelled() or problem is not None:
                fn(first)
                return
            value, _ = first.result()
            self._second = self._flow.gather(value, self._future.name)
            self._second.add_done_callback(fn)

        self._first.add_done_callback(made)


class _Gather(Kind):
    """Futures have come to their ends: nothing is left to run."""

    name = "gather"
    kept = False

    def start(
        self,
        flow: Flow,
        future: FlowFuture[Any],
        call: FlowCall,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        """See :meth:`Kind.start`."""
        flow.ended(future, Value(args[0]))


FUNCTION, COMMAND, JOIN, GATHER = _Function(), _Command(), _Join(), _Gather()
