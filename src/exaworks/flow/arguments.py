"""Futures in arguments: where they are, and what they stand for."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

__all__ = ["Part", "futures_in", "replaced"]

_PLAIN = frozenset((bool, bytes, complex, float, int, str, type(None)))
"""Types of which no instance holds a future."""


class Part:
    """An item or attribute of what a future will have come to.

    It starts no task: whoever is given it gets the part when the whole is there.
    """

    __slots__ = ("_keys", "future")

    def __init__(self, future: Future[Any], keys: tuple[tuple[str, Any], ...]) -> None:
        """Of use to futures only.

        Args:
            future: the whole.
            keys: the way to the part: each ``("item", key)`` or ``("attribute", name)``.
        """
        self.future = future
        self._keys = keys

    def item(self, key: Any) -> Part:
        """``part[key]``."""
        return Part(self.future, (*self._keys, ("item", key)))

    def attribute(self, name: str) -> Part:
        """``part.name``."""
        return Part(self.future, (*self._keys, ("attribute", name)))

    def of(self, whole: Any) -> Any:
        """The part of a whole that is there.

        Raises:
            LookupError: there is no such item.
            TypeError: it has no items.
            AttributeError: there is no such attribute.
        """
        for kind, key in self._keys:
            whole = whole[key] if kind == "item" else getattr(whole, key)
        return whole

    def result(self, timeout: float | None = None) -> Any:
        """The part, when the whole is there; arguments and errors are those of the future."""
        return self.of(self.future.result(timeout))

    def __repr__(self) -> str:
        way = "".join(f"[{key!r}]" if kind == "item" else f".{key}" for kind, key in self._keys)
        return f"<Part {way} of {self.future!r}>"

    def __reduce__(self) -> Any:
        return self.future.__reduce__()  # which says what to do instead


def futures_in(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[Future[Any], None] | None:
    """The futures in arguments, each once, in their order; ``None``: there are none.

    They are looked for in lists, tuples, sets, dictionaries and dataclasses, however deep.
    """
    found: dict[Future[Any], None] | None = None
    seen: set[int] = set()
    for value in (*args, *kwargs.values()) if kwargs else args:
        if type(value) not in _PLAIN:
            if found is None:
                found = {}
            _collect(value, found, seen)
    return found or None


def _collect(value: Any, found: dict[Future[Any], None], seen: set[int]) -> None:
    stack = [value]
    while stack:
        value = stack.pop()
        if isinstance(value, Future):
            found[value] = None
        elif isinstance(value, Part):
            found[value.future] = None
        elif id(value) not in seen:
            parts = _inside(value)
            if parts:
                seen.add(id(value))
                stack += [each for each in reversed(parts) if type(each) not in _PLAIN]


def _inside(value: Any) -> list[Any]:
    if isinstance(value, (list, tuple, set, frozenset)):
        return list(value)
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, each.name, None) for each in dataclasses.fields(value)]
    return []


def replaced(value: Any, result: Callable[[Future[Any]], Any]) -> Any:
    """The value with each future replaced by what it has come to.

    What holds no future is not copied.

    Args:
        value: an argument.
        result: says what a future has come to.
    """
    return _Replacing(result).of(value)


class _Replacing:
    """Replaces futures, and looks at each object once. One that is in itself is left alone."""

    def __init__(self, result: Callable[[Future[Any]], Any]) -> None:
        self._result = result
        self._done: dict[int, Any] = {}

    def of(self, value: Any) -> Any:
        """What stands in for a value."""
        if type(value) in _PLAIN:
            return value
        if isinstance(value, Future):
            return self._result(value)
        if isinstance(value, Part):
            return value.of(self._result(value.future))
        if id(value) not in self._done:
            self._done[id(value)] = value  # as long as we are in it
            self._done[id(value)] = self._made(value)
        return self._done[id(value)]

    def _made(self, value: Any) -> Any:
        if isinstance(value, dict):
            pairs = [(self.of(key), self.of(each)) for key, each in value.items()]
            same = zip(pairs, value.items(), strict=True)
            if all(new[0] is old[0] and new[1] is old[1] for new, old in same):
                return value
            made = copy.copy(value)  # of its own kind, such as OrderedDict
            made.clear()
            for key, each in pairs:
                made[key] = each
            return made
        if isinstance(value, (list, tuple, set, frozenset)):
            items = [self.of(each) for each in value]
            if all(new is old for new, old in zip(items, value, strict=True)):
                return value
            if isinstance(value, tuple) and hasattr(value, "_make"):
                return value._make(items)
            return type(value)(items)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return self._made_dataclass(value)
        return value

    def _made_dataclass(self, value: Any) -> Any:
        changed = {}
        for each in dataclasses.fields(value):
            old = getattr(value, each.name, None)
            new = self.of(old)
            if new is not old:
                changed[each.name] = new
        if not changed:
            return value
        made = copy.copy(value)
        for name, new in changed.items():
            object.__setattr__(made, name, new)  # also if it is frozen
        return made
