"""Files that take what commands print."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os

from ..spawning import LaunchError, check_room

__all__ = ["LOST", "Captures"]

LOST = ""
"""In place of a file: there was no room to keep it."""

_MOST_FREE = 64


class Captures:
    """Files without names, so that they go by themselves, in a folder.

    To make one costs more than all the rest of what is done about a short command: file systems
    have one list of them, with one lock. So those are used again that nobody else can have open.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._flags: dict[int, int] = {}
        self._free: list[int] = []

    def new(self) -> int:
        """A descriptor of an empty file.

        Raises:
            LaunchError: there can be none in that folder.
            NoRoom: not now.
        """
        if self._free:
            return self._free.pop()
        flags = os.O_RDWR | os.O_CLOEXEC
        try:
            try:
                fd = os.open(self._folder, flags | os.O_TMPFILE, 0o600)
            except (AttributeError, OSError) as problem:
                # Not every file system can do that, such as NFS, and not every system (open(2)).
                if getattr(problem, "errno", None) not in (None, errno.EISDIR, errno.EOPNOTSUPP):
                    raise
                import tempfile

                fd, name = tempfile.mkstemp(dir=self._folder)
                os.unlink(name)
        except OSError as problem:
            check_room(problem)
            raise LaunchError(
                f"cannot make a file for output in {self._folder}: {problem.strerror}"
            ) from problem
        self._flags[fd] = fcntl.fcntl(fd, fcntl.F_GETFL)
        return fd

    def drop(self, fd: int) -> None:
        """Give up a file."""
        del self._flags[fd]
        os.close(fd)

    def take(self, fd: int, most: int, name: str, alone: bool) -> tuple[bytes, str | None]:
        """What was printed, and give up the file.

        Args:
            fd: the file.
            most: how many bytes are wanted.
            name: what the file is to be called in the folder if there are more.
            alone: whether no other process can have it open.

        Returns:
            the first of the bytes, and the path of the file with all of them if there are more, or
            :data:`LOST`.
        """
        again = False
        try:
            found = os.fstat(fd)
            size = found.st_size
            data = os.pread(fd, min(size, most), 0) if size else b""
            if size > len(data):
                path = os.path.join(self._folder, name)
                return data, path if _keep(fd, size, path) else LOST
            again = alone and len(self._free) < _MOST_FREE and self._clean(fd, found)
            return data, None
        finally:
            if again:
                self._free.append(fd)
            else:
                self.drop(fd)

    def _clean(self, fd: int, found: os.stat_result) -> bool:
        """Make a file as it was when it was new; false: something was done to it."""
        if found.st_mode & 0o7777 != 0o600 or found.st_nlink:
            return False
        if fcntl.fcntl(fd, fcntl.F_GETFL) != self._flags[fd]:
            return False
        try:
            if found.st_size:
                os.ftruncate(fd, 0)
            os.lseek(fd, 0, os.SEEK_SET)
        except OSError:
            return False
        return True


def _keep(fd: int, size: int, path: str) -> bool:
    """Give a file without a name a name, or copy it where that is not possible."""
    with contextlib.suppress(OSError):
        # With a descriptor of a folder (of no use here) Python follows the link, else it does not.
        os.link(f"/proc/self/fd/{fd}", path, src_dir_fd=fd, follow_symlinks=True)
        return True
    try:
        with open(path, "xb") as copy:
            at = 0
            while at < size:
                at += os.sendfile(copy.fileno(), fd, at, size - at)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(path)
        return False
    return True
