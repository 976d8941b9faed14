"""Cohere's chat in both versions, generate and embed."""

from __future__ import annotations

from typing import Any

import pytest
from answers import answer, ndjson, request, sse, whole
from hypothesis import given
from hypothesis import strategies as st

from kimi_mitm.records import ToolCall, Usage
from kimi_mitm.wire.cohere import CHAT, EMBED, GENERATE

COUNTS = {
    "billed_units": {"input_tokens": 7, "output_tokens": 80},
    "tokens": {"input_tokens": 69, "output_tokens": 81},
    "cached_tokens": 64,
}
READ = Usage(input_tokens=69, output_tokens=81, cache_read_tokens=64, total_tokens=150)
CALL_1 = {"name": "f", "parameters": {"a": 1}}
V1 = {
    "response_id": "r1",
    "generation_id": "g1",
    "text": "Hello",
    "finish_reason": "COMPLETE",
    "tool_calls": [CALL_1],
    "meta": COUNTS,
}
V1_LINES = [
    {"event_type": "stream-start", "generation_id": "g1", "is_finished": False},
    {"event_type": "text-generation", "text": "Hel"},
    {"event_type": "text-generation", "text": "lo"},
    {"event_type": "tool-calls-generation", "tool_calls": [CALL_1]},
    {"event_type": "stream-end", "is_finished": True, "finish_reason": "COMPLETE", "response": V1},
]
CALL_2 = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
V2 = {
    "id": "r1",
    "message": {
        "role": "assistant",
        "tool_plan": "hm",
        "content": [{"type": "text", "text": "Hello"}],
        "tool_calls": [CALL_2],
    },
    "finish_reason": "COMPLETE",
    "usage": COUNTS,
}


def delta(kind: str, index: int = 0, **message: Any) -> dict[str, Any]:
    return {"type": kind, "index": index, "delta": {"message": message}}


V2_EVENTS = [
    {"type": "message-start", "id": "r1", "delta": {"message": {"role": "assistant", "content": []}}},
    delta("tool-plan-delta", tool_plan="hm"),
    delta("content-start", content={"type": "text", "text": ""}),
    delta("content-delta", content={"text": "Hel"}),
    delta("content-delta", content={"text": "lo"}),
    delta("tool-call-start", 1, tool_calls={"id": "c1", "function": {"name": "f", "arguments": ""}}),
    delta("tool-call-delta", 1, tool_calls={"function": {"arguments": '{"a":'}}),
    delta("tool-call-delta", 1, tool_calls={"function": {"arguments": "1}"}}),
    {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": COUNTS}},
]


@pytest.mark.parametrize("piece", [1, None])
@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (ndjson([V1]), "application/json"),
        (ndjson(V1_LINES), "application/stream+json"),
        (ndjson([V2]), "application/json"),
        (sse(V2_EVENTS, "\n") + b"data: [DONE]\n\n", "text/event-stream"),
    ],
)
def test_a_chat_in_either_version_whole_or_streamed(data: bytes, kind: str, piece: int | None) -> None:
    found = answer(CHAT, data, kind, piece=piece)
    assert found.usage == READ
    assert (found.text, found.response_id, found.finish_reason) == ("Hello", "r1", "COMPLETE")
    assert [(call.name, call.arguments) for call in found.tool_calls] == [("f", '{"a":1}')]
    assert found.streamed is (kind != "application/json")
    assert found.complete


def test_the_plan_before_tools_is_reasoning() -> None:
    found = whole(CHAT, V2)
    assert found.reasoning == "hm"
    assert found.tool_calls == (ToolCall("f", '{"a":1}', "c1"),)


@pytest.mark.parametrize("data", [ndjson(V1_LINES[:-1]), sse(V2_EVENTS[:-1])])
def test_a_stream_without_its_end_is_not_complete(data: bytes) -> None:
    found = answer(CHAT, data, aborted="cut")
    assert not found.complete
    assert (found.text, found.usage) == ("Hello", Usage())


