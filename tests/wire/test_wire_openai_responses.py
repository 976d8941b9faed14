from __future__ import annotations

import json
from typing import Any

import pytest

from kimi_mitm.records import Answer, Problem, Request, ToolCall, Usage
from kimi_mitm.wire import FORMATS, AnswerReader, Target, WireError

USAGE = {
    "input_tokens": 100,
    "input_tokens_details": {"cached_tokens": 64},
    "output_tokens": 20,
    "output_tokens_details": {"reasoning_tokens": 8},
    "total_tokens": 120,
}
KNOWN = Usage(input_tokens=100, output_tokens=20, cache_read_tokens=64, reasoning_tokens=8, total_tokens=120)


def response(status: str = "completed", **more: Any) -> dict[str, Any]:
    return {
        "id": "resp_1",
        "object": "response",
        "model": "gpt",
        "status": status,
        "usage": None,
        "error": None,
        **more,
    }


def event(kind: str, **more: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", **more}


def message(index: int, text: str) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text}]
    return {"id": f"m{index}", "type": "message", "role": "assistant", "content": content}


def read(*documents: dict[str, Any], named: bool = False) -> Answer:
    reader = AnswerReader(FORMATS["openai.responses"], 200, {})
    for each in documents:
        kind = each.pop("type") if named else each["type"]
        reader.feed(f"event: {kind}\ndata: {json.dumps(each)}\n\n".encode())
    return reader.finish()


def read_body(doc: dict[str, Any]) -> Answer:
    reader = AnswerReader(FORMATS["openai.responses"], 200, {})
    reader.feed(json.dumps(doc).encode())
    return reader.finish()


def request(doc: Any, path: str = "/v1/responses", query: dict[str, str] | None = None) -> Request:
    data = b"" if doc is None else json.dumps(doc).encode()
    return FORMATS["openai.responses"].read_request(data, Target(path=path, query=query))


STREAM: tuple[dict[str, Any], ...] = (
    event("created", response=response("in_progress")),
    event("output_item.added", output_index=0, item={"type": "reasoning", "summary": []}),
    event("reasoning_summary_text.delta", output_index=0, delta="hm"),
    event("output_item.done", output_index=0, item={"type": "reasoning", "summary": [{"text": "hm"}]}),
    event("output_item.added", output_index=1, item={"type": "message", "content": []}),
    event("output_text.delta", output_index=1, delta="Hel"),
    event("output_text.delta", output_index=1, delta="lo"),
    event("output_text.done", output_index=1, text="Hello"),
    event("output_item.done", output_index=1, item=message(1, "Hello")),
    event(
        "output_item.added",
        output_index=2,
        item={"type": "function_call", "name": "look", "call_id": "c1", "arguments": ""},
    ),
    event("function_call_arguments.delta", output_index=2, delta='{"a":'),
    event("function_call_arguments.delta", output_index=2, delta="1}"),
    event(
        "output_item.done",
        output_index=2,
        item={"type": "function_call", "name": "look", "call_id": "c1", "arguments": '{"a":1}'},
    ),
    event(
        "completed",
        response=response(
            usage=USAGE,
            output=[
                {"type": "reasoning", "summary": [{"text": "hm"}]},
                message(1, "Hello"),
                {"type": "function_call", "name": "look", "call_id": "c1", "arguments": '{"a":1}'},
            ],
        ),
    ),
)
EXPECTED = Answer(
    response_id="resp_1",
    response_model="gpt",
    usage=KNOWN,
    finish_reason="completed",
    text="Hello",
    reasoning="hm",
    tool_calls=(ToolCall("look", '{"a":1}', "c1"),),
    streamed=True,
    complete=True,
)


def test_a_streams_restated_parts_are_taken_once() -> None:
    assert read(*STREAM) == EXPECTED


def test_the_events_name_may_be_outside_the_document_only() -> None:
    assert read(*(dict(each) for each in STREAM), named=True) == EXPECTED


@pytest.mark.parametrize("kept", [("created", "output_item.done", "completed"), ("completed",)])
def test_what_came_in_no_pieces_is_taken_from_the_whole(kept: tuple[str, ...]) -> None:
    assert read(*(each for each in STREAM if each["type"].removeprefix("response.") in kept)) == EXPECTED


def test_a_body_is_read() -> None:
    answer = read_body(STREAM[-1]["response"])
    assert (answer.text, answer.reasoning, answer.usage) == ("Hello", "hm", KNOWN)
    assert answer.tool_calls == EXPECTED.tool_calls
    assert answer.complete
    assert not answer.streamed


@pytest.mark.parametrize("state", ["queued", "in_progress"])
def test_a_background_answer_is_pending_until_it_ended(state: str) -> None:
    queued = read_body(response(state, background=True))
    assert queued.pending
    assert not queued.complete
    assert not queued.usage
    done = read_body(response(background=True, usage=USAGE))
    assert not done.pending
    assert done.response_id == queued.response_id


