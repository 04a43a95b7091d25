"""Messages of Flux, against recorded ones."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flux_recording import matchtag, payload_text, session, topic
from hypothesis import given
from hypothesis import strategies as st

from exaworks.psij.executors.flux.messages import (
    Decoder,
    FluxError,
    ProtocolError,
    decode,
    encode_request,
)

BROKER = b"".join(line.data for line in session() if line.sender == "broker")
REQUESTS = [line.data for line in session() if line.sender == "client"]


def read(data: bytes) -> list[tuple[int, str, Any, int | None]]:
    decoder = Decoder()
    return [
        (r.matchtag, r.topic, r.payload, r.error.errno if r.error else None)
        for r in decoder.feed(data)
    ]


def test_recorded_answers() -> None:
    answers = read(BROKER)
    assert len(answers) == sum(line.sender == "broker" for line in session()) - 1
    assert answers[0][1:] == (
        "attr.get",
        {"value": "e997c8f1-3380-46d8-bc3e-6844be3204b5", "flags": 1},
        None,
    )
    errors = {(name, errno) for _, name, _, errno in answers if errno}
    assert errors == {
        ("job-info.lookup", 2),
        ("job-ingest.submit", 22),
        ("job-manager.events-journal", 61),
        ("job-manager.urgency", 22),
    }
    assert answers[1][2] == {"value": "0", "flags": 1}


def test_words_of_an_error() -> None:
    decoder = Decoder()
    words = [str(r.error) for r in decoder.feed(BROKER) if r.error]
    assert words == [
        "R: key not found",
        "'none' is not a valid queue",
        "invalid job id",
        "invalid job id",
        "No data available",
        "job is inactive",
    ]


@pytest.mark.parametrize("data", REQUESTS, ids=range(len(REQUESTS)))
def test_requests_are_encoded_as_recorded(data: bytes) -> None:
    """A real broker has understood these very bytes."""
    name = topic(data)
    encoded = encode_request(
        name,
        json.loads(payload_text(data)),
        matchtag(data),
        streaming=name == "job-manager.events-journal",
        no_response=name.endswith("-cancel"),
    )
    assert encoded == data


@given(st.lists(st.integers(0, len(BROKER)), max_size=20))
def test_pieces_of_any_size(cuts: list[int]) -> None:
    decoder, found, at = Decoder(), [], 0
    for cut in [*sorted(cuts), len(BROKER)]:
        found += decoder.feed(BROKER[at:cut])
        at = cut
    assert [(r.matchtag, r.topic, r.payload) for r in found] == [r[:3] for r in read(BROKER)]


texts = st.text(st.characters(codec="utf-8"), max_size=400)


@given(texts, st.integers(0, 2**32 - 1))
def test_any_text_arrives(text: str, tag: int) -> None:
    request = encode_request("a.b", {"text": text}, tag)
    # An answer differs from a request in the type of the message and the number of the error.
    proto = bytes((0x8E, 1, 2, request[-17])) + bytes(8) + bytes(4) + request[-4:]
    response = decode(request[8:-20] + proto)
    assert response is not None
    assert (response.matchtag, response.topic) == (tag, "a.b")
    assert response.payload == {"text": text}


def test_what_is_no_unicode_is_refused() -> None:
    with pytest.raises(UnicodeEncodeError):
        encode_request("a", {"text": "\udcff"}, 1)


@given(st.binary(max_size=200))
def test_garbage(data: bytes) -> None:
    decoder = Decoder()
    try:
        decoder.feed(b"\0" + data)
    except ProtocolError:
        return
    assert len(data) < 8 or data[:4] == BROKER[1:5]


@given(st.integers(0, len(BROKER) - 1), st.integers(0, 255))
def test_a_damaged_byte(at: int, value: int) -> None:
    data = bytearray(BROKER)
    data[at] = value
    try:
        Decoder().feed(bytes(data))
    except (ProtocolError, FluxError):
        return


def test_refusal() -> None:
    with pytest.raises(FluxError) as caught:
        Decoder().feed(b"\x01")
    assert caught.value.errno == 1


@pytest.mark.parametrize("payload", [b"[1]\0", b"{\0", b'"x"\0'], ids=["list", "half", "text"])
def test_payload_that_is_no_object(payload: bytes) -> None:
    proto = bytes((0x8E, 1, 2, 0x03)) + bytes(16)
    with pytest.raises(ProtocolError):
        decode(b"\x01a" + bytes((len(payload),)) + payload + b"\x14" + proto)


def test_events_are_passed_over() -> None:
    assert decode(b"\x14" + bytes((0x8E, 1, 4, 0)) + bytes(16)) is None
