"""Commands and files of another machine, over one SSH connection and with its POSIX shell."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import IO

from exaworks.psij.remote import shell
from exaworks.psij.remote.connection import Connection, ConnectionFailed
from exaworks.psij.runner import Command, CommandResult, FileEntry
from exaworks.psij.script import quote

__all__ = ["SshRunner"]

_PATIENCE = 60.0
"""Seconds for which a submission is tried again if the connection is lost."""

_RETRY_PAUSE = 1.0
_VARIABLE = re.compile(r"\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})", re.ASCII)
_FILES_TIMEOUT = 120.0
_TRANSFER_TIMEOUT = 86400.0
_MOST_FILES = 4000
_NOT_FOUND = 3


class SshRunner:
    """Runs commands and handles files on another machine; see :class:`Runner`.

    Every method is one remote command, however many files it is about.
    """

    def __init__(self, connection: Connection, timeout: float, setup: Sequence[str] = ()) -> None:
        """Make a runner; nothing is connected yet.

        Args:
            connection: the connection.
            timeout: seconds that a command may take if it does not say itself.
            setup: lines of shell to run before each command.
        """
        self.timeout = timeout
        self._connection = connection
        self._setup = tuple(setup)
        self._home: str | None = None
        self._resolved: dict[str, str] = {}
        self._tar = "tar"
        self._answered: list[str] = []
        self._lock = threading.Lock()

    @property
    def host(self) -> str:
        """See :attr:`Runner.host`."""
        return str(self._connection.address)

    @property
    def mover(self) -> SshRunner:
        """See :attr:`Runner.mover`."""
        return self

    @property
    def pause(self) -> float:
        """See :attr:`Runner.pause`."""
        return 1.0

    def home(self) -> str:
        """See :meth:`Runner.home`."""
        if self._home is None:
            # Times of files are whole seconds in the oldest format, but GNU tar knows better.
            out = self._files(
                'printf "%s\\n" "${HOME:?the user has no home directory}"\n'
                'case $(tar --version 2>/dev/null) in *GNU*) echo "tar --format=posix";; '
                "*) echo tar;; esac"
            )
            home, tar = out.decode("utf-8", "surrogateescape").rstrip("\n").rsplit("\n", 1)
            self._tar, self._home = tar, home
        return self._home

    def resolve(self, path: str) -> str:
        """See :meth:`Runner.resolve`. The set-up of the site is done before."""
        if path not in self._resolved:
            begin = "~" if path in ("~", "~/") or path.startswith("~/") else ""
            words = ['"${HOME:?}"'] if begin else []
            for index, part in enumerate(_VARIABLE.split(path[len(begin) :])):
                if index % 3 == 0:
                    words.append(quote(part) if part else "")
                elif part:
                    words.append(f'"${{{part}:?is not set on that machine}}"')
            setup = "".join(f"{line}\n" for line in self._setup)
            out = self._files(f"{setup}printf '\\n%s' {''.join(words)}")
            full = os.fsdecode(out).rpartition("\n")[2]
            self._resolved[path] = os.path.normpath(os.path.join(self.home(), full))
        return self._resolved[path]

    # -- commands

    def run(self, command: Command) -> CommandResult:
        """See :meth:`Runner.run`.

        A command with :attr:`Command.once` is sent again if the connection is lost, for up to a
        minute; all others are not.
        """
        timeout = self.timeout if command.timeout is None else command.timeout
        text = shell.variables(command.environment, command.unset) + shell.call(command.argv)
        if command.once:
            text = self._clear() + shell.once(text, command.once, len(command.input), int(timeout))
        deadline = time.monotonic() + timeout
        patience = time.monotonic() + max(_PATIENCE, timeout)
        sent = False
        while True:
            try:
                reply = self._connection.execute(
                    text, command.input, deadline - time.monotonic(), self._setup
                )
            except TimeoutError:
                return CommandResult(command, None)
            except ConnectionFailed as failure:
                again, why = failure.transient, str(failure)
            else:
                if reply.code is not None:
                    if command.once:
                        self._note_answered(command.once)
                    return self._result(command, reply)
                said = " ".join(os.fsdecode(reply.err).split())
                again, why = True, f"the connection to {self.host} was lost: {said or 'no word'}"
                sent = True
            if not (command.once and again and time.monotonic() + _RETRY_PAUSE < patience):
                return CommandResult(command, None, unreachable=why, hopeless=not (again or sent))
            time.sleep(_RETRY_PAUSE)
            deadline = max(deadline, time.monotonic() + timeout)

    @staticmethod
    def _result(command: Command, reply: shell.Reply) -> CommandResult:
        if reply.code == shell.MISSING and not reply.out and not reply.err:
            return CommandResult(command, None, missing=True)
        return CommandResult(command, reply.code, os.fsdecode(reply.out), os.fsdecode(reply.err))

    def _note_answered(self, stem: str) -> None:
        with self._lock:
            self._answered.append(stem)

    def _clear(self) -> str:
        """Text that removes what earlier commands have left that must have run once."""
        with self._lock:
            stems, self._answered = self._answered, []
        lines = []
        for stem in stems:
            files, folder = shell.once_files(stem)
            words = " ".join(map(quote, files))
            lines.append(f"rm -f -- {words}; rmdir -- {quote(folder)}\n")
        return "{ " + "".join(lines) + "} 2>/dev/null\n" if lines else ""

    # -- files

    def _files(
        self,
        text: str,
        data: bytes | IO[bytes] = b"",
        timeout: float = _FILES_TIMEOUT,
        sink: IO[bytes] | None = None,
    ) -> bytes:
        """Run text that handles files.

        Raises:
            OSError: it failed, or the connection did.
        """
        try:
            reply = self._connection.execute(text, data, timeout, (), sink)
        except TimeoutError as late:
            raise ConnectionFailed(f"{self.host} does not answer", transient=True) from late
        if reply.code is None:
            said = " ".join(os.fsdecode(reply.err).split())
            raise ConnectionFailed(
                f"the connection to {self.host} was lost: {said or 'no word'}", transient=True
            )
        if reply.code == _NOT_FOUND:
            return b""
        if reply.code:
            said = " ".join(os.fsdecode(reply.err).split())
            raise OSError(f"{self.host}: {said or f'exit code {reply.code}'}")
        return reply.out

    def write(self, path: str, data: bytes, executable: bool = False) -> None:
        """See :meth:`Runner.write`. The file appears when it is complete."""
        mode = 'chmod 700 "$t" &&\n' if executable else ""
        self._files(
            f"p={quote(path)} t={quote(path)}.$$\n"
            '[ -d "${p%/*}" ] || mkdir -p -- "${p%/*}" || exit 1\n'
            f'cat >"$t" && [ "$(wc -c <"$t")" -eq {len(data)} ] &&\n{mode}mv -f -- "$t" "$p"',
            data,
        )

    def read_many(self, paths: Sequence[str], last: int | None = None) -> dict[str, FileEntry]:
        """See :meth:`Runner.read_many`."""
        # files that do not exist do not harm the others
        found: dict[str, FileEntry] = {}
        unique = list(dict.fromkeys(paths))
        for at in range(0, len(unique), _MOST_FILES):
            part = unique[at : at + _MOST_FILES]
            if last is None:
                found.update(self._read_whole(part))
            else:
                found.update(self._read_ends(part, last))
        return found

    def _read_whole(self, paths: list[str]) -> Iterator[tuple[str, FileEntry]]:
        self.home()
        words = " ".join(map(quote, paths))
        archive = self._files(
            f'eval "set -- $(cat)"\n{self._tar} -cf - "$@" 2>/dev/null || true',
            os.fsencode(words),
        )
        by_member = {path.lstrip("/"): path for path in paths}
        for entry in _unpack(archive):
            path = by_member.get(entry.name)
            if path is not None:
                yield path, FileEntry(os.path.basename(path), entry.mtime, entry.data)

    def _read_ends(self, paths: list[str], last: int) -> Iterator[tuple[str, FileEntry]]:
        words = " ".join(map(quote, paths))
        out = self._files(
            'LC_ALL=C\ni=0\neval "set -- $(cat)"\nfor f; do\n'
            f'[ -f "$f" ] && s=$(tail -c {last} -- "$f" | tr -d "\\000"; echo x) && '
            's=${s%x} && printf "%s %s\\n%s" "$i" "${#s}" "$s"\ni=$((i + 1))\ndone\ntrue',
            os.fsencode(words),
        )
        at = 0
        while at < len(out):
            end = out.index(b"\n", at)
            index, size = (int(word) for word in out[at:end].split())
            at = end + 1 + size
            yield (
                paths[index],
                FileEntry(os.path.basename(paths[index]), 0.0, out[end + 1 : at]),
            )

    def read_folder(self, path: str) -> list[FileEntry]:
        """See :meth:`Runner.read_folder`."""
        self.home()
        archive = self._files(
            f"cd -- {quote(path)} 2>/dev/null || exit {_NOT_FOUND}\n"
            'set -- *\n[ -e "$1" ] || exit 3\n'
            f"{self._tar} -cf - . 2>/dev/null || true"
        )
        return [
            FileEntry(os.path.basename(entry.name), entry.mtime, entry.data)
            for entry in _unpack(archive)
            if entry.name.count("/") == 1
        ]

    def remove(self, paths: Sequence[str]) -> None:
        """See :meth:`Runner.remove`."""
        if paths:
            words = " ".join(map(quote, paths))
            self._files('eval "rm -rf -- $(cat)" 2>/dev/null || true', os.fsencode(words))

    def make_folders(self, paths: Sequence[str]) -> None:
        """See :meth:`Runner.make_folders`."""
        self._files(f"mkdir -p -- {' '.join(map(quote, paths))}")

    def folders(self, path: str) -> list[str]:
        """See :meth:`Runner.folders`."""
        out = self._files(
            f"cd -- {quote(path)} 2>/dev/null || exit {_NOT_FOUND}\n"
            'for f in */; do [ -d "$f" ] && printf "%s\\n" "${f%/}"; done; true'
        )
        return sorted(os.fsdecode(out).split("\n")[:-1])

    def sweep(self, path: str, age: float) -> None:
        """See :meth:`Runner.sweep`. The age is rounded up to days."""
        days = int(-(-age // 86400))
        self._files(
            f"cd -- {quote(path)} 2>/dev/null || exit {_NOT_FOUND}\n"
            f"find . -type f -mtime +{days} -exec rm -f -- {{}} + 2>/dev/null\n"
            f"find . -depth -type d -mtime +{days} ! -name . -exec rmdir -- {{}} + 2>/dev/null\n"
            "true"
        )

    # -- transfers

    def upload(self, folder: str, files: Sequence[str]) -> None:
        """See :meth:`Mover.upload`. Links are followed."""
        with tempfile.TemporaryFile() as packed:
            with tarfile.open(fileobj=packed, mode="w", dereference=True) as archive:
                for number, path in enumerate(files):
                    try:
                        archive.add(path, str(number))
                    except OSError as problem:
                        raise OSError(f"cannot send {path}: {problem}") from problem
            self._files(
                f"mkdir -p -- {quote(folder)} && cd -- {quote(folder)} && tar -xmof -",
                packed,
                _TRANSFER_TIMEOUT,
            )

    def download(self, folder: str, files: Sequence[str]) -> None:
        """See :meth:`Mover.download`."""
        with tempfile.TemporaryFile() as packed:
            self._files(
                f"cd -- {quote(folder)} 2>/dev/null || exit {_NOT_FOUND}\ntar -cf - .",
                timeout=_TRANSFER_TIMEOUT,
                sink=packed,
            )
            if packed.read(1):
                packed.seek(-1, os.SEEK_CUR)
                with tempfile.TemporaryDirectory(prefix="exaworks-") as name:
                    place = os.path.realpath(name)
                    with tarfile.open(fileobj=packed, mode="r|") as archive:
                        _extract(archive, place)
                    for number, path in enumerate(files):
                        found = os.path.join(place, str(number))
                        if os.path.lexists(found):
                            _put(found, path)
        self.remove([folder])


def _extract(archive: tarfile.TarFile, place: str) -> None:
    """Unpack an archive from another machine, which must not write anywhere else.

    Links come last, so that nothing is written through them. Devices and the like are left out.
    """
    links: list[tuple[str, str]] = []
    folders: list[tuple[str, tarfile.TarInfo]] = []
    for member in archive:
        path = os.path.normpath(os.path.join(place, member.name))
        if os.path.commonpath((place, path)) != place:
            raise OSError(f"the archive contains {member.name!r}, which is outside of it")
        if member.isdir():
            os.makedirs(path, exist_ok=True)
            folders.append((path, member))
            continue
        os.makedirs(os.path.dirname(path), exist_ok=True)
        file = archive.extractfile(member) if member.isfile() else None
        if file is not None:
            with open(path, "wb") as target:
                shutil.copyfileobj(file, target)
            os.chmod(path, member.mode & 0o777)
            os.utime(path, (member.mtime, member.mtime))
        elif member.issym():
            links.append((member.linkname, path))
        elif member.islnk():
            source = os.path.normpath(os.path.join(place, member.linkname))
            if os.path.commonpath((place, source)) == place and os.path.isfile(source):
                shutil.copy2(source, path)
    for target_of_link, path in links:
        os.symlink(target_of_link, path)
    for path, member in reversed(folders):
        os.chmod(path, member.mode & 0o777 | 0o700)
        os.utime(path, (member.mtime, member.mtime))


def _put(found: str, path: str) -> None:
    """Bring a file or folder to its place, as a copy onto whatever is there."""
    parent = os.path.dirname(path)
    os.makedirs(parent, exist_ok=True)
    if os.path.isdir(found) and not os.path.islink(found):
        shutil.copytree(found, path, symlinks=True, dirs_exist_ok=True)
        return
    if os.path.isdir(path):
        raise IsADirectoryError(f"cannot stage out to {path}: it is a directory")
    with tempfile.TemporaryDirectory(prefix=".exaworks-", dir=parent) as beside:
        part = os.path.join(beside, "part")
        shutil.copy2(found, part, follow_symlinks=False)
        os.replace(part, path)


def _unpack(archive: bytes) -> Iterable[FileEntry]:
    """The regular files of an archive, with their names in it."""
    if not archive:
        return
    with (
        contextlib.suppress(tarfile.ReadError, EOFError),  # it was cut short: what is there counts
        tarfile.open(fileobj=io.BytesIO(archive), encoding="utf-8", errors="surrogateescape") as t,
    ):
        for member in t:
            file = t.extractfile(member) if member.isfile() else None
            if file is not None:
                data = file.read()
                if len(data) == member.size:
                    yield FileEntry(member.name, member.mtime, data)
