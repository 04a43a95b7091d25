"""The records: damaged, full, old."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from keeper_client import Client
from keeper_helpers import alive, edit_database, kill_both

from exaworks.core.keeper.job import parse_request
from exaworks.core.keeper.store import Store, StoreUnavailable
from patience import until

OUTDATE = "UPDATE jobs SET submitted = {0}, ended = {0} WHERE id = {1}"


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"this is no database" * 1000),
        lambda path: path.write_bytes(path.read_bytes()[:5000]),
        lambda path: path.write_bytes(path.read_bytes()[:100] + os.urandom(20_000)),
    ],
    ids=["nonsense", "truncated", "overwritten"],
)
def test_damaged_database_is_set_aside(home: Path, damage: Callable[[Path], None]) -> None:
    with Client(home) as client:
        client.wait(client.submit([{"argv": ["true"]}]), 10)
        keeper = client.request("ping")["supervisor"]
        client.request("stop")
        until(lambda: not alive(keeper))
    (path,) = home.glob("local/*/keeper.db")
    damage(path)
    with Client(home) as client:
        (number,) = client.submit([{"argv": ["true"]}])
        assert client.wait([number], 10)[number]["state"] == "COMPLETED"
    assert list(home.glob("local/*/keeper.db.damaged-*"))
    assert "damaged" in (path.parent / "keeper.log").read_text()


def test_damage_that_shows_late_is_found_at_the_next_start(home: Path) -> None:
    client = Client(home)
    client.submit([{"argv": ["true"], "held": True, "meta": "x" * 2000}] * 100)
    kill_both(client)
    edit_database(home, "PRAGMA wal_checkpoint(TRUNCATE)")
    (path,) = home.glob("local/*/keeper.db")
    data = bytearray(path.read_bytes())
    data[-8192:] = b"\xff" * 8192
    path.write_bytes(data)
    path.with_name("keeper.db-wal").touch()
    with Client(home) as client:
        (number,) = client.submit([{"argv": ["true"]}])
        assert client.wait([number], 10)[number]["state"] == "COMPLETED"
    assert list(home.glob("local/*/keeper.db.damaged-*"))


def test_full_disk_delays_but_loses_nothing(home: Path) -> None:
    """A database that cannot be written: nothing is acknowledged or started until it can."""
    home.mkdir()
    dirty: dict[int, Any] = {}
    store = Store(str(home / "db"), dirty)
    store._db.execute("PRAGMA max_page_count = 12")
    jobs = [
        parse_request(
            {"key": f"k{n}", "env": "e", "phases": [{"argv": ["x" * 1000]}], "meta": "m" * 1000}
        )
        for n in range(50)
    ]
    for job in jobs:
        store.add(job)
        dirty[job.id] = job
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="full"):
            store.commit()
        assert len(dirty) == 50
    store._db.execute("PRAGMA max_page_count = 10000")
    store.commit()
    assert not store.pending
    assert [job.key for job in store.live()] == [job.key for job in jobs]
    store.close()


def test_old_records_are_swept(home: Path) -> None:
    client = Client(home)
    old, new, live = client.submit([{"argv": ["true"]}] * 2 + [{"argv": ["true"], "held": True}])
    client.wait([old, new], 10)
    client.env({"UNUSED": "1"})
    kill_both(client)
    edit_database(home, OUTDATE.format(time.time() - 31 * 86400, old))
    with Client(home) as client:
        assert {job["id"] for job in client.info()} == {new, live}
    kill_both(Client(home))
    (path,) = home.glob("local/*/keeper.db")
    database = sqlite3.connect(path)
    assert database.execute("SELECT count(*) FROM envs").fetchone() == (1,)
    rows = database.execute("SELECT id, spec IS NULL, env IS NULL FROM jobs ORDER BY id").fetchall()
    database.close()
    assert rows == [(new, 1, 1), (live, 0, 0)]
