from __future__ import annotations

import json
from typing import Any

import pytest

from kimi_mitm.records import Answer, Problem, Request, ToolCall, Usage
from kimi_mitm.wire import FORMATS, AnswerReader, Target
from kimi_mitm.wire.anthropic import messages_usage


def read(*events: dict[str, Any], aborted: str | None = None) -> Answer:
    reader = AnswerReader(FORMATS["anthropic.messages"], 200, {})
    for each in events:
        reader.feed(f"event: {each.get('type')}\ndata: {json.dumps(each)}\n\n".encode())
    return reader.finish(aborted)


def start(**usage: Any) -> dict[str, Any]:
    message = {"id": "msg_1", "type": "message", "model": "claude", "content": [], "usage": usage}
    return {"type": "message_start", "message": message}


def block(index: int, **content: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": content}


def delta(index: int, kind: str, **content: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **content}}


def end(reason: str | None = "end_turn", **usage: Any) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, "usage": usage}


STOP = {"type": "message_stop"}


def request(doc: Any, path: str = "/v1/messages") -> Request:
    return FORMATS["anthropic.messages"].read_request(json.dumps(doc).encode(), Target(path=path))


def test_a_stream_is_read() -> None:
    answer = read(
        start(input_tokens=9, cache_creation_input_tokens=4, cache_read_input_tokens=100, output_tokens=1),
        {"type": "ping"},
        block(0, type="thinking", thinking=""),
        delta(0, "thinking_delta", thinking="hm"),
        delta(0, "signature_delta", signature="x"),
        block(1, type="text", text=""),
        delta(1, "text_delta", text="Hel"),
        delta(1, "text_delta", text="lo"),
        block(2, type="tool_use", id="t1", name="look", input={}),
        delta(2, "input_json_delta", partial_json=""),
        delta(2, "input_json_delta", partial_json='{"a":'),
        delta(2, "input_json_delta", partial_json="1}"),
        end("tool_use", output_tokens=12),
        STOP,
    )
    assert answer == Answer(
        response_id="msg_1",
        response_model="claude",
        usage=Usage(
            input_tokens=113, output_tokens=12, cache_read_tokens=100, cache_write_tokens=4, total_tokens=125
        ),
        finish_reason="tool_use",
        text="Hello",
        reasoning="hm",
        tool_calls=(ToolCall("look", '{"a":1}', "t1"),),
        streamed=True,
        complete=True,
    )


def test_the_later_usage_replaces_the_earlier_field_by_field() -> None:
    first = {
        "input_tokens": 2479,
        "cache_read_input_tokens": 5,
        "cache_creation_input_tokens": 0,
        "output_tokens": 3,
    }
    answer = read(
        start(**first), end(input_tokens=404500, output_tokens=700, cache_read_input_tokens=None), STOP
    )
    assert answer.usage.input_tokens == 404505
    assert answer.usage.output_tokens == 700


def test_a_stream_is_complete_at_its_stop_only() -> None:
    assert not read(start(input_tokens=1), end(output_tokens=1)).complete
    assert read(start(input_tokens=1), STOP).complete


def test_hidden_passes_are_billed_but_are_no_part_of_the_context() -> None:
    known = messages_usage(
        {
            "input_tokens": 23000,
            "output_tokens": 1000,
            "iterations": [
                {"type": "compaction", "input_tokens": 180000, "output_tokens": 3500},
                {"type": "message", "input_tokens": 23000, "output_tokens": 1000},
            ],
        }
    )
    assert (known.input_tokens, known.output_tokens) == (23000, 1000)
    assert known.billed_input_tokens == 203000


def test_cache_writes_are_summed_by_lifetime_where_only_those_are_told() -> None:
    stated = {
        "input_tokens": 1,
        "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 300},
    }
    assert messages_usage(stated).cache_write_tokens == 320
    assert messages_usage({**stated, "cache_creation_input_tokens": 321}).cache_write_tokens == 321


def test_thinking_is_a_part_of_the_output() -> None:
    known = messages_usage({"output_tokens": 9, "output_tokens_details": {"thinking_tokens": 5}})
    assert (known.output_tokens, known.reasoning_tokens) == (9, 5)


def test_what_is_not_said_is_unknown() -> None:
    assert messages_usage({"output_tokens": 9}) == Usage(output_tokens=9)
    assert messages_usage({}) == Usage()


def test_a_message_that_is_no_stream_is_read() -> None:
    content = [
        {"type": "thinking", "thinking": "hm", "signature": "x"},
        {"type": "text", "text": "Hi"},
        {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "q"}},
    ]
    reader = AnswerReader(FORMATS["anthropic.messages"], 200, {})
    message = start(input_tokens=1, output_tokens=2)["message"]
    reader.feed(json.dumps({**message, "content": content, "stop_reason": "end_turn"}).encode())
    answer = reader.finish()
    assert (answer.text, answer.reasoning, answer.finish_reason) == ("Hi", "hm", "end_turn")
    assert answer.tool_calls == (ToolCall("web_search", '{"query":"q"}', "s1"),)
    assert answer.complete
    assert not answer.streamed


