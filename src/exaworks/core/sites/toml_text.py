"""Writing TOML 1.0, with comments."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["INLINE", "comment", "dump", "value_text"]

INLINE = ("custom_attributes", "max_walltime_by_nodes")
"""Keys whose tables are written on one line."""

_ESCAPES = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r", '"': '\\"'}
_ESCAPES["\\"] = "\\\\"


def _letter(letter: str) -> str:
    if letter in _ESCAPES:
        return _ESCAPES[letter]
    if "\ud800" <= letter <= "\udfff":  # what TOML cannot express
        return "�"
    if ord(letter) < 32 or ord(letter) == 127:
        return f"\\u{ord(letter):04x}"
    return letter


def _string(text: str) -> str:
    return '"' + "".join(map(_letter, text)) + '"'


def key_text(key: str) -> str:
    """A key, in quotes if it needs them."""
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key, re.ASCII) else _string(key)


def value_text(value: Any) -> str:
    """A text, number, truth value, or list or (inline) table of them.

    Raises:
        TypeError: it is of another type.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(value_text, value))}]"
    if isinstance(value, Mapping):
        inside = ", ".join(f"{key_text(k)} = {value_text(v)}" for k, v in value.items())
        return f"{{{inside}}}"
    raise TypeError(f"TOML has no form for {value!r}")


def comment(text: str) -> str:
    """A comment of one or more lines."""
    lines = "".join(" " if ord(letter) < 32 and letter != "\n" else letter for letter in text)
    safe = "".join(map(_letter_in_comment, lines))
    return "".join(f"# {line}".rstrip() + "\n" for line in safe.split("\n"))


def _letter_in_comment(letter: str) -> str:
    return "�" if "\ud800" <= letter <= "\udfff" or letter == "\x7f" else letter


def dump(
    table: Mapping[str, Any],
    above: Mapping[tuple[str, ...], str] | None = None,
    beside: Mapping[tuple[str, ...], str] | None = None,
) -> str:
    """A document.

    Args:
        table: the data. Tables inside are written as tables of their own, except
            ``custom_attributes``, which become inline tables.
        above: comments to write above a key or table, by its path. A path that is not in the
            table puts its comment at the end of the table it would be in.
        beside: comments of one line to write after a value.
    """
    lines: list[str] = []
    _dump(table, (), above or {}, beside or {}, lines)
    return "".join(lines).lstrip("\n")


def _dump(
    table: Mapping[str, Any],
    path: tuple[str, ...],
    above: Mapping[tuple[str, ...], str],
    beside: Mapping[tuple[str, ...], str],
    lines: list[str],
) -> None:
    inner = {
        key: value
        for key, value in table.items()
        if isinstance(value, Mapping) and key not in INLINE
    }
    for key, value in table.items():
        if key in inner:
            continue
        here = (*path, key)
        if here in above:
            lines.append(comment(above[here]))
        aside = "  " + comment(beside[here].replace("\n", " ")) if here in beside else "\n"
        lines.append(f"{key_text(key)} = {value_text(value)}{aside}")
    lines += [
        comment(text) for at, text in above.items() if at[:-1] == path and at[-1] not in table
    ]
    for key, value in inner.items():
        here = (*path, key)
        heading = f"[{'.'.join(map(key_text, here))}]\n"
        plain = any(not isinstance(v, Mapping) or k in INLINE for k, v in value.items())
        if here in above or plain or not value:
            lines.append("\n")
        if here in above:
            lines.append(comment(above[here]))
        if plain or not value:
            lines.append(heading)
        _dump(value, here, above, beside, lines)
