"""How commands are run and small files are read and written, on this machine or another one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

__all__ = ["Command", "CommandResult", "FileEntry", "LocalRunner", "Mover", "Runner"]


@dataclass(frozen=True)
class Command:
    """A command to run.

    Attributes:
        argv: the program, looked up in ``PATH``, and its arguments. No shell is involved.
        input: what it reads on standard input.
        timeout: seconds after which it is killed; ``None``: the runner's default.
        environment: variables to set.
        unset: names of variables that it must not inherit; ``NAME*`` means all that begin so.
        scope: what the answer is about, for the one who reads it (such as a cluster's name).
        once: where this is not empty, the command must have its effect once, even if the answer
            gets lost on the way and the command is sent again. It is the beginning of paths where
            a runner on another machine may keep what it needs for that.
    """

    argv: tuple[str, ...]
    input: bytes = b""
    timeout: float | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    unset: tuple[str, ...] = ()
    scope: str = ""
    once: str = ""


@dataclass(frozen=True)
class CommandResult:
    """What became of a command.

    Attributes:
        command: the command.
        returncode: its exit code (negative: the signal that killed it); ``None`` if it did not
            end in time or could not be started.
        stdout: what it printed; bytes that are not UTF-8 as surrogate escapes.
        stderr: likewise.
        missing: whether there is no such program.
        unreachable: why the machine that should have run it could not be reached, or was lost
            before the answer came; empty if it could.
        hopeless: whether somebody has to do something before it can be reached; the command was
            not run.
    """

    command: Command
    returncode: int | None
    stdout: str = ""
    stderr: str = ""
    missing: bool = False
    unreachable: str = ""
    hopeless: bool = False

    @property
    def ok(self) -> bool:
        """Whether it ended with exit code 0."""
        return self.returncode == 0

    @property
    def unanswered(self) -> bool:
        """Whether it is not known how it ended: it took too long, or the connection was lost."""
        return self.returncode is None and not self.missing

    def complaint(self) -> str:
        """One line that says what went wrong, in the command's own words where it has any."""
        name = self.command.argv[0]
        if self.unreachable:
            return self.unreachable
        if self.missing:
            return f"{name}: there is no such command in PATH"
        said = " ".join((self.stderr.strip() or self.stdout.strip()).split())
        if len(said) > 600:
            said = f"{said[:300]} ... {said[-300:]}"
        if self.unanswered:
            return f"{name} did not end in time" + (f": {said}" if said else "")
        return said or f"{name} ended with exit code {self.returncode}"


@dataclass(frozen=True)
class FileEntry:
    """A file as found in a folder.

    Attributes:
        name: its name in the folder.
        mtime: when it was last changed, in seconds since the epoch.
        data: what it contains.
    """

    name: str
    mtime: float
    data: bytes


class Mover(Protocol):
    """Brings files to another machine and back. All methods block and raise :class:`OSError`."""

    def upload(self, folder: str, files: Sequence[str]) -> None:
        """Bring files or folders of this machine into a folder, under the names 0, 1, ...

        Args:
            folder: the folder there, which is made.
            files: paths here.

        Raises:
            FileNotFoundError: one of them does not exist.
        """
        ...

    def download(self, folder: str, files: Sequence[str]) -> None:
        """Fetch what lies in a folder under the names 0, 1, ..., and remove it there.

        What is not there is left out.

        Args:
            folder: the folder there.
            files: where to put it on this machine.
        """
        ...


class Runner(Protocol):
    """Runs commands and handles files. All methods block and may be called in any thread.

    Those that handle files raise :class:`OSError` if their machine cannot be reached.
    """

    @property
    def host(self) -> str | None:
        """The machine, for people; ``None`` if it is this one."""
        ...

    @property
    def pause(self) -> float:
        """How many seconds should pass between two looks into a folder."""
        ...

    @property
    def mover(self) -> Mover | None:
        """What brings files there and back; ``None`` if there is nothing to move."""
        ...

    def home(self) -> str:
        """The user's home directory there."""
        ...

    def resolve(self, path: str) -> str:
        """An absolute path there. On another machine ``~/`` and ``$NAME`` are replaced.

        Raises:
            OSError: it refers to a variable that is not set there.
        """
        ...

    def run(self, command: Command) -> CommandResult:
        """Run a command to its end. Never raises: failures are in the result."""
        ...

    def write(self, path: str, data: bytes, executable: bool = False) -> None:
        """Write a file and make its folder if need be."""
        ...

    def read_many(self, paths: Sequence[str], last: int | None = None) -> dict[str, FileEntry]:
        """Read files, or the last bytes of each. Those that cannot be read are left out."""
        ...

    def read_folder(self, path: str) -> list[FileEntry]:
        """Read all files of a folder; none if there is no such folder."""
        ...

    def remove(self, paths: Sequence[str]) -> None:
        """Remove files, and folders with all that is in them.

        What does not exist is passed over, and what cannot be removed is left.
        """
        ...

    def make_folders(self, paths: Sequence[str]) -> None:
        """Make folders that do not exist yet, with their parents."""
        ...

    def folders(self, path: str) -> list[str]:
        """The names of the folders in a folder."""
        ...

    def sweep(self, path: str, age: float) -> None:
        """Remove files below a folder that were last changed more than ``age`` seconds ago."""
        ...


class LocalRunner:
    """Runs commands and handles files on this machine."""

    def __init__(self, timeout: float = 30.0) -> None:
        """Make a runner.

        Args:
            timeout: seconds that a command may take if it does not say itself.
        """
        self.timeout = timeout

    @property
    def host(self) -> None:
        """See :attr:`Runner.host`."""
        return

    @property
    def pause(self) -> float:
        """See :attr:`Runner.pause`."""
        return 0.2

    @property
    def mover(self) -> None:
        """See :attr:`Runner.mover`."""
        return

    def home(self) -> str:
        """See :meth:`Runner.home`."""
        return str(Path.home())

    def resolve(self, path: str) -> str:
        """See :meth:`Runner.resolve`. Here it is taken as it is."""
        return os.path.abspath(path)

    def run(self, command: Command) -> CommandResult:
        """See :meth:`Runner.run`.

        The command gets a session of its own, so that a ctrl-C in the terminal does not end a
        submission half-way.
        """
        environment: dict[str, str] | None = None
        if command.environment or command.unset:
            begin = tuple(name[:-1] for name in command.unset if name.endswith("*"))
            environment = {
                name: value
                for name, value in os.environ.items()
                if name not in command.unset and not name.startswith(begin)
            }
            environment.update(command.environment)
        timeout = self.timeout if command.timeout is None else command.timeout
        try:
            process = subprocess.Popen(
                command.argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                start_new_session=True,
            )
        except FileNotFoundError:
            return CommandResult(command, None, missing=True)
        except OSError as problem:
            return CommandResult(command, 126, stderr=str(problem))
        try:
            out, err = process.communicate(command.input, timeout)
            code: int | None = process.returncode
        except subprocess.TimeoutExpired:
            out, err = _kill(process)
            code = None
        return CommandResult(command, code, os.fsdecode(out), os.fsdecode(err))

    def write(self, path: str, data: bytes, executable: bool = False) -> None:
        """See :meth:`Runner.write`."""
        try:
            file = open(path, "wb")  # noqa: SIM115 (closed below, opened again if need be)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            file = open(path, "wb")  # noqa: SIM115
        with file:
            file.write(data)
            if executable:
                os.fchmod(file.fileno(), 0o700)

    def read_many(self, paths: Sequence[str], last: int | None = None) -> dict[str, FileEntry]:
        """See :meth:`Runner.read_many`."""
        found = ((path, self._read(path, last)) for path in paths)
        return {path: file for path, file in found if file is not None}

    def _read(self, path: str, last: int | None = None) -> FileEntry | None:
        try:
            with open(path, "rb") as file:
                if last is not None:
                    file.seek(max(0, os.fstat(file.fileno()).st_size - last))
                return FileEntry(
                    os.path.basename(path), os.fstat(file.fileno()).st_mtime, file.read()
                )
        except OSError:
            return None

    def read_folder(self, path: str) -> list[FileEntry]:
        """See :meth:`Runner.read_folder`."""
        try:
            names = os.listdir(path)
        except OSError:
            return []
        files = (self._read(os.path.join(path, name)) for name in names)
        return [file for file in files if file is not None]

    def remove(self, paths: Sequence[str]) -> None:
        """See :meth:`Runner.remove`."""
        for path in paths:
            try:
                os.unlink(path)
            except (IsADirectoryError, PermissionError):
                shutil.rmtree(path, ignore_errors=True)
            except OSError:
                continue

    def make_folders(self, paths: Sequence[str]) -> None:
        """See :meth:`Runner.make_folders`."""
        for path in paths:
            os.makedirs(path, exist_ok=True)

    def folders(self, path: str) -> list[str]:
        """See :meth:`Runner.folders`."""
        try:
            with os.scandir(path) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir())
        except OSError:
            return []

    def sweep(self, path: str, age: float) -> None:
        """See :meth:`Runner.sweep`."""
        older_than = time.time() - age
        for folder, folders, files in os.walk(path, topdown=False):
            for name in files:
                full = os.path.join(folder, name)
                try:
                    if os.lstat(full).st_mtime < older_than:
                        os.unlink(full)
                except OSError:
                    continue
            for name in folders:
                full = os.path.join(folder, name)
                try:
                    if os.lstat(full).st_mtime < older_than:
                        os.rmdir(full)
                except OSError:
                    continue


def _kill(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    """End a process and those that it started, and return what they have printed."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        process.kill()
    try:
        return process.communicate(timeout=1)
    except subprocess.TimeoutExpired as late:  # somebody who left the group holds the pipes
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        process.wait()
        return late.stdout or b"", late.stderr or b""
