"""Frames, requests and names, whatever bytes they hold."""

from __future__ import annotations

import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exaworks.core.keeper.job import parse_request
from exaworks.core.keeper.protocol import (
    MAX_FRAME,
    Decoder,
    KeeperError,
    encode,
    env_id,
    wire,
)
from exaworks.core.spawning import system_bytes

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.lists(json_values), st.data())
def test_messages_survive_any_fragmentation(messages: list[object], data: st.DataObject) -> None:
    stream = b"".join(encode(message) for message in messages)
    decoder = Decoder()
    received = []
    at = 0
    while at < len(stream):
        size = data.draw(st.integers(1, len(stream) - at))
        received += decoder.feed(stream[at : at + size])
        at += size
    assert received == messages


@given(st.binary().filter(lambda data: b"\0" not in data))
def test_system_names_survive_the_wire(name: bytes) -> None:
    (received,) = Decoder().feed(encode(wire(os.fsdecode(name))))
    assert system_bytes(received) == name


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_impossible_names_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"NUL|surrogates"):
        system_bytes(text)


def test_oversized_frame_is_refused_at_once() -> None:
    with pytest.raises(KeeperError, match="too long"):
        Decoder().feed(struct.pack(">I", MAX_FRAME + 1))


def test_broken_json_is_refused() -> None:
    with pytest.raises(KeeperError, match="not JSON"):
        Decoder().feed(struct.pack(">I", 3) + b"{x}")


def test_env_id_ignores_order_and_sees_everything_else() -> None:
    base = env_id({"A": "1", "B": "2"}, 0o22, [0])
    assert env_id({"B": "2", "A": "1"}, 0o22, [0]) == base
    others = {
        env_id({"A": "1"}, 0o22, [0]),
        env_id({"A": "1", "B": "2"}, 0o77, [0]),
        env_id({"A": "1", "B": "2"}, 0o22, None),
    }
    assert base not in others
    assert len(others) == 3


GOOD = {"key": "k", "env": "e", "phases": [{"state": "ACTIVE", "argv": ["true"]}]}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"key": "../x"}, "key"),
        ({"key": None}, "key"),
        ({"env": None}, "env"),
        ({"phases": []}, "phases"),
        ({"phases": [{"state": "DONE", "argv": ["true"]}]}, "state"),
        ({"phases": [{"argv": []}]}, "argv"),
        ({"phases": [{"argv": ["true", 1]}]}, "argv"),
        ({"phases": [{"argv": ["a"]}, {"state": "STAGE_IN", "argv": ["b"]}]}, "order"),
        ({"cwd": 3}, "cwd"),
        ({"stdout": ""}, "stdout"),
        ({"env_set": {"A": 1}}, "env_set"),
        ({"duration": 0}, "duration"),
        ({"duration": "5"}, "duration"),
        ({"duration": float("nan")}, "duration"),
        ({"grace": -1}, "grace"),
        ({"pool": 5}, "pool"),
        ({"pool": "\ud800"}, "pool"),
        ({"limit": 0}, "limit"),
        ({"limit": True}, "limit"),
    ],
)
def test_bad_jobs_are_refused_by_name(change: dict[str, object], named: str) -> None:
    assert parse_request(GOOD).key == "k"
    with pytest.raises(ValueError, match=named):
        parse_request({**GOOD, **change})
