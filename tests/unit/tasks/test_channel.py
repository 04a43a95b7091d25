"""Messages between an engine and its agents."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exaworks.core.reactor import Reactor
from exaworks.tasks.cluster.channel import Channel, ChannelError, Handshake, connect
from exaworks.tasks.cluster.door import Door

SECRET = b"s" * 32


def pair() -> tuple[Channel, Channel, socket.socket, socket.socket]:
    """Both ends, and the sockets between which one can listen and interfere."""
    here, there = socket.socketpair()
    shake = Handshake(SECRET, b"e" * 32, b"a" * 32)
    return shake.channel(here, True), shake.channel(there, False), here, there


def receive(channel: Channel, count: int) -> list[Any]:
    """So many messages."""
    found: list[Any] = []
    while len(found) < count:
        select.select([channel.connection], [], [], 10)
        messages = channel.get()
        assert messages is not None
        found += messages
    return found


@given(st.lists(st.lists(st.binary(max_size=200_000), min_size=1), max_size=5))
def test_everything_arrives_in_order(batches: list[list[bytes]]) -> None:
    one, other, *_ = pair()
    for batch in batches:
        one.put(batch)
    sender = threading.Thread(target=lambda: flush(one))
    sender.start()
    assert receive(other, sum(map(len, batches))) == [each for batch in batches for each in batch]
    sender.join()
    one.close()
    assert other.get() is None
    other.close()


def flush(channel: Channel) -> None:
    while channel.unsent:
        select.select([], [channel.connection], [], 10)
        channel.flush()


@given(st.integers(0, 60), st.integers(1, 255))
def test_a_byte_that_was_changed(at: int, change: int) -> None:
    one, other, _, there = pair()
    one.put(["a message"])
    data = bytearray(there.recv(1000))
    data[at % len(data)] ^= change
    forger, victim = socket.socketpair()
    other.connection = victim
    victim.setblocking(False)
    forger.send(data)
    forger.shutdown(socket.SHUT_WR)
    try:  # a length that was changed is waited for in vain
        assert other.get() in ([], None)
    except ChannelError as problem:
        assert "wrong digest" in str(problem)
    for each in (one.connection, there, forger, victim):
        each.close()


def test_a_message_cannot_be_said_twice_or_back() -> None:
    one, other, here, there = pair()
    one.put(["first"])
    data = there.recv(1000)
    here.send(data + data)
    with pytest.raises(ChannelError):
        receive(other, 3)
    there.send(data)
    with pytest.raises(ChannelError):
        receive(one, 1)
    one.close()
    other.close()


@pytest.fixture
def door() -> Iterator[tuple[Door, list[Channel]]]:
    reactor = Reactor()
    guests: list[Channel] = []
    door = Door(reactor, SECRET, "127.0.0.1", guests.append)
    reactor.start()
    yield door, guests
    reactor.call_soon(door.close)
    for guest in guests:
        guest.close()
    reactor.stop()


def settings(port: int, secret: bytes = SECRET, patience: float = 0.0) -> dict[str, Any]:
    return {"addresses": [("127.0.0.1", port)], "secret": secret.hex(), "patience": patience}


def test_who_knows_the_secret_comes_in(door: tuple[Door, list[Channel]]) -> None:
    channel = connect(settings(door[0].port))
    channel.put([("hello", 1)])
    while not door[1]:
        select.select([], [], [], 0.01)
    assert receive(door[1][0], 1) == [("hello", 1)]
    door[1][0].put(["welcome"])
    assert receive(channel, 1) == ["welcome"]
    channel.close()


def test_who_does_not_know_it_stays_out(door: tuple[Door, list[Channel]]) -> None:
    with pytest.raises(OSError, match=r"127\.0\.0\.1:\d+: it has closed the connection"):
        connect(settings(door[0].port, b"x" * 32))
    assert door[1] == []


def test_an_impostor_is_told_nothing() -> None:
    """An agent proves itself to whoever listens, but unpickles nothing that he says."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def pretend() -> None:
            connection, _ = server.accept()
            with connection:
                connection.send(b"EXAWORKS-TASKS-1" + bytes(32))
                connection.recv(64)
                connection.send(bytes(32) + b"\x80\x04N.")
                with contextlib.suppress(ConnectionResetError):
                    connection.recv(1)

        liar = threading.Thread(target=pretend)
        liar.start()
        with pytest.raises(OSError, match="who is there does not know the secret"):
            connect(settings(server.getsockname()[1]))
        liar.join()


def test_nobody_is_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(OSError, match=rf"from .*: 127\.0\.0\.1:{port}: .*refused"):
        connect(settings(port))
