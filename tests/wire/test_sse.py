from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_mitm.wire.sse import Event, EventLines


def events(data: bytes, piece: int | None = None) -> list[Event]:
    lines = EventLines()
    size = piece or max(len(data), 1)
    found = [event for start in range(0, len(data), size) for event in lines.feed(data[start : start + size])]
    return found + lines.finish()


DIALECTS: dict[str, tuple[bytes, list[Event]]] = {
    "LF": (b'data: {"a":1}\n\ndata: {"a":2}\n\n', [(None, b'{"a":1}'), (None, b'{"a":2}')]),
    "CRLF": (b'data: {"a":1}\r\n\r\ndata: {"a":2}\r\n\r\n', [(None, b'{"a":1}'), (None, b'{"a":2}')]),
    "CR": (b'data: {"a":1}\r\rdata: {"a":2}\r\r', [(None, b'{"a":1}'), (None, b'{"a":2}')]),
    "no space": (b'data:{"a":1}\n\n', [(None, b'{"a":1}')]),
    "named": (b'event: ping\ndata: {"a":1}\n\n', [("ping", b'{"a":1}')]),
    "name after the data": (
        b'data: {"a":1}\nevent: x\ndata: {"b":1}\n\n',
        [(None, b'{"a":1}'), ("x", b'{"b":1}')],
    ),
    "name without data": (b'event: ping\n\ndata: {"a":1}\n\n', [(None, b'{"a":1}')]),
    "comments": (b': OPENROUTER PROCESSING\n\n: x\ndata: {"a":1}\n: y\n\n', [(None, b'{"a":1}')]),
    "id and retry": (b'id: 7\nretry: 10\ndata: {"a":1}\n\n', [(None, b'{"a":1}')]),
    "several lines": (b'data: {"a":\ndata: 1}\n\n', [(None, b'{"a":\n 1}')]),
    "byte order mark": (b'\xef\xbb\xbfdata: {"a":1}\n\n', [(None, b'{"a":1}')]),
    "no blank line at the end": (b'data: {"a":1}\n\ndata: {"a":2}', [(None, b'{"a":1}'), (None, b'{"a":2}')]),
    "no blank lines at all": (b'data: {"a":1}\ndata: {"a":2}\n', [(None, b'{"a":1}'), (None, b'{"a":2}')]),
    "the end's mark": (b'data: {"a":1}\n\ndata: [DONE]\n\n', [(None, b'{"a":1}')]),
    "JSON without data": (
        b'data: {"a":1}\n\n{"error": "x"}\n\n',
        [(None, b'{"a":1}'), (None, b'{"error": "x"}')],
    ),
    "JSON over lines": (
        b'data: {"a":1}\n\n{\n"error": "x"\n}\n\n',
        [(None, b'{"a":1}'), (None, b'{\n"error": "x"\n}')],
    ),
    "empty data": (b'data:\n\ndata: \n\ndata: {"a":1}\n\n', [(None, b'{"a":1}')]),
    "white space first": (b'\n\n   data: {"a":1}\n\n', [(None, b'{"a":1}')]),
    "nothing": (b"", []),
}


@pytest.mark.parametrize("piece", [None, 1, 2, 3, 7])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_is_read(dialect: str, piece: int | None) -> None:
    data, expected = DIALECTS[dialect]
    assert events(data, piece) == expected


def test_an_event_is_there_as_soon_as_its_blank_line() -> None:
    lines = EventLines()
    assert lines.feed(b'data: {"a":1}\n\n') == [(None, b'{"a":1}')]


def test_an_event_is_there_as_soon_as_its_blank_line_ends_in_a_carriage_return() -> None:
    lines = EventLines()
    assert lines.feed(b'data: {"a":1}\r\n\r\n') == [(None, b'{"a":1}')]
    assert lines.feed(b'data: {"a":2}\r\n\r') == [(None, b'{"a":2}')]
    assert lines.feed(b'\ndata: {"a":3}\r\n\r\n') == [(None, b'{"a":3}')]


def test_the_ends_mark_is_noticed() -> None:
    lines = EventLines()
    lines.feed(b"data: [DON")
    assert not lines.done
    lines.feed(b"E]\n\n")
    assert lines.done


def test_a_long_event_in_small_pieces_takes_linear_time() -> None:
    event = b'data: "' + b"x" * 2_000_000 + b'"\n\n'
    started = time.process_time()
    assert len(events(event, 100)) == 1
    assert time.process_time() - started < 2


def test_twenty_thousand_events_are_quick() -> None:
    data = b'event: content_block_delta\ndata: {"type":"content_block_delta"}\n\n' * 20_000
    started = time.process_time()
    assert len(events(data, 4096)) == 20_000
    assert time.process_time() - started < 2


@given(st.binary(max_size=300), st.integers(1, 50))
def test_any_bytes_give_the_same_events_however_they_are_cut(data: bytes, piece: int) -> None:
    assert events(data, piece) == events(data)


@given(
    st.lists(
        st.sampled_from([b"data: 1", b"data:{}", b"event: a", b": c", b"", b"\r", b"\n", b"{", b"}", b"x"])
    ),
    st.integers(1, 9),
)
def test_any_lines_give_the_same_events_however_they_are_cut(lines: list[bytes], piece: int) -> None:
    for end in (b"\n", b"\r\n", b"\r"):
        data = end.join(lines)
        assert events(data, piece) == events(data)
