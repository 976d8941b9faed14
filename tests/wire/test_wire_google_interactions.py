"""Google's Interactions, whole and streamed in both generations of their events."""

from __future__ import annotations

from typing import Any

import pytest
from answers import answer, request, sse, whole

from kimi_mitm.records import ToolCall, Usage
from kimi_mitm.wire.google_interactions import INTERACTIONS

USAGE = {
    "total_tokens": 346,
    "total_input_tokens": 11,
    "input_tokens_by_modality": [{"modality": "text", "tokens": 11}],
    "total_cached_tokens": 0,
    "total_output_tokens": 90,
    "total_tool_use_tokens": 0,
    "total_thought_tokens": 245,
}
READ = Usage(input_tokens=11, output_tokens=335, cache_read_tokens=0, reasoning_tokens=245, total_tokens=346)
CALL = {"type": "function_call", "id": "c1", "name": "f", "arguments": {"a": 1}}

OLD = [
    {
        "event_type": "interaction.start",
        "interaction": {"id": "v1_a", "model": "gemini-3", "status": "in_progress"},
    },
    {"event_type": "content.start", "index": 0, "content": {"type": "thought"}},
    {
        "event_type": "content.delta",
        "index": 0,
        "delta": {"type": "thought_summary", "content": {"text": "hm"}},
    },
    {"event_type": "content.delta", "index": 1, "delta": {"type": "text", "text": "Hello"}},
    {"event_type": "content.delta", "index": 2, "delta": CALL},
    {
        "event_type": "interaction.complete",
        "interaction": {"id": "v1_a", "status": "completed", "usage": USAGE},
    },
]
NEW = [
    {
        "event_type": "interaction.created",
        "interaction": {"id": "v1_a", "model": "gemini-3", "status": "in_progress"},
    },
    {"event_type": "interaction.status_update", "interaction_id": "v1_a", "status": "in_progress"},
    {
        "event_type": "step.start",
        "index": 0,
        "step": {"type": "thought", "summary": [{"type": "text", "text": "hm"}]},
    },
    {"event_type": "step.delta", "index": 0, "delta": {"type": "thought_signature", "signature": "x"}},
    {
        "event_type": "step.start",
        "index": 1,
        "step": {"type": "model_output", "content": [{"type": "text", "text": "He"}]},
    },
    {"event_type": "step.delta", "index": 1, "delta": {"type": "text", "text": "llo"}},
    {"event_type": "step.start", "index": 2, "step": {"type": "function_call", "id": "c1", "name": "f"}},
    {"event_type": "step.delta", "index": 2, "delta": {"type": "arguments_delta", "arguments": '{"a":'}},
    {"event_type": "step.delta", "index": 2, "delta": {"type": "arguments_delta", "arguments": "1}"}},
    {
        "event_type": "interaction.completed",
        "interaction": {"id": "v1_a", "status": "completed", "usage": USAGE},
    },
]


@pytest.mark.parametrize("piece", [1, None])
@pytest.mark.parametrize("docs", [OLD, NEW])
def test_a_streamed_interaction(docs: Any, piece: int | None) -> None:
    found = answer(
        INTERACTIONS, sse(docs) + b"event: done\r\ndata: [DONE]\r\n\r\n", "text/event-stream", piece=piece
    )
    assert found.usage == READ
    assert (found.text, found.reasoning, found.finish_reason) == ("Hello", "hm", "completed")
    assert (found.response_id, found.response_model, found.issued_ids) == ("v1_a", "gemini-3", ("v1_a",))
    assert found.tool_calls == (ToolCall("f", '{"a":1}', "c1"),)
    assert found.complete
    assert not found.pending


@pytest.mark.parametrize("docs", [OLD[:-1], NEW[:-1]])
def test_a_cut_stream_is_not_complete(docs: Any) -> None:
    found = answer(INTERACTIONS, sse(docs), "text/event-stream", aborted="cut")
    assert not found.complete
    assert found.text == "Hello"


@pytest.mark.parametrize(
    "made",
    [
        {
            "outputs": [
                {"type": "thought", "summary": [{"text": "hm"}]},
                {"type": "text", "text": "Hello"},
                CALL,
            ]
        },
        {
            "steps": [
                {"type": "thought", "summary": [{"text": "hm"}]},
                {"type": "model_output", "content": [{"type": "text", "text": "Hello"}]},
                CALL,
            ]
        },
    ],
)
def test_a_whole_interaction(made: Any) -> None:
    doc = {
        "id": "v1_a",
        "object": "interaction",
        "model": "gemini-3",
        "status": "requires_action",
        "usage": USAGE,
    }
    found = whole(INTERACTIONS, {**doc, **made})
    assert found.usage == READ
    assert (found.text, found.reasoning, found.finish_reason) == ("Hello", "hm", "requires_action")
    assert found.tool_calls == (ToolCall("f", '{"a":1}', "c1"),)
    assert found.complete


def test_a_background_interaction_is_pending() -> None:
    found = whole(INTERACTIONS, {"id": "v1_a", "status": "in_progress", "agent": "deep-research"})
    assert found.pending
    assert found.finish_reason is None
    assert found.response_model == "deep-research"


def test_tool_use_counts_as_input() -> None:
    usage = {"total_input_tokens": 10, "total_tool_use_tokens": 5, "total_output_tokens": 2}
    found = whole(INTERACTIONS, {"id": "a", "status": "completed", "usage": usage})
    assert found.usage == Usage(input_tokens=15, output_tokens=2, total_tokens=17)


def test_an_error_event_is_the_answers_problem() -> None:
    docs = [*NEW[:6], {"event_type": "error", "error": {"code": "overloaded", "message": "try later"}}]
    found = answer(INTERACTIONS, sse(docs), "text/event-stream")
    assert found.problem is not None
    assert (found.problem.type, found.problem.message) == ("overloaded", "try later")


def test_a_request_that_goes_on_from_an_earlier_interaction() -> None:
    doc = {
        "model": "models/gemini-3",
        "input": "hi",
        "previous_interaction_id": "v1_a",
        "tools": [{"type": "function", "name": "f"}, {"type": "google_search"}],
        "generation_config": {"max_output_tokens": 9},
        "stream": True,
        "background": True,
    }
    found = request(INTERACTIONS, doc, "/v1beta/interactions")
    assert (found.model, found.stream, found.background) == ("gemini-3", True, True)
    assert found.hidden == {"previous_response_id", "server_tools"}
    assert (found.previous_response_id, found.issued_ids) == ("v1_a", ("v1_a",))
    assert (found.tool_count, found.message_count, found.max_output_tokens) == (2, 1, 9)


def test_media_by_address_is_remote() -> None:
    turns = [{"role": "user", "content": [{"type": "image", "uri": "https://a/b.png"}]}]
    assert request(INTERACTIONS, {"model": "m", "input": turns}).hidden == {"remote_media"}
    assert request(INTERACTIONS, {"agent": "deep-research", "input": turns}).model == "deep-research"
