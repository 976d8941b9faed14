from __future__ import annotations

import json
import struct
import zlib
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rig.bodies import chat_answer, chat_events

from kimi_mitm.views.answer_text import END, WHOLE, answer_lines, event_lines
from kimi_mitm.views.excerpt import Unreadable
from kimi_mitm.wire import FORMATS
from tests.samples import flows


def lines(data: bytes, wire_format: str = "openai.chat", status: int = 200, **headers: str) -> list[str]:
    return answer_lines(wire_format, data, status=status, headers=headers)


def test_an_answer_is_told_with_what_it_reports() -> None:
    assert lines(chat_answer(11, 3, "hello")) == [
        "answer of: gpt-4o-mini-2024-07-18 · chatcmpl-1",
        "assistant: hello",
        "finish: stop",
        "reported: 11 in, 3 out",
    ]


def test_a_stream_reads_like_a_whole_answer() -> None:
    found = lines(b"".join(chat_events(3)))

    assert found[1:] == ["assistant: word0 word1 word2 ", "finish: stop", "reported: 11 in, 3 out"]


def test_thoughts_and_calls_of_a_real_clients_answer() -> None:
    (flow,) = (f for f in flows() if f.response and b"toolu_01" in (f.response.content or b""))
    assert flow.response is not None
    assert flow.response.content is not None

    found = lines(flow.response.content, "anthropic.messages", **dict(flow.response.headers.items()))

    assert "assistant thinking: I should look at the parser first." in found
    assert found[found.index("assistant calls Read: |") + 1] == '  {"path": "parser.py"}'
    assert "finish: tool_use" in found


def test_an_error_is_told_in_the_providers_words() -> None:
    body = json.dumps({"error": {"type": "invalid_request_error", "message": "too long"}}).encode()

    assert "  invalid_request_error: too long" in lines(body, status=400)


@pytest.mark.parametrize(("numbers", "size"), [(20, "155 B"), (1_000_000, "7.0 MB")])
def test_vectors_are_measured(numbers: int, size: str) -> None:
    body = json.dumps({"embedding": [0.125] * numbers}).encode()

    assert lines(body, "ollama.embed") == [f"embeddings: {size} of vectors"]


def test_of_a_long_stream_beginning_and_end_are_read() -> None:
    events = chat_events(20_000)
    data = b"".join(events)

    found = lines(data)

    text = "\n".join(found)
    assert "word0 word1" in text
    assert "word19999" in text
    assert "reported: 11 in, 20,000 out" in found
    assert f"# … {(len(data) - 2 * END) / 1e6:.1f} MB of the stream left out …" in found


def test_of_a_long_event_stream_of_aws_too() -> None:
    def frame(event: str, payload: Any) -> bytes:
        name, value = b":event-type", event.encode()
        headers = bytes([len(name)]) + name + b"\x07" + struct.pack(">H", len(value)) + value
        data = json.dumps(payload).encode()
        start = struct.pack(">II", 16 + len(headers) + len(data), len(headers))
        whole = start + struct.pack(">I", zlib.crc32(start)) + headers + data
        return whole + struct.pack(">I", zlib.crc32(whole))

    pieces = [
        frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": f"w{n} "}}) for n in range(9000)
    ]
    end = frame("metadata", {"usage": {"inputTokens": 5, "outputTokens": 9000}})

    found = lines(b"".join([*pieces, end]), "aws.converse")

    assert any("of the stream left out" in line for line in found)
    assert found[-1] == "reported: 5 in, 9,000 out"


def test_a_long_document_is_read_without_what_nobody_reads() -> None:
    choices = [{"message": {"role": "assistant", "content": "a" * 1_000_000}, "finish_reason": "stop"}]
    body = json.dumps({"id": "c1", "choices": choices, "data": ["x" * 4_000_000]}).encode()

    found = lines(body)

    assert sum(map(len, found)) < 25_000
    assert found[-1] == "finish: stop"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "it is empty"),
        (b"<html>no</html>", "no openai.chat answer is in it"),
        (b"\x93\x00\xff" * 300_000, "no openai.chat answer is in it"),
        (json.dumps({"choices": [{"message": {"content": "a" * WHOLE * 2}}]}).encode()[:-100], "not whole"),
    ],
)
def test_what_is_no_answer_says_why(data: bytes, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        lines(data)


def test_a_format_that_is_not_known_says_so() -> None:
    with pytest.raises(Unreadable, match="klingon"):
        lines(b"{}", "klingon")


def test_damaged_events_are_counted() -> None:
    events = chat_events(3)

    found = lines(b"".join([*events[:2], b"data: {broken\n\n", *events[2:]]))

    assert found[-1] == "# 1 damaged piece left out"
    assert "assistant: word0 word1 word2 " in found


@pytest.mark.parametrize(
    ("doc", "expected"),
    [
        ({"type": "response.output_text.delta", "delta": "Hel"}, ["assistant: Hel"]),
        (
            {
                "type": "response.completed",
                "response": {"id": "r1", "usage": {"input_tokens": 5, "output_tokens": 2}},
            },
            ["reported: 5 in, 2 out"],
        ),
        ({"type": "session.updated", "session": {"id": "x"}}, ["data: |", '  {"session":{"id":"x"}}']),
        ({"type": "ping"}, []),
    ],
)
def test_a_sockets_events_are_told_one_by_one(doc: dict[str, Any], expected: list[str]) -> None:
    assert event_lines("openai.responses", json.dumps(doc).encode()) == [f"event: {doc['type']}", *expected]


@pytest.mark.parametrize("data", [b"", b"[1]", b"\xff\x00", b'{"type": "respon'])
def test_a_message_that_is_no_event_says_so(data: bytes) -> None:
    with pytest.raises(Unreadable):
        event_lines("openai.responses", data)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(sorted(FORMATS)), st.binary(), st.sampled_from([200, 400, 529]))
def test_nothing_else_is_raised_whatever_comes(wire_format: str, data: bytes, status: int) -> None:
    for read in (lambda: lines(data, wire_format, status), lambda: event_lines(wire_format, data)):
        try:
            assert all(isinstance(line, str) for line in read())
        except Unreadable:
            continue
