"""Files that take what commands print, and are used again."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from exaworks.core.spawning import LaunchError
from exaworks.core.workers.captures import LOST, Captures


def inode(fd: int) -> int:
    return os.fstat(fd).st_ino


@pytest.mark.parametrize("text", [b"", b"some text"])
def test_a_file_is_used_again_if_nobody_has_it(tmp_path: Path, text: bytes) -> None:
    captures = Captures(str(tmp_path))
    first = captures.new()
    number = inode(first)
    os.write(first, text)
    assert captures.take(first, 100, "name", alone=True) == (text, None)
    again = captures.new()
    assert inode(again) == number
    assert (os.fstat(again).st_size, os.lseek(again, 0, os.SEEK_CUR)) == (0, 0)
    assert captures.take(again, 100, "name", alone=False) == (b"", None)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(again)
    assert not list(tmp_path.iterdir())


def test_much_is_kept_under_a_name(tmp_path: Path) -> None:
    captures = Captures(str(tmp_path))
    fd = captures.new()
    os.write(fd, b"x" * 1000)
    path = str(tmp_path / "name")
    assert captures.take(fd, 10, "name", alone=True) == (b"x" * 10, path)
    other = captures.new()
    os.write(other, b"y" * 10)
    assert captures.take(other, 10, "other", alone=True) == (b"y" * 10, None)
    assert Path(path).read_bytes() == b"x" * 1000


def test_no_room_for_a_name(tmp_path: Path) -> None:
    captures = Captures(str(tmp_path))
    fd = captures.new()
    os.write(fd, b"x" * 1000)
    assert captures.take(fd, 10, "no/such/folder", alone=True) == (b"x" * 10, LOST)


def test_a_file_system_without_files_without_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def refuses(path: str, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", refuses)
    captures = Captures(str(tmp_path))
    fd = captures.new()
    os.write(fd, b"text")
    assert captures.take(fd, 100, "name", alone=True) == (b"text", None)
    assert not list(tmp_path.iterdir())


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="cannot make a file for output"):
        Captures(str(tmp_path / "missing")).new()
