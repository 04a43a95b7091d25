"""What tasks have printed, and how it is shown: whole, with a label, in some order."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import IO, Final

import click

from exaworks.cli.output import note
from exaworks.tasks import TaskResult

__all__ = ["InOrder", "Output", "Screen", "Stream"]

_CHUNK: Final = 1 << 20
_IN_MEMORY: Final = 32 << 20
"""Bytes that are kept in memory of what is to be shown later."""


@dataclass(frozen=True)
class Stream:
    """What a task has printed to a stream.

    Attributes:
        data: all of it, or the beginning.
        path: the file with all of it; ``None``: there is no such file.
        ours: the file is of no use to others, and is removed when it has been shown.
    """

    data: bytes
    path: str | None
    ours: bool

    def size(self) -> int:
        """How many bytes it is."""
        with contextlib.suppress(OSError):
            if self.path is not None:
                return os.path.getsize(self.path)
        return len(self.data)

    def copy_to(self, target: IO[bytes], label: bytes) -> bytes:
        """Write it to a file, with a label before each line; returns its last byte."""
        if self.path is None:
            return _write(iter((self.data,)), target, label)
        try:
            with open(self.path, "rb") as file:
                chunks = file if label else iter(lambda: file.read(_CHUNK), b"")
                return _write(chunks, target, label)
        except OSError as problem:
            note(f"{self.path} cannot be read ({problem.strerror}); what follows is its beginning")
            return _write(iter((self.data,)), target, label)

    def remove(self) -> None:
        """Remove the file, if it is of no use to others."""
        if self.path is not None and self.ours:
            with contextlib.suppress(OSError):
                os.unlink(self.path)


def _write(chunks: Iterator[bytes], target: IO[bytes], label: bytes) -> bytes:
    last = b""
    for chunk in chunks:
        if label and chunk:
            chunk = label + chunk[:-1].replace(b"\n", b"\n" + label) + chunk[-1:]
        target.write(chunk)
        last = chunk[-1:] or last
    return last


@dataclass(frozen=True)
class Output:
    """What a task has printed.

    Attributes:
        label: what to begin each line with.
        stdout: its standard output.
        stderr: its standard error.
    """

    label: bytes
    stdout: Stream
    stderr: Stream

    @classmethod
    def of(cls, result: TaskResult, label: bytes, own_files: bool) -> Output:
        """The output of a command.

        Args:
            result: how it has run.
            label: what to begin each line with.
            own_files: it was written to files that the task has named.
        """
        return cls(
            label,
            Stream(result.stdout, result.stdout_path, not own_files),
            Stream(result.stderr, result.stderr_path, not own_files),
        )

    def remove(self) -> None:
        """Remove files that are of no use to others."""
        self.stdout.remove()
        self.stderr.remove()


class Screen:
    """Shows output at once: standard output and standard error of tasks become ours."""

    def __init__(self) -> None:
        self._stdout = sys.stdout.buffer
        self._stderr = sys.stderr.buffer
        self._last = b"\n"  # the last byte on the terminal

    def show(self, output: Output) -> None:
        """Show what a task has printed."""
        for stream, target in ((output.stdout, self._stdout), (output.stderr, self._stderr)):
            if stream.data or stream.path is not None:
                last = stream.copy_to(target, output.label)
                target.flush()
                if last and target.isatty():
                    self._last = last
        output.remove()

    def end_line(self) -> None:
        """Begin a new line on the terminal, unless the last output has done that."""
        if self._last != b"\n":
            self._last = b"\n"
            click.echo(err=True)


class InOrder:
    """Keeps output back until that of all tasks before has been shown."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._next = 0
        self._held: dict[int, tuple[Output, tuple[int, int, int]] | None] = {}
        self._spool = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115

    def add(self, number: int, output: Output | None) -> None:
        """A task has ended.

        Args:
            number: its place in the order, from 0.
            output: what it has printed; ``None``: there is nothing to show.
        """
        if number != self._next:
            self._held[number] = None if output is None else self._keep(output)
            return
        if output is not None:
            self._screen.show(output)
        self._next += 1
        while self._next in self._held:
            self._show(self._next)
            self._next += 1
        if not self._held:
            self._spool.seek(0)
            self._spool.truncate()

    def _keep(self, output: Output) -> tuple[Output, tuple[int, int, int]]:
        begin = self._spool.seek(0, os.SEEK_END)
        out, err = output.stdout.data, output.stderr.data
        self._spool.write(out)
        self._spool.write(err)
        small = Output(
            output.label, replace(output.stdout, data=b""), replace(output.stderr, data=b"")
        )
        return small, (begin, len(out), len(err))

    def _show(self, number: int) -> None:
        held = self._held.pop(number)
        if held is None:
            return
        output, (begin, out, err) = held
        self._spool.seek(begin)
        stdout = replace(output.stdout, data=self._spool.read(out))
        stderr = replace(output.stderr, data=self._spool.read(err))
        self._screen.show(Output(output.label, stdout, stderr))

    def finish(self) -> None:
        """Show what is left: some tasks before have not ended, and will not."""
        for number in sorted(self._held):
            self._show(number)

    def close(self) -> None:
        """Forget what is left."""
        for held in self._held.values():
            if held is not None:
                held[0].remove()
        self._spool.close()
