"""Where in a line of shell a value stands, and how it is quoted there."""

from __future__ import annotations

import re
import shlex
from typing import Final

from exaworks.cli.errors import USAGE, Problem

__all__ = ["DOUBLE", "OPAQUE", "PLAIN", "SINGLE", "contexts", "quote"]

PLAIN: Final = "plain"
"""Outside of quotes."""
SINGLE: Final = "single"
"""In single quotes."""
DOUBLE: Final = "double"
"""In double quotes."""
OPAQUE: Final = "opaque"
"""Where nothing can be quoted so that every shell understands it."""

# Arithmetic, parameters and backquotes without quotes in them end where they seem to.
_ARITHMETIC: Final = re.compile(r"\$?\(\((?:[^()'\"`\\]|\([^()'\"`\\]*\))*\)\)")
_PARAMETER: Final = re.compile(r"\$\{[^{}'\"`\\]*\}")
_BACKQUOTES: Final = re.compile(r"`[^`'\"\\]*`")
_HERE_DOCUMENT: Final = re.compile(r"<<(?!<)")
_HERE_STRING: Final = re.compile(r"<<<")
_CASE: Final = re.compile(r"case\s")
_COMMENT: Final = re.compile(r"#[^\n]*")


def contexts(line: str) -> list[str]:
    """Where each character of a line of shell stands."""
    found = [OPAQUE] * len(line)
    inside = [PLAIN]  # the innermost last
    at = 0
    while at < len(line):
        state, char = inside[-1], line[at]
        found[at] = state
        if state == SINGLE:
            if char == "'":
                inside.pop()
            at += 1
            continue
        end = _opaque_until(line, at, state, len(inside))
        if end:
            found[at:end] = [OPAQUE] * (end - at)
            at = end
            continue
        if char == "$" and line.startswith("(", at + 1):
            inside.append(PLAIN)
            at += 1
        elif char == '"':
            if state == DOUBLE:
                inside.pop()
            else:
                inside.append(DOUBLE)
        elif state == PLAIN:
            if char == "'":
                inside.append(SINGLE)
            elif char == "(":
                inside.append(PLAIN)
            elif char == ")" and len(inside) > 1:
                inside.pop()
            elif line.startswith("<<<", at):
                at += 2
        at += 1
    return found


def _opaque_until(line: str, at: int, state: str, depth: int) -> int:
    """The end of what cannot be looked into; 0: one can."""
    char = line[at]
    if char == "\\":
        return min(at + 2, len(line))
    for begin, pattern in (("$((", _ARITHMETIC), ("${", _PARAMETER), ("`", _BACKQUOTES)):
        if line.startswith(begin, at):
            match = pattern.match(line, at)
            return match.end() if match else len(line)
    if state != PLAIN:
        return 0
    starts_word = not at or line[at - 1] in " \t\n;&|()"
    if line.startswith("((", at):
        match = _ARITHMETIC.match(line, at)
        return match.end() if match else len(line)
    if char == "#" and starts_word:
        match = _COMMENT.match(line, at)
        return match.end() if match else len(line)
    here = _HERE_DOCUMENT.match(line, at) and not line.startswith("<<<", at)
    # In $(...) the patterns of a case end with a parenthesis that closes nothing.
    case = depth > 1 and starts_word and _CASE.match(line, at)
    return len(line) if line.startswith("$'", at) or here or case else 0


def quote(value: str, context: str) -> str:
    """A value so that the shell takes it as it is.

    Raises:
        Problem: that cannot be done there.
    """
    quoted = shlex.quote(value)
    if context == SINGLE:
        return value.replace("'", "'\"'\"'")
    if quoted == value:
        return value
    if context == PLAIN:
        return quoted
    if context == DOUBLE:
        return f'"{quoted}"'
    if not value:
        return value
    raise Problem(
        f"The value {value!r} cannot be quoted behind a backslash, in `...`, $((...)), ${{...}}, "
        "$'...', a comment or a here-document.",
        'Give it to a variable first, as in: value={}; echo "${value%.txt}"',
        USAGE,
    )
