from __future__ import annotations

import pytest

from kimi_mitm.wire.framing import Framing
from kimi_mitm.wire.sse import Event

DOCUMENT = b'{"a": [1, {"b": "}"}]}'


def frames(data: bytes, content_type: str | None, piece: int) -> tuple[list[Event], Framing]:
    framing = Framing(content_type)
    found = [
        event for start in range(0, len(data), piece) for event in framing.feed(data[start : start + piece])
    ]
    return found + framing.finish(), framing


@pytest.mark.parametrize("content_type", [None, "application/json", "text/event-stream", "text/html", "x/y"])
@pytest.mark.parametrize("piece", [1, 1000])
@pytest.mark.parametrize(
    ("data", "count", "streamed"),
    [
        (DOCUMENT, 1, False),
        (b"\n \r\n" + DOCUMENT, 1, False),
        (b"\xef\xbb\xbf" + DOCUMENT + b"\n", 1, False),
        (DOCUMENT + b"\n" + DOCUMENT + b"\n", 2, True),
        (DOCUMENT + DOCUMENT, 2, True),
        (b"[" + DOCUMENT + b"\n,\r\n" + DOCUMENT + b"]", 2, True),
        (b"data: " + DOCUMENT + b"\n\n", 1, True),
        (b"\r\n: hello\r\n\r\ndata: " + DOCUMENT + b"\r\n\r\n", 1, True),
        (b"event: x\ndata: " + DOCUMENT, 1, True),
        (b"id: 1\ndata: " + DOCUMENT, 1, True),
        (b"retry: 1\ndata: " + DOCUMENT, 1, True),
    ],
)
def test_the_bytes_tell_the_framing(
    data: bytes, count: int, streamed: bool, piece: int, content_type: str | None
) -> None:
    found, framing = frames(data, content_type, piece)
    assert [document for _, document in found] == [DOCUMENT] * count
    assert framing.streamed is streamed


def test_a_single_line_of_a_typed_stream_is_a_stream() -> None:
    _, framing = frames(DOCUMENT + b"\n", "application/x-ndjson", 5)
    assert framing.streamed


@pytest.mark.parametrize(
    "text", [b"<html><title>502 Bad Gateway</title>", b"upstream error", b"error code: 502"]
)
def test_the_start_of_what_holds_no_document_is_kept(text: bytes) -> None:
    found, framing = frames(text, "text/html", 3)
    assert found == []
    assert framing.head == text


def test_a_stream_without_a_byte_is_known_by_its_type() -> None:
    assert frames(b"", "text/event-stream", 1)[1].streamed
    assert not frames(b"", "application/json", 1)[1].streamed


def test_nothing_is_kept_beside_documents() -> None:
    assert frames(DOCUMENT, None, 4)[1].head == b""


def test_a_document_that_is_cut_is_given_as_far_as_it_came() -> None:
    found, _ = frames(DOCUMENT[:9], None, 4)
    assert found == [(None, DOCUMENT[:9])]