def test_billed_units_stand_in_for_tokens() -> None:
    found = whole(CHAT, {**V1, "meta": {"billed_units": COUNTS["billed_units"]}})
    assert found.usage == Usage(input_tokens=7, output_tokens=80, total_tokens=87)


def test_an_error_answer_has_no_type_of_its_own() -> None:
    found = whole(CHAT, {"id": "x", "message": "model 'command-r' was removed"}, 404)
    assert found.problem is not None
    assert (found.problem.type, found.problem.message) == ("http_404", "model 'command-r' was removed")
    assert found.response_id is None


def test_an_error_may_stand_in_a_streams_end() -> None:
    end = {"type": "message-end", "delta": {"finish_reason": "ERROR", "error": "it broke", "usage": COUNTS}}
    found = answer(CHAT, sse([*V2_EVENTS[:-1], end]), "text/event-stream")
    assert found.problem is not None
    assert found.problem.message == "it broke"
    assert found.usage == READ


GENERATED = {
    "id": "g1",
    "generations": [{"id": "x", "text": "Hello", "finish_reason": "COMPLETE"}],
    "meta": {"billed_units": {"input_tokens": 7, "output_tokens": 9}},
}
GENERATED_LINES = [
    {"text": "Hel", "is_finished": False},
    {"text": "lo", "is_finished": False},
    {"is_finished": True, "finish_reason": "COMPLETE", "response": GENERATED},
]


@pytest.mark.parametrize("docs", [[GENERATED], GENERATED_LINES])
def test_a_completion(docs: Any) -> None:
    found = answer(GENERATE, ndjson(docs))
    assert found.usage == Usage(input_tokens=7, output_tokens=9, total_tokens=16)
    assert (found.text, found.response_id, found.finish_reason) == ("Hello", "g1", "COMPLETE")
    assert found.complete


def test_an_embedding() -> None:
    found = whole(EMBED, {"id": "e1", "embeddings": {}, "meta": {"billed_units": {"input_tokens": 208}}})
    assert (found.usage, found.response_id, found.complete) == (Usage(input_tokens=208), "e1", True)


def test_a_request_of_version_1() -> None:
    doc = {
        "model": "command-r",
        "message": "x",
        "chat_history": [{}, {}],
        "connectors": [{"id": "web-search"}],
        "conversation_id": "c1",
        "tools": [{}],
    }
    found = request(CHAT, doc, "/v1/chat")
    assert (found.model, found.stream, found.message_count, found.tool_count) == ("command-r", False, 3, 1)
    assert found.hidden == {"server_tools", "conversation"}
    assert found.issued_ids == ("c1",)


def test_a_request_of_version_2() -> None:
    doc = {
        "model": "command-a",
        "messages": [{}],
        "stream": True,
        "max_tokens": 5,
        "response_format": {"type": "json_object", "json_schema": {}},
    }
    found = request(CHAT, doc, "/v2/chat")
    assert (found.stream, found.message_count, found.max_output_tokens) == (True, 1, 5)
    assert found.output_schema
    assert not found.hidden


def test_a_request_without_a_model() -> None:
    assert request(GENERATE, {"prompt": "x"}).model is None
    assert request(EMBED, {"texts": ["x"]}).model is None


KEYS = [
    "type",
    "event_type",
    "delta",
    "message",
    "content",
    "tool_calls",
    "response",
    "meta",
    "tokens",
    "generations",
]
WORDS = ["stream-end", "message-end", "content-delta", "tool-call-start"]
JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=3) | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=15,
)


@given(st.lists(JSON, max_size=4))
def test_no_documents_raise(docs: list[Any]) -> None:
    for row in (CHAT, GENERATE, EMBED):
        reader = row.reader(200, {})
        for doc in docs:
            reader.document(None, doc)
        reader.answer()
