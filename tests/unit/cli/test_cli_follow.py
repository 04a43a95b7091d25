"""Following files."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exaworks.cli.follow import FileFollower, tail

CHUNKS = st.lists(st.binary(max_size=50), max_size=8)


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


@given(CHUNKS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_byte_is_copied_once(tmp_path: Path, chunks: list[bytes]) -> None:
    path, target = tmp_path / "out", io.BytesIO()
    path.unlink(missing_ok=True)
    follower = FileFollower(path, target)
    assert not follower.pump()
    for chunk in chunks:
        append(path, chunk)
        assert follower.pump() is bool(chunk)
    append(path, b"the rest")
    follower.finish()
    assert target.getvalue() == b"".join(chunks) + b"the rest"


def test_more_than_one_chunk_at_once(tmp_path: Path) -> None:
    path, target = tmp_path / "out", io.BytesIO()
    data = os.urandom(300_000)
    path.write_bytes(data)
    FileFollower(path, target).finish()
    assert target.getvalue() == data


def test_a_file_that_is_emptied_is_followed_from_its_beginning(tmp_path: Path) -> None:
    path, target = tmp_path / "out", io.BytesIO()
    follower = FileFollower(path, target)
    path.write_bytes(b"first run\n")
    follower.pump()
    path.write_bytes(b"again\n")
    follower.pump()
    assert target.getvalue() == b"first run\nagain\n"


def test_a_file_that_is_replaced_is_followed_from_its_beginning(tmp_path: Path) -> None:
    path, target = tmp_path / "out", io.BytesIO()
    follower = FileFollower(path, target)
    path.write_bytes(b"old")
    follower.pump()
    (tmp_path / "new").write_bytes(b"newer")
    os.replace(tmp_path / "new", path)
    follower.pump()
    follower.close()
    assert target.getvalue() == b"oldnewer"


def test_what_was_there_before_the_job_is_not_shown(tmp_path: Path) -> None:
    path, target = tmp_path / "out", io.BytesIO()
    path.write_bytes(b"output of yesterday")
    follower = FileFollower(path, target, fresh=True)
    assert not follower.pump()
    follower.finish()
    assert target.getvalue() == b""
    path.write_bytes(b"of today")
    follower.finish()
    assert target.getvalue() == b"of today"


@pytest.mark.parametrize("kind", ["missing", "directory", "fifo"])
def test_what_is_no_file_is_let_be(tmp_path: Path, kind: str) -> None:
    path, target = tmp_path / "out", io.BytesIO()
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    follower = FileFollower(path, target)
    assert not follower.pump()
    follower.finish()
    assert target.getvalue() == b""


@given(
    st.lists(st.sampled_from([b"a", b"bb", b"\n", b"\r", b"\n\n"]), max_size=40),
    st.integers(min_value=0, max_value=12),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_last_lines(tmp_path: Path, parts: list[bytes], lines: int) -> None:
    data = b"".join(parts)
    path = tmp_path / "out"
    path.write_bytes(data)
    whole = io.BytesIO(data).readlines()
    expected = b"".join(whole[max(0, len(whole) - lines) :])
    assert tail(path, lines) == (expected, len(data))


@pytest.mark.parametrize("lines", [1, 10, 9_999, 10_000, 20_000])
def test_the_last_lines_of_a_large_file(tmp_path: Path, lines: int) -> None:
    path = tmp_path / "out"
    whole = [b"%d %s\n" % (n, b"x" * 40) for n in range(10_000)]
    path.write_bytes(b"".join(whole))
    assert tail(path, lines)[0] == b"".join(whole[-lines:])
