"""Commands with ``{}`` and its like in them, and what becomes of these for each task."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from exaworks.cli.errors import USAGE, Problem
from exaworks.cli.mapping.quoting import OPAQUE, contexts, quote

__all__ = ["Template"]

SHELL: Final = "/bin/sh"

_TOKEN: Final = re.compile(r"(\$?)\{([^{}]*)\}")
_NUMBERED: Final = re.compile(r"(\d+)(\.|//|/\.|/|)")
_NAMED: Final = re.compile(r"([^\W\d]\w*)(\.|//|/\.|/|)")


def _without_extension(value: str) -> str:
    return re.sub(r"\.[^/.]*\Z", "", value)


def _basename(value: str) -> str:
    return value.rpartition("/")[2]


def _dirname(value: str) -> str:
    stripped = value.rstrip("/")
    if not stripped:
        return "/" if value else "."
    folder, slash, _ = stripped.rpartition("/")
    return folder.rstrip("/") or slash or "."


_CHANGES: Final[dict[str, Callable[[str], str]]] = {
    "": str,
    ".": _without_extension,
    "/": _basename,
    "//": _dirname,
    "/.": lambda value: _without_extension(_basename(value)),
}
"""What stands behind a number or name, and what it does. As in GNU parallel."""


@dataclass(frozen=True)
class _Field:
    """A replacement string.

    Attributes:
        index: which value, from 0; ``None``: all, with blanks between; -1: the number of the task.
        change: what becomes of it.
        context: where it stands in a line of shell; ``None``: there is no shell.
    """

    index: int | None
    change: str
    context: str | None

    def texts(self, seq: int, values: Sequence[str]) -> list[str]:
        """What it is replaced by."""
        if self.index == -1:
            return [str(seq)]
        chosen = values if self.index is None else (values[self.index],)
        texts = [_CHANGES[self.change](value) for value in chosen]
        return texts if self.context is None else [quote(text, self.context) for text in texts]


_Piece = str | _Field


class Template:
    """A command for many arguments."""

    def __init__(self, words: Sequence[str], width: int, names: Sequence[str] = ()) -> None:
        """Look for replacement strings; if there are none, ``{}`` is added at the end.

        Args:
            words: a line of shell as the only word; or the words of a command, which is run
                without a shell.
            width: how many values each task has.
            names: what they are called, if they have names.

        Raises:
            Problem: it names a value that there is not.
        """
        self.shell = len(words) == 1
        self._width = width
        self._names = list(names)
        self._words = [self._pieces(word) for word in words]
        if all(isinstance(piece, str) for word in self._words for piece in word):
            if self.shell:
                self._words = [self._pieces(f"{words[0]} {{}}")]
            else:
                self._words.append(self._pieces("{}"))

    def _pieces(self, text: str) -> list[_Piece]:
        found = [(match, self._field(match)) for match in _TOKEN.finditer(text)]
        places = self._places(text, [match for match, field in found if field is not None])
        pieces: list[_Piece] = []
        at = 0
        for match, field in found:
            if field is not None:
                begin = match.end(1)
                pieces += [text[at:begin], _Field(*field, places[begin] if self.shell else None)]
                at = match.end()
        pieces.append(text[at:])
        return [piece for piece in pieces if piece != ""]

    def _places(self, text: str, fields: list[re.Match[str]]) -> list[str]:
        if not self.shell:
            return []
        for match in fields:
            length = match.end() - match.end(1)
            text = f"{text[: match.end(1)]}{'x' * length}{text[match.end() :]}"
        places = contexts(text)
        for match in fields:
            if match[1] and places[match.end(1)] != "single":  # $'...' is one quote in some shells
                places[match.end(1)] = OPAQUE
        return places

    def _field(self, match: re.Match[str]) -> tuple[int | None, str] | None:
        """Which value a text in braces stands for, and what becomes of it; ``None``: for none."""
        dollar, text = match.groups()
        if text in _CHANGES:
            return None, text
        if dollar:
            return None
        if text == "#":
            return -1, ""
        if text in self._names:
            return self._names.index(text), ""
        for change in ("/.", "//", "/", "."):
            if text.endswith(change) and text.removesuffix(change) in self._names:
                return self._names.index(text.removesuffix(change)), change
        numbered = _NUMBERED.fullmatch(text)
        if numbered is not None and 1 <= int(numbered[1]) <= self._width:
            return int(numbered[1]) - 1, numbered[2]
        if numbered is None and _NAMED.fullmatch(text) is None:
            return None
        known = ["{}", "{#}", *(f"{{{number + 1}}}" for number in range(self._width))]
        known += [f"{{{name}}}" for name in self._names]
        raise Problem(
            f"The command has {match[0]}, but there is no such value. There are: "
            f"{', '.join(known)}.",
            "Braces that are to stay need a blank or something else that no name has: { name }.",
            USAGE,
        )

    def fill(self, seq: int, values: Sequence[str]) -> tuple[list[str], str]:
        """The words of the command of a task, and the command as one would type it.

        Args:
            seq: the number of the task, from 1.
            values: its values.

        Raises:
            Problem: a value cannot be quoted where it is to stand.
        """
        words: list[str] = []
        for pieces in self._words:
            if len(pieces) == 1 and isinstance(pieces[0], _Field) and not self.shell:
                words += pieces[0].texts(seq, values)
            else:
                words.append(
                    "".join(
                        piece if isinstance(piece, str) else " ".join(piece.texts(seq, values))
                        for piece in pieces
                    )
                )
        return ([SHELL, "-c", *words], words[0]) if self.shell else (words, shlex.join(words))
