"""What a command is run for: arguments, lines of files, rows of a table, and how they combine."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exaworks.cli.errors import USAGE, Problem

__all__ = ["Inputs", "Lines", "Source", "Words", "choose_inputs", "split_command"]

_SEPARATORS: Final = (":::", ":::+", "::::", "::::+")


@dataclass(frozen=True)
class Words:
    """Arguments that were given on the command line."""

    words: Sequence[str]

    def __iter__(self) -> Iterator[str]:
        return iter(self.words)

    def count(self) -> int | None:
        """How many there are; ``None``: that is known when all have been read."""
        return len(self.words)


@dataclass(frozen=True)
class Lines:
    """The lines of a file.

    Attributes:
        path: the file; ``-``: standard input.
        end: what ends a line.
    """

    path: str
    end: bytes = b"\n"

    @property
    def title(self) -> str:
        """What to call it."""
        return "standard input" if self.path == "-" else self.path

    def __iter__(self) -> Iterator[str]:
        try:
            # A file of our own: that of sys may not be in use when Python ends.
            with open(0 if self.path == "-" else self.path, "rb", closefd=self.path != "-") as file:
                for number, line in enumerate(_split(file, self.end), 1):
                    if b"\0" in line:
                        raise Problem(
                            f"Line {number} of {self.title} has a NUL character, which no argument "
                            "can have.",
                            "If NUL characters separate the arguments, say so with --null.",
                            USAGE,
                        )
                    yield os.fsdecode(line)
        except OSError as problem:
            text = f"{self.title} cannot be read: {problem.strerror}."
            raise Problem(text, exit_code=USAGE) from problem

    def count(self) -> int | None:
        """See :meth:`Words.count`."""
        if self.path == "-" or not os.path.isfile(self.path):
            return None
        return sum(1 for _ in self)


def _split(file: Iterator[bytes], end: bytes) -> Iterator[bytes]:
    if end == b"\n":
        for line in file:
            yield line.removesuffix(b"\n")
        return
    rest = b""
    for data in file:
        *whole, rest = (rest + data).split(end)
        yield from whole
    if rest:
        yield rest


Source = Words | Lines


@dataclass(frozen=True)
class Inputs:
    """All combinations of the values of some sources; the last source varies fastest.

    Only the values of the first group of sources are not kept in memory.

    Attributes:
        groups: the sources; those of one group are linked, that is, read one from each.
        names: what the values are called, if they have names.
    """

    groups: Sequence[Sequence[Source]]
    names: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """How many values a command gets."""
        return sum(len(group) for group in self.groups)

    def __iter__(self) -> Iterator[tuple[str, ...]]:
        first, *others = self.groups
        kept = [list(zip(*group, strict=False)) for group in others]
        for values in zip(*first, strict=False):
            for rest in itertools.product(*kept):
                yield sum(rest, values)

    def count(self) -> int | None:
        """How many combinations there are; ``None``: that is known when all have been read."""
        total = 1
        for group in self.groups:
            counts = [source.count() for source in group]
            known = [count for count in counts if count is not None]
            if len(known) < len(counts):
                return None
            total *= min(known)
        return total


def split_command(words: Sequence[str], end: bytes) -> tuple[list[str], list[list[Source]]]:
    """Tell a command from the sources behind it.

    Args:
        words: what was given on the command line, such as ``echo {} ::: a b``.
        end: what ends a line of a file.

    Raises:
        Problem: there is nothing for a source to be linked with.
    """
    at = next((at for at, word in enumerate(words) if word in _SEPARATORS), len(words))
    command, rest = list(words[:at]), words[at:]
    groups: list[list[Source]] = []
    while rest:
        mark, *rest = rest
        at = next((at for at, word in enumerate(rest) if word in _SEPARATORS), len(rest))
        given, rest = rest[:at], rest[at:]
        files = mark.startswith("::::")
        sources: list[Source] = [Lines(path, end) for path in given] if files else [Words(given)]
        if not mark.endswith("+"):
            groups += [[source] for source in sources]
        elif groups:
            groups[-1] += sources
        else:
            raise Problem(
                f"There is no source before {mark} to link with.",
                f"Begin with {mark[:-1]}, as in: ::: a b :::+ 1 2",
                USAGE,
            )
    return command, groups


def choose_inputs(
    groups: list[list[Source]], files: Sequence[str], table: Path | None, end: bytes
) -> Inputs:
    """What is to be run for.

    Args:
        groups: the sources behind the command.
        files: further files of arguments, which come before these.
        table: a parameter file.
        end: what ends a line of a file.

    Raises:
        Problem: there is nothing, or too much.
    """
    given: list[list[Source]] = [[Lines(path, end)] for path in files]
    groups = given + groups
    if table is not None:
        if groups:
            raise Problem(
                "--from cannot be combined with other arguments.",
                "Write them as columns of the file.",
                USAGE,
            )
        return _of_table(table)
    if not groups:
        if sys.stdin.isatty():
            raise Problem(
                "There is nothing to run the command for.",
                "Give arguments as ::: a b c, a file of them as :::: FILE or with --from, or lines "
                "on standard input.",
                USAGE,
            )
        groups = [[Lines("-", end)]]
    if [source for group in groups for source in group].count(Lines("-", end)) > 1:
        raise Problem("Standard input can be read only once.", exit_code=USAGE)
    return Inputs(groups)


def _of_table(path: Path) -> Inputs:
    from exaworks.cli.sweep import read_sweep

    rows = read_sweep(path)
    names = tuple(rows[0])
    for number, row in enumerate(rows, 1):
        for name in names:
            value = row.get(name)
            if value is None:
                raise Problem(
                    f"Row {number} of {path} has no {name!r}, but the first row has.",
                    exit_code=USAGE,
                )
            if not _possible(value):
                raise Problem(
                    f"Row {number} of {path} has a value that no argument can have: {value!r}.",
                    exit_code=USAGE,
                )
    return Inputs([[Words([row[name] for row in rows]) for name in names]], names)


def _possible(value: str) -> bool:
    try:
        return b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:
        return False
