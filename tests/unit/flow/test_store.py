"""Results that outlive a program."""

from __future__ import annotations

import hashlib
import logging
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from exaworks.flow.store import ResultStore

WAIT = 30


def put(store: ResultStore, key: bytes, value: Any) -> None:
    written = threading.Event()
    store.put(key, value, "a call", 0.5, written.set)
    assert written.wait(WAIT)


def value_of(store: ResultStore, key: bytes) -> Any:
    found = store.get(key)
    return None if found is None else found.value


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "results.db"


def test_it_is_there_for_others_and_later(path: Path) -> None:
    one, other = ResultStore(path), ResultStore(path)
    put(one, b"a", {"some": [1, 2]})
    put(one, b"none", None)
    assert value_of(other, b"a") == {"some": [1, 2]}
    found = other.get(b"none")
    assert found is not None
    assert found.value is None
    assert other.get(b"b") is None
    put(other, b"a", 2)
    assert value_of(one, b"a") == 2
    one.close()
    other.close()
    later = ResultStore(path)
    assert (value_of(later, b"a"), len(later)) == (2, 2)
    later.close()


def test_many_writers(path: Path) -> None:
    stores = [ResultStore(path) for _ in range(3)]

    def write(number: int) -> None:
        put(stores[number % 3], str(number).encode(), number)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(write, range(300)))
    assert [value_of(stores[0], str(number).encode()) for number in range(300)] == list(range(300))
    for store in stores:
        store.close()


def test_what_cannot_be_kept(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = ResultStore(path)
    put(store, b"a", threading.Lock())
    assert "the result of a call cannot be kept" in caplog.text
    assert store.get(b"a") is None
    store.close()
    put(store, b"b", 1)  # after the end: it goes on without


def test_a_result_that_cannot_be_read(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = ResultStore(path)
    put(store, b"a", 1)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE results SET value = ?", (b"\x80garbage",))
    assert store.get(b"a") is None
    assert "is of no use" in caplog.text
    put(store, b"a", 2)
    assert value_of(store, b"a") == 2
    store.close()


def test_a_full_disk(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = ResultStore(path)
    put(store, b"a", 1)
    connection = store._open()
    connection.execute("PRAGMA max_page_count = 8")
    put(store, b"b", b"x" * 1_000_000)
    assert "cannot take a result; it would be computed again" in caplog.text
    connection.execute("PRAGMA max_page_count = 1000000")
    assert value_of(store, b"a") == 1
    put(store, b"c", 3)
    assert value_of(store, b"c") == 3
    store.close()


def test_what_is_too_large(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ResultStore(path)
    monkeypatch.setattr("exaworks.flow.store._LARGEST", 100)
    put(store, b"a", b"x" * 1000)
    put(store, b"b", 1)
    assert (store.get(b"a"), value_of(store, b"b")) == (None, 1)
    store.close()


def test_what_is_no_store_of_ours_is_left_alone(path: Path, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="is no file"):
        ResultStore(tmp_path)
    ResultStore(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 77")
    with pytest.raises(OSError, match="another version of ExaWorks"):
        ResultStore(path)
    assert [each.name for each in path.parent.iterdir() if "damaged" in each.name] == []


def digest(number: int) -> bytes:
    return hashlib.blake2b(str(number).encode(), digest_size=20).digest()


def damaged(path: Path, how: str) -> None:
    store = ResultStore(path)
    for number in range(2000):
        store.put(digest(number), b"x" * 200, "a call", None, lambda: None)
    put(store, b"last", 1)
    store.close()
    data = path.read_bytes()
    if how == "garbage":
        path.write_bytes(b"this is no database" * 1000)
    elif how == "cut short":
        path.write_bytes(data[: len(data) // 2])
    elif how == "holes":
        half = len(data) // 2
        path.write_bytes(data[:half] + b"\xff" * 8192 + data[half + 8192 :])
    else:
        path.write_bytes(b"")


@pytest.mark.parametrize("how", ["garbage", "cut short", "holes", "empty"])
def test_a_damaged_file_is_set_aside(
    path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Work goes on, whenever it is noticed."""
    damaged(path, how)
    caplog.set_level(logging.WARNING)
    store = ResultStore(path)
    for number in range(2000):
        assert value_of(store, digest(number)) in (None, b"x" * 200)
    put(store, b"new", 5)
    assert value_of(store, b"new") == 5
    there = len(store)
    store.close()
    if how == "empty":
        assert there == 1
        return
    assert "it was set aside as" in caplog.text
    assert len(list(path.parent.glob("results.db.damaged-*"))) >= 1
    assert there > (1000 if how == "holes" else 0)
    again = ResultStore(path)
    assert value_of(again, b"new") == 5
    again.close()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        ResultStore(tmp_path / "file" / "results.db")