def test_a_failed_response_is_a_problem() -> None:
    error = {"code": "server_error", "message": "sorry"}
    answer = read(event("failed", response=response("failed", error=error, usage=USAGE)))
    assert answer.problem == Problem("server_error", "sorry")
    assert (answer.finish_reason, answer.usage) == ("failed", KNOWN)
    assert read_body(response("failed")).problem == Problem("failed", "the response failed")


def test_an_incomplete_response_is_none() -> None:
    answer = read(
        event(
            "incomplete",
            response=response("incomplete", incomplete_details={"reason": "max_output_tokens"}, usage=USAGE),
        )
    )
    assert (answer.finish_reason, answer.problem, answer.complete) == ("incomplete", None, True)


@pytest.mark.parametrize(
    "error",
    [
        {"type": "error", "code": "rate_limit", "message": "slow", "param": None},
        {"type": "error", "error": {"type": "rate_limit", "message": "slow"}},
    ],
)
def test_an_error_event_is_the_answers(error: dict[str, Any]) -> None:
    assert read(STREAM[0], error).problem == Problem("rate_limit", "slow")


def test_sound_is_no_text_but_its_transcript_is() -> None:
    answer = read(
        event("output_audio.delta", output_index=0, delta="AAAA"),
        event("output_audio_transcript.delta", output_index=0, delta="hi"),
    )
    assert answer.text == "hi"


def test_calls_of_other_kinds_are_tool_calls() -> None:
    custom = {"type": "custom_tool_call", "name": "patch", "call_id": "c1", "input": "*** x"}
    search = {"type": "web_search_call", "id": "ws_1", "action": {"query": "q"}}
    answer = read_body(response(output=[custom, search], usage=USAGE))
    assert answer.tool_calls == (
        ToolCall("patch", "*** x", "c1"),
        ToolCall("web_search_call", '{"query":"q"}', "ws_1"),
    )


def test_a_conversation_ties_answers_together() -> None:
    assert read_body(response(conversation={"id": "conv_1"})).issued_ids == ("conv_1",)


def test_a_requests_settings_are_read() -> None:
    doc = {
        "model": "gpt",
        "input": [{"role": "user", "content": "x"}],
        "stream": True,
        "tools": [{"type": "function", "name": "f"}],
        "max_output_tokens": 7,
        "text": {"format": {"type": "json_schema"}},
        "background": True,
    }
    assert request(doc) == Request(
        model="gpt",
        stream=True,
        tool_count=1,
        max_output_tokens=7,
        output_schema=True,
        background=True,
        message_count=1,
    )


@pytest.mark.parametrize(
    ("doc", "hidden", "ids"),
    [
        ({"previous_response_id": "resp_0"}, {"previous_response_id"}, ("resp_0",)),
        ({"conversation": "conv_1"}, {"conversation"}, ("conv_1",)),
        ({"conversation": {"id": "conv_1"}}, {"conversation"}, ("conv_1",)),
        ({"prompt": {"id": "pmpt_1"}}, {"conversation"}, ()),
        ({"input": [{"type": "item_reference", "id": "x"}]}, {"conversation"}, ()),
        ({"tools": [{"type": "web_search"}]}, {"server_tools"}, ()),
        ({"tools": [{"type": "custom"}, {"name": "f"}, {"type": "local_shell"}]}, set(), ()),
        ({"input": [{"content": [{"type": "input_image", "image_url": "https://x"}]}]}, {"remote_media"}, ()),
        ({"input": [{"content": [{"type": "input_file", "file_id": "f"}]}]}, {"remote_media"}, ()),
        ({"input": [{"content": [{"type": "input_image", "image_url": "data:x"}]}]}, set(), ()),
    ],
)
def test_what_the_request_hides_is_named(doc: Any, hidden: set[str], ids: tuple[str, ...]) -> None:
    found = request(doc)
    assert found.hidden == hidden
    assert found.issued_ids == ids


def test_a_warm_up_generates_nothing() -> None:
    assert not request({"type": "response.create", "generate": False, "model": "gpt"}).generates
    assert request({"type": "response.create", "model": "gpt"}).generates


def test_a_message_that_wraps_the_request_is_unwrapped() -> None:
    found = request(
        {"type": "response.create", "response": {"model": "gpt", "previous_response_id": "r0", "input": []}}
    )
    assert (found.model, found.previous_response_id, found.stream) == ("gpt", "r0", True)


def test_a_poll_names_the_response_that_it_asks_for() -> None:
    found = request(None, "/v1/responses/resp_1", {"stream": "true"})
    assert (found.previous_response_id, found.generates, found.stream) == ("resp_1", False, True)


def test_nothing_is_no_request() -> None:
    with pytest.raises(WireError):
        request(None)
