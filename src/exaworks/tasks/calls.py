"""Functions, pickled once each."""

from __future__ import annotations

import itertools
import types
import weakref
from collections.abc import Callable
from typing import Any

from exaworks.core.workers.wire import Packed, pack
from exaworks.tasks.options import Options

__all__ = ["Call", "Function", "Functions"]


class Function:
    """A function as workers get it.

    Attributes:
        key: what workers call it.
        name: what people call it.
        packed: it, pickled.
        seconds: how long a call takes, roughly; ``None``: not known yet.
    """

    __slots__ = ("_uses", "key", "name", "packed", "seconds")

    def __init__(self, key: int, name: str, packed: bytes | Packed, uses: list[Any]) -> None:
        self.key = key
        self.name = name
        self.packed = packed
        self.seconds: float | None = None
        self._uses = [_kept(each) for each in uses]

    def uses(self, objects: list[Any]) -> bool:
        """Whether these are the objects that it referred to when it was pickled."""
        if len(objects) != len(self._uses):
            return False
        return all(
            (kept() if type(kept) is weakref.ref else kept) is each
            for kept, each in zip(self._uses, objects, strict=True)
        )

    def took(self, seconds: float) -> None:
        """Note how long a call took."""
        known = self.seconds
        self.seconds = seconds if known is None else known + 0.2 * (seconds - known)


def _uses(fn: Any) -> list[Any]:
    """Which objects a function refers to that go along with it: if they change, so does it."""
    if type(fn) is not types.FunctionType:
        return []
    found: list[Any] = [fn.__code__, fn.__defaults__]
    for cell in fn.__closure__ or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:  # it is empty
            found.append(None)
    if fn.__module__ == "__main__":
        variables = fn.__globals__
        found.extend(variables.get(name) for name in fn.__code__.co_names)
    return found


def _kept(value: Any) -> Any:
    """An object, or what tells whether it is still the same one."""
    try:
        return weakref.ref(value)
    except TypeError:
        return value


class Functions:
    """Remembers the functions of an engine as long as they exist. Not thread-safe."""

    def __init__(self) -> None:
        self._keys = itertools.count(1)
        self._by_id: dict[int, tuple[Any, Function]] = {}

    def get(self, fn: Callable[..., Any]) -> Function:
        """The function for workers. It is pickled if it is new or refers to other objects now.

        Raises:
            SerializationError: it cannot be pickled.
            TypeError: it cannot be called.
        """
        found = self._by_id.get(id(fn))
        if found is not None and found[1].uses(_uses(fn)):
            return found[1]
        if not callable(fn):
            raise TypeError(f"the first argument must be something to call, not {fn!r}")
        name = getattr(fn, "__qualname__", None) or type(fn).__qualname__
        function = Function(next(self._keys), name, pack(fn, f"the function {name}"), _uses(fn))
        number = id(fn)
        try:
            kept: Any = weakref.ref(fn, lambda _: self._by_id.pop(number, None))
        except TypeError:
            kept = fn
        self._by_id[number] = (kept, function)
        return function


class Call:
    """A call of a function, as a future keeps it until it has ended."""

    __slots__ = ("function", "options", "payload", "runs")

    def __init__(self, function: Function, payload: bytes | Packed, options: Options) -> None:
        self.function = function
        self.payload = payload
        self.options = options
        self.runs = 0

    @property
    def title(self) -> str:
        """What to call it."""
        return self.options.name or self.function.name
