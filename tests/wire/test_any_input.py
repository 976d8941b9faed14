"""Whatever bytes come, no format raises anything but its own error, and cuts change nothing."""

from __future__ import annotations

import contextlib
import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kimi_mitm.records import Answer, Request
from kimi_mitm.wire import FORMATS, AnswerReader, Target, Turns, WireError

NAMES = tuple(
    re.findall(
        r"\S+",
        """
    id object model type choices delta message content text role index finish_reason usage prompt_tokens
    completion_tokens total_tokens prompt_tokens_details cached_tokens reasoning tool_calls function name
    arguments error code status response output input input_tokens output_tokens input_tokens_details
    output_tokens_details item output_index summary instructions conversation tools stream messages
    content_block stop_reason partial_json cache_creation cache_creation_input_tokens iterations
    candidates parts usageMetadata promptTokenCount candidatesTokenCount contents generationConfig
    result results x_groq embeddings meta billed_units tokens done eval_count prompt bytes source url
    image_url image session response_id item_id transcript part detail errors cost is_byok cost_details
    serverContent modelTurn turnComplete setup clientContent turns realtimeInput toolCall functionCalls
""",
    )
)
WORDS = tuple(
    re.findall(
        r"\S+",
        """
    error response.create response.created response.completed response.done response.output_text.delta
    response.output_item.done message_start message_delta content_block_delta content_block_start
    text_delta message function response session.update conversation.item.create tool_use thinking
    conversation.item.added message_stop completed failed queued text gemini http://x image_url input_audio
""",
    )
)
MODEL_IN_PATH = ("google.", "aws.")
"""Formats that can say something of a request whose body can't be read."""
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from([0, 1, 5, 10**9, 10**30, -1, 2.0])
    | st.text(max_size=5)
    | st.sampled_from(WORDS)
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=15,
)
OBJECTS = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=6)
HEADERS = st.dictionaries(
    st.sampled_from(
        ["content-type", "content-encoding", "x-amzn-bedrock-input-token-count", "x-prompt-tokens"]
    ),
    st.sampled_from(["gzip", "application/json", "12", "text/event-stream", "-3", "٣", "br, zstd"]),
)
PATHS = st.sampled_from(
    ["", "/", "/v1/responses/r1", "//model/x%3A/invoke", "/v1beta/models/m:generateContent", "/a/fim/b"]
)


def check_answer(answer: Answer) -> None:
    for name in ("input_tokens", "output_tokens", "cache_read_tokens", "reasoning_tokens", "total_tokens"):
        figure = getattr(answer.usage, name)
        assert figure is None or (type(figure) is int and figure >= 0)
    for word in (answer.response_id, answer.response_model, answer.finish_reason):
        assert word is None or (type(word) is str and word)
    assert type(answer.text) is str
    assert type(answer.reasoning) is str
    assert answer.problem is None or (answer.problem.type and len(answer.problem.message) <= 500)
    (answer.text + answer.reasoning + str(answer.response_id)).encode()


def check_request(request: Request) -> None:
    assert request.model is None or type(request.model) is str
    assert request.stream is None or type(request.stream) is bool
    assert all(type(each) is str for each in (*request.issued_ids, *request.hidden))
    assert request.max_output_tokens is None or type(request.max_output_tokens) is int


def framed(documents: list[Any], framing: str) -> bytes:
    texts = [json.dumps(each) for each in documents]
    if framing == "events":
        return "".join(f"event: {text[2:9]!r}\ndata: {text}\n\n" for text in texts).encode()
    return ("[" + ",\n".join(texts) + "]" if framing == "array" else "\n".join(texts)).encode()


@settings(max_examples=200)
@given(st.sampled_from(sorted(FORMATS)), st.binary(max_size=200), st.sampled_from([200, 400, 502]), HEADERS)
def test_any_bytes_are_an_answer(form: str, data: bytes, status: int, headers: dict[str, str]) -> None:
    reader = AnswerReader(FORMATS[form], status, headers)
    reader.feed(data)
    check_answer(reader.answer())
    check_answer(reader.finish())


@settings(max_examples=400)
@given(
    st.sampled_from(sorted(FORMATS)),
    st.lists(OBJECTS, max_size=4),
    st.sampled_from(["events", "array", "lines"]),
    st.sampled_from([200, 200, 429]),
    st.integers(1, 60),
)
def test_any_json_is_an_answer_and_the_same_in_pieces(
    form: str, documents: list[Any], framing: str, status: int, piece: int
) -> None:
    data = framed(documents, framing)
    whole, pieces = AnswerReader(FORMATS[form], status, {}), AnswerReader(FORMATS[form], status, {})
    whole.feed(data)
    for start in range(0, len(data), piece):
        pieces.feed(data[start : start + piece])
    answer = whole.finish()
    check_answer(answer)
    assert pieces.finish() == answer
    assert whole.damaged == 0


@settings(max_examples=200)
@given(
    st.sampled_from(sorted(FORMATS)),
    st.binary(max_size=100) | OBJECTS.map(lambda doc: json.dumps(doc).encode()),
    PATHS,
)
def test_any_body_is_a_request_or_a_wire_error(form: str, data: bytes, path: str) -> None:
    with contextlib.suppress(WireError):
        check_request(FORMATS[form].read_request(data, Target(path=path)))


@pytest.mark.parametrize("form", [name for name in FORMATS if not name.startswith(MODEL_IN_PATH)])
@pytest.mark.parametrize("data", [b"", b"[]", b'"x"', b"[" * 50_000, b'{"a":' * 50_000, b"\xff\xfe{}"])
def test_what_is_no_object_is_no_request(form: str, data: bytes) -> None:
    with pytest.raises(WireError):
        FORMATS[form].read_request(data, Target())


@pytest.mark.parametrize("form", ["openai.responses", "openai.realtime", "google.live", "openai.chat"])
@settings(max_examples=60)
@given(st.lists(st.tuples(st.booleans(), OBJECTS | st.binary(max_size=20), st.booleans()), max_size=12))
def test_any_messages_are_turns(form: str, messages: list[tuple[bool, Any, bool]]) -> None:
    turns = Turns(form, Target(path="/v1/x"))
    started: list[int] = []
    ended: list[int] = []
    for from_client, message, is_text in messages:
        data = message if isinstance(message, bytes) else json.dumps(message).encode()
        for event in turns.message(from_client, data, is_text):
            kind = type(event).__name__
            if kind == "TurnStarted":
                check_request(FORMATS[form].read_request(event.body, Target()))
                started.append(event.index)
            elif kind == "TurnEnded":
                check_answer(event.answer)
                ended.append(event.index)
    for event in turns.cut("gone"):
        check_answer(event.answer)
        ended.append(event.index)
    assert started == list(range(len(started)))
    assert sorted(ended) == started