def test_an_error_in_mid_stream_keeps_what_came_before() -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    answer = read(
        start(input_tokens=9), block(0, type="text", text=""), delta(0, "text_delta", text="a"), error
    )
    assert answer.problem == Problem("overloaded_error", "Overloaded")
    assert (answer.text, answer.usage.input_tokens) == ("a", 9)


def test_a_cut_stream_is_aborted() -> None:
    answer = read(start(input_tokens=9), delta(0, "text_delta", text="a"), aborted="gone")
    assert answer.problem == Problem("aborted", "gone")


def test_where_the_output_count_begins_is_no_figure_of_a_cut_answer() -> None:
    begun = start(input_tokens=9, output_tokens=1), delta(0, "text_delta", text="a")
    assert read(*begun, aborted="gone").usage == Usage(input_tokens=9)
    assert read(*begun, STOP).usage.output_tokens == 1
    assert read(*begun, end(output_tokens=40), aborted="gone").usage.output_tokens == 40


@pytest.mark.parametrize(
    "damaged_end",
    [
        b'event: message_delta\ndata: {"type":"message_delta","usage":{"output_tok\n\n',
        b"event: message_delta\ndata: \xff\xff\n\n",
        b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"}}\n\n',
    ],
)
def test_where_the_output_count_begins_is_no_figure_when_its_end_is_damaged(damaged_end: bytes) -> None:
    reader = AnswerReader(FORMATS["anthropic.messages"], 200, {})
    for each in (start(input_tokens=9, output_tokens=1), delta(0, "text_delta", text="a")):
        reader.feed(b"data: " + json.dumps(each).encode() + b"\n\n")
    reader.feed(damaged_end + b'event: message_stop\ndata: {"type":"message_stop"}\n\n')
    assert reader.finish().usage == Usage(input_tokens=9)


def test_events_without_names_are_read() -> None:
    reader = AnswerReader(FORMATS["anthropic.messages"], 200, {})
    reader.feed(
        b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}\n\n'
    )
    assert reader.answer().text == "a"


def test_the_legacy_completion_is_read() -> None:
    reader = AnswerReader(FORMATS["anthropic.complete"], 200, {})
    doc = {
        "type": "completion",
        "id": "compl_1",
        "completion": " Hi",
        "stop_reason": "stop_sequence",
        "model": "claude-2",
    }
    reader.feed(json.dumps(doc).encode())
    answer = reader.finish()
    assert (answer.text, answer.finish_reason, answer.response_id) == (" Hi", "stop_sequence", "compl_1")
    assert answer.complete


def test_the_legacy_stream_is_read() -> None:
    reader = AnswerReader(FORMATS["anthropic.complete"], 200, {})
    for piece, reason in ((" H", None), ("i", "stop_sequence")):
        doc = {"type": "completion", "completion": piece, "stop_reason": reason, "model": "claude-2"}
        reader.feed(f"event: completion\ndata: {json.dumps(doc)}\n\n".encode())
    answer = reader.finish()
    assert (answer.text, answer.finish_reason, answer.complete) == (" Hi", "stop_sequence", True)


def test_a_requests_settings_are_read() -> None:
    doc = {
        "model": "claude",
        "stream": True,
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "x"}],
        "tools": [{"name": "a"}, {"type": "bash_20250124", "name": "bash"}],
        "output_format": {"type": "json_schema", "schema": {"type": "object"}},
    }
    assert request(doc) == Request(
        model="claude", stream=True, max_output_tokens=9, tool_count=2, message_count=1, output_schema=True
    )


@pytest.mark.parametrize(
    ("path", "model", "stream"),
    [
        (
            "/v1/projects/p/locations/l/publishers/anthropic/models/claude-opus-4@1:rawPredict",
            "claude-opus-4@1",
            False,
        ),
        ("/v1/projects/p/publishers/anthropic/models/claude-opus-4:streamRawPredict", "claude-opus-4", True),
        ("/model/us.anthropic.claude-v1:0/invoke-with-response-stream", "us.anthropic.claude-v1:0", True),
        ("/v1/messages", None, False),
    ],
)
def test_the_model_may_stand_in_the_path(path: str, model: str | None, stream: bool) -> None:
    found = request({"messages": []}, path)
    assert (found.model, found.stream) == (model, stream)


@pytest.mark.parametrize(
    ("doc", "hidden"),
    [
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, {"server_tools"}),
        ({"mcp_servers": [{"url": "x"}]}, {"server_tools"}),
        ({"tools": [{"type": "custom", "name": "web_search"}]}, set()),
        ({"messages": [{"content": [{"type": "image", "source": {"type": "url"}}]}]}, {"remote_media"}),
        ({"messages": [{"content": [{"type": "document", "source": {"type": "file"}}]}]}, {"remote_media"}),
        ({"messages": [{"content": [{"type": "image", "source": {"type": "base64"}}]}]}, set()),
    ],
)
def test_what_the_request_hides_is_named(doc: Any, hidden: set[str]) -> None:
    assert request(doc).hidden == hidden


def test_a_container_ties_turns_together() -> None:
    assert request({"container": "c1"}).issued_ids == ("c1",)
    assert read(
        start(), {**end(), "delta": {"stop_reason": "end_turn", "container": {"id": "c1"}}}
    ).issued_ids == ("c1",)
