"""Lists: in pages that fit into a message, with or without what belongs to the client."""

from __future__ import annotations

import pytest
from keeper_client import Client

META = "m" * 10_000


@pytest.fixture
def held(client: Client) -> list[int]:
    return client.submit([{"argv": ["true"], "held": True, "meta": META} for _ in range(20)])


def test_pages_of_the_newest(client: Client, held: list[int]) -> None:
    found: list[int] = []
    pages = 0
    before = None
    while page := client.info(live=True, before=before, bytes=50_000):
        assert all(snapshot["meta"] == META for snapshot in page)
        assert len(page) <= 5
        found += [snapshot["id"] for snapshot in page]
        before, pages = found[-1], pages + 1
    assert found == held[::-1]
    assert pages >= 4


def test_pages_by_id(client: Client, held: list[int]) -> None:
    found: list[int] = []
    ids = [*held, 10**9]
    while ids:
        reply = client.request("list", ids=ids, bytes=50_000)
        assert len(reply["snapshots"]) <= 5
        found += [snapshot["id"] for snapshot in reply["snapshots"]]
        assert len(reply["rest"]) < len(ids)
        ids = reply["rest"]
    assert sorted(found) == held


def test_a_page_has_at_least_one(client: Client, held: list[int]) -> None:
    assert len(client.info(live=True, bytes=1)) == 1
    assert len(client.request("list", ids=held, bytes=1)["snapshots"]) == 1


@pytest.mark.parametrize("operation", ["list", "watch"])
def test_without_meta(client: Client, held: list[int], operation: str) -> None:
    reply = client.request(operation, ids=held, meta=False)
    assert [snapshot["meta"] for snapshot in reply["snapshots"]] == [None] * 20
    assert [snapshot["state"] for snapshot in reply["snapshots"]] == ["QUEUED"] * 20
