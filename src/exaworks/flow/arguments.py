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

_DEEPEST = 200


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
    for value in (*args, *kwargs.values()) if kwargs else args:
        if type(value) not in _PLAIN:
            if found is None:
                found = {}
            _collect(value, found, 0)
    return found or None


def _collect(value: Any, found: dict[Future[Any], None], depth: int) -> None:
    if isinstance(value, Future):
        found[value] = None
    elif isinstance(value, Part):
        found[value.future] = None
    elif depth < _DEEPEST:
        for each in _inside(value):
            if type(each) not in _PLAIN:
                _collect(each, found, depth + 1)


def _inside(value: Any) -> Any:
    if isinstance(value, (list, tuple, set, frozenset)):
        return value
    if isinstance(value, dict):
        return (*value.keys(), *value.values())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, each.name, None) for each in dataclasses.fields(value)]
    return ()


def replaced(value: Any, result: Callable[[Future[Any]], Any]) -> Any:
    """The value with each future replaced by what it has come to.

    What holds no future is not copied.

    Args:
        value: an argument.
        result: says what a future has come to.
    """
    return _replaced(value, result, 0)


def _replaced(value: Any, result: Callable[[Future[Any]], Any], depth: int) -> Any:
    kind = type(value)
    if kind in _PLAIN:
        return value
    if isinstance(value, Future):
        return result(value)
    if isinstance(value, Part):
        return value.of(result(value.future))
    if depth >= _DEEPEST:
        return value
    depth += 1
    if isinstance(value, dict):
        pairs = [
            (_replaced(key, result, depth), _replaced(each, result, depth))
            for key, each in value.items()
        ]
        if all(
            new[0] is key and new[1] is value[key] for new, key in zip(pairs, value, strict=True)
        ):
            return value
        made = copy.copy(value)  # of its own kind, such as OrderedDict
        made.clear()
        made.update(pairs)
        return made
    if isinstance(value, (list, tuple, set, frozenset)):
        items = [_replaced(each, result, depth) for each in value]
        if all(new is old for new, old in zip(items, value, strict=True)):
            return value
        if isinstance(value, tuple) and hasattr(value, "_make"):
            return value._make(items)
        return kind(items)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _replaced_in_dataclass(value, result, depth)
    return value


def _replaced_in_dataclass(value: Any, result: Callable[[Future[Any]], Any], depth: int) -> Any:
    changed = {}
    for each in dataclasses.fields(value):
        old = getattr(value, each.name, None)
        new = _replaced(old, result, depth)
        if new is not old:
            changed[each.name] = new
    if not changed:
        return value
    made = copy.copy(value)
    for name, new in changed.items():
        object.__setattr__(made, name, new)  # also if it is frozen
    return made
