"""The future of a call."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures._base import RUNNING
from typing import TYPE_CHECKING, Any, TypeVar

from exaworks.flow.arguments import Part
from exaworks.flow.errors import Step
from exaworks.flow.options import CallOptions
from exaworks.tasks.future import TaskFuture
from exaworks.tasks.state import TaskState

if TYPE_CHECKING:
    from exaworks.flow.flow import Flow
    from exaworks.flow.kinds import Kind

__all__ = ["FlowCall", "FlowFuture"]

T = TypeVar("T")


class FlowCall:
    """A call, as its future keeps it until it has ended."""

    __slots__ = (
        "args",
        "failures",
        "fn",
        "inner",
        "key",
        "kind",
        "kwargs",
        "linked",
        "options",
        "runs",
    )

    def __init__(
        self,
        kind: Kind,
        fn: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: CallOptions,
        linked: bool,
    ) -> None:
        self.kind = kind
        self.fn = fn
        self.args = args
        self.kwargs = kwargs
        self.options = options
        self.linked = linked
        """Whether there are futures in the arguments."""
        self.inner: Any = None
        """What can be cancelled: the future of the engine, or a timer."""
        self.failures = 0
        self.runs = 0
        """How often it was begun anew."""
        self.key: bytes | None = None


def _name_of(fn: Any) -> str:
    name = getattr(fn, "__qualname__", None)
    return name if type(name) is str else type(fn).__qualname__


class FlowFuture(TaskFuture[T]):
    """What a call will have come to.

    A :class:`concurrent.futures.Future` that can be an argument of further calls, also within
    lists, tuples, sets, dictionaries and dataclasses. What it holds for its call is given up when
    that has ended.
    """

    __slots__ = ("after", "name", "waits")

    _engine: Flow

    def __init__(self, flow: Flow, number: int, call: FlowCall, submitted: float) -> None:
        """Of use to flows only."""
        TaskFuture.__init__(self, flow, number, call, submitted)
        self.waits = 0
        self.after: Any = None
        self.name: str = call.options.name or _name_of(call.fn)
        """What it is called, for people."""

    def item(self, key: Any) -> Part:
        """``result[key]``, to be given to further calls. No task is started."""
        return Part(self, (("item", key),))

    def attribute(self, name: str) -> Part:
        """``result.name``, to be given to further calls. No task is started."""
        return Part(self, (("attribute", name),))

    @property
    def state(self) -> TaskState:
        """Where it is; ``QUEUED`` also while it waits for others."""
        if self._state is RUNNING:
            call = self._task
            state = getattr(getattr(call, "inner", None), "state", None)
            return state if state is TaskState.QUEUED else TaskState.ACTIVE
        return super().state

    def running(self) -> bool:
        """Whether it runs, or was handed to a worker that will run it next."""
        return self.state is TaskState.ACTIVE

    def explain(self) -> str:
        """Why it waits, where it runs, or why it failed."""
        return self._engine.explain(self)

    @property
    def step(self) -> Step:
        """It, by id and name."""
        return Step(self.id, self.name)

    def _inner_done(self, inner: Any) -> None:
        self._engine._inner_done(self, inner)

    def __repr__(self) -> str:
        return f"<FlowFuture {self.id} {self.state.name}>"

    def __reduce__(self) -> Any:
        raise TypeError(
            f"{self!r} cannot be sent to another process: give it to the call as an argument, "
            "or what it is in as a list, tuple, set, dictionary or dataclass; a function that "
            "calls others and returns their futures is a join app"
        )
