"""Which part of an object cannot be pickled."""

from __future__ import annotations

import types

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

__all__ = ["culprit"]

_MOST_LOOKED_AT = 2000
_SHOWN = 60


def culprit(value: Any, name: str, dumps: Callable[[Any], object]) -> str | None:
    """The innermost part of an object that cannot be pickled, with the way to it.

    Args:
        value: the object.
        name: what to call it.
        dumps: pickles an object, or raises.

    Returns:
        such as ``"args[0].lock (a _thread.lock)"``; ``None`` if everything can be pickled.
    """
    if _can(value, dumps):
        return None
    seen: set[int] = set()
    while True:
        seen.add(id(value))
        for part, path in _parts(value, name):
            if id(part) in seen or len(seen) > _MOST_LOOKED_AT:
                continue
            seen.add(id(part))
            if not _can(part, dumps):
                value, name = part, path
                break
        else:
            return f"{name} ({_about(value)})"


def _can(value: Any, dumps: Callable[[Any], object]) -> bool:
    try:
        dumps(value)
    except Exception:
        return False
    return True


def _about(value: Any) -> str:
    kind = type(value)
    name = kind.__qualname__
    if kind.__module__ not in ("builtins", "__main__"):
        name = f"{kind.__module__}.{name}"
    try:
        text = repr(value)
    except Exception:
        text = ""
    short = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    return f"of type {name}: {short}" if short else f"of type {name}"


def _parts(value: Any, name: str) -> Iterator[tuple[Any, str]]:
    if isinstance(value, dict):
        for key, item in list(value.items()):
            yield item, f"{name}[{key!r}]"
            yield key, f"a key of {name}"
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield item, f"{name}[{index}]"
    elif isinstance(value, (set, frozenset)):
        for item in list(value):
            yield item, f"an element of {name}"
    elif isinstance(value, types.MethodType):
        yield value.__self__, f"the object of {name}"
        yield value.__func__, f"the function of {name}"
    elif isinstance(value, types.FunctionType):
        yield from _of_function(value, name)
    else:
        yield from _of_object(value, name)


def _of_function(function: types.FunctionType, name: str) -> Iterator[tuple[Any, str]]:
    code = function.__code__
    for variable, cell in zip(code.co_freevars, function.__closure__ or (), strict=False):
        try:
            yield cell.cell_contents, f"the variable {variable!r} that {name} uses"
        except ValueError:  # an empty cell
            continue
    for variable in code.co_names:
        if variable in function.__globals__:
            yield function.__globals__[variable], f"the global {variable!r} that {name} uses"
    for index, default in enumerate(function.__defaults__ or ()):
        yield default, f"default {index} of {name}"
    for key, default in (function.__kwdefaults__ or {}).items():
        yield default, f"the default of {key!r} of {name}"


def _of_object(value: Any, name: str) -> Iterator[tuple[Any, str]]:
    if hasattr(type(value), "add_done_callback"):  # a future is to blame as a whole
        return
    try:
        attributes = dict(vars(value))
    except TypeError:
        attributes = {}
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            if isinstance(slot, str) and hasattr(value, slot):
                attributes[slot] = getattr(value, slot)
    for attribute, item in attributes.items():
        yield item, f"{name}.{attribute}"
