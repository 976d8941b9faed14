"""AWS event streams: framing, checksums, damage."""

from __future__ import annotations

import json
from zlib import crc32

import pytest
from answers import chunk, event, exception, frame
from hypothesis import given
from hypothesis import strategies as st

from kimi_mitm.wire.eventstream import EventStream

FRAMES = [event("messageStart", {"role": "assistant"}), event("contentBlockDelta", {"delta": {"text": "a"}})]
NAMES = ["messageStart", "contentBlockDelta", "messageStop"]
STREAM = b"".join([*FRAMES, event("messageStop", {"stopReason": "end_turn"})])


def names(data: bytes, piece: int | None = None) -> list[str | None]:
    stream = EventStream()
    size = piece or max(len(data), 1)
    found = [each for at in range(0, len(data), size) for each in stream.feed(data[at : at + size])]
    return [name for name, _ in [*found, *stream.finish()]]


@pytest.mark.parametrize("piece", [1, 2, 3, 11, 64, None])
def test_frames_come_out_whole_however_the_stream_is_cut(piece: int | None) -> None:
    assert names(STREAM, piece) == NAMES


def test_a_frame_is_given_as_soon_as_its_last_byte_has_come() -> None:
    stream = EventStream()
    assert stream.feed(FRAMES[0][:-1]) == []
    assert stream.feed(FRAMES[0][-1:]) == [("messageStart", b'{"role": "assistant"}')]


def test_a_chunk_gives_the_document_inside_its_base64() -> None:
    doc = {"type": "message_stop", "amazon-bedrock-invocationMetrics": {"inputTokenCount": 3}}
    [(name, data)] = EventStream().feed(chunk(doc))
    assert name == "chunk"
    assert json.loads(data) == doc


def test_a_chunk_without_base64_is_given_as_it_is() -> None:
    assert EventStream().feed(event("chunk", {"bytes": 3})) == [("chunk", b'{"bytes": 3}')]


def test_an_exception_is_named_by_its_type() -> None:
    [(name, data)] = EventStream().feed(exception("throttlingException", "slow down"))
    assert name == "throttlingException"
    assert json.loads(data) == {"message": "slow down"}


def test_an_error_is_named_by_its_code() -> None:
    headers = {":message-type": "error", ":error-code": "InternalError", ":error-message": "oops"}
    assert EventStream().feed(frame(headers, b"")) == [("InternalError", b'{"message":"oops"}')]


def test_an_event_without_payload_is_left_out() -> None:
    assert EventStream().feed(frame({":message-type": "event", ":event-type": "initial-response"}, b"")) == []


@pytest.mark.parametrize("piece", [1, 7, None])
@pytest.mark.parametrize("at", [0, 4, 8, 12, 20, 60, len(FRAMES[1]) - 1])
def test_a_damaged_frame_takes_no_other_with_it(at: int, piece: int | None) -> None:
    damaged = bytearray(FRAMES[1])
    damaged[at] ^= 0xFF
    assert names(FRAMES[0] + bytes(damaged) + FRAMES[0], piece) == ["messageStart", "messageStart"]


@pytest.mark.parametrize("piece", [1, 7, None])
@pytest.mark.parametrize("lost", [1, 5, 30])
def test_lost_bytes_take_no_other_frame_with_them(lost: int, piece: int | None) -> None:
    short = FRAMES[1][:40] + FRAMES[1][40 + lost :]
    assert names(FRAMES[0] + short + FRAMES[0] + FRAMES[0], piece) == ["messageStart"] * 3


@pytest.mark.parametrize("piece", [1, None])
def test_a_stream_that_begins_in_the_middle_of_a_frame_is_read_from_the_next(piece: int | None) -> None:
    assert names(STREAM[30:], piece) == NAMES[1:]


def test_a_length_that_reaches_past_the_end_hides_no_whole_frame() -> None:
    longer = frame({":event-type": "x", ":message-type": "event"}, b"{}" * 400)
    assert names(longer[:300] + FRAMES[0]) == ["messageStart"]


def test_damage_is_counted() -> None:
    stream = EventStream()
    stream.feed(b"\x00" * 50 + FRAMES[0])
    assert stream.damaged == 1


def test_a_stream_that_is_all_damage_is_given_up() -> None:
    nested = FRAMES[0][:-4] * 200
    stream = EventStream()
    assert stream.feed(nested + FRAMES[0]) == []
    assert stream.feed(FRAMES[0]) == []
    assert stream.finish() == []


def test_a_header_of_another_type_is_passed_over() -> None:
    odd = b"\x05:date\x08" + bytes(8) + b"\x02ok\x00" + b"\x0b:event-type\x07\x00\x01e"
    assert EventStream().feed(_with_headers(odd, b"{}")) == [("e", b"{}")]


def _with_headers(block: bytes, payload: bytes) -> bytes:
    prelude = (len(block) + len(payload) + 16).to_bytes(4) + len(block).to_bytes(4)
    rest = crc32(prelude).to_bytes(4) + block + payload
    return prelude + rest + crc32(prelude + rest).to_bytes(4)


@given(st.lists(st.binary(max_size=200), max_size=8))
def test_arbitrary_bytes_never_raise(pieces: list[bytes]) -> None:
    stream = EventStream()
    for piece in pieces:
        stream.feed(piece)
    stream.finish()


@given(st.binary(max_size=80))
def test_arbitrary_headers_never_raise(block: bytes) -> None:
    EventStream().feed(_with_headers(block, b"{}"))


@given(st.binary(max_size=60), st.integers(1, 40))
def test_garbage_between_frames_costs_only_itself(garbage: bytes, piece: int) -> None:
    found = names(FRAMES[0] + garbage + STREAM, piece)
    assert found == ["messageStart", *NAMES]


@given(st.lists(st.integers(1, 50), max_size=30))
def test_any_split_gives_the_same_messages(sizes: list[int]) -> None:
    stream = EventStream()
    found, at = [], 0
    for size in sizes:
        found += stream.feed(STREAM[at : at + size])
        at += size
    found += stream.feed(STREAM[at:])
    assert found == EventStream().feed(STREAM)
