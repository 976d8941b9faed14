from __future__ import annotations

import json
from typing import Any

import pytest

from kimi_mitm.records import Answer, Problem, Request, ToolCall, Usage
from kimi_mitm.wire import FORMATS, AnswerReader, Target, WireError

USAGE = {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13}
KNOWN = Usage(input_tokens=10, output_tokens=3, total_tokens=13)


def read(*documents: Any, form: str = "openai.chat", headers: dict[str, str] | None = None) -> Answer:
    reader = AnswerReader(FORMATS[form], 200, headers or {})
    for each in documents:
        reader.feed(b"data: " + json.dumps(each).encode() + b"\n\n")
    reader.feed(b"data: [DONE]\n\n")
    return reader.finish()


def chunk(delta: Any = None, **more: Any) -> dict[str, Any]:
    """A chunk as OpenAI writes it; `more` goes into the choice."""
    choice = {"index": 0, "delta": delta or {}, "finish_reason": None, **more}
    return {"id": "c1", "object": "chat.completion.chunk", "model": "m1", "choices": [choice], "usage": None}


def request(doc: Any, form: str = "openai.chat", path: str = "/v1/chat/completions") -> Request:
    return FORMATS[form].read_request(json.dumps(doc).encode(), Target(path=path))


def test_a_stream_with_its_usage_in_a_last_chunk_without_choices() -> None:
    answer = read(
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "Hel"}),
        chunk({"content": "lo"}),
        chunk({}, finish_reason="stop"),
        {"id": "c1", "model": "m1", "choices": [], "usage": USAGE},
    )
    assert answer == Answer(
        response_id="c1",
        response_model="m1",
        usage=KNOWN,
        finish_reason="stop",
        text="Hello",
        streamed=True,
        complete=True,
    )


def test_azures_first_chunk_names_nothing() -> None:
    first = {"id": "", "model": "", "choices": [], "prompt_filter_results": [{"prompt_index": 0}]}
    answer = read(first, chunk({"content": "x"}))
    assert (answer.response_id, answer.response_model) == ("c1", "m1")


@pytest.mark.parametrize(
    ("base", "problem"),
    [
        ({"status_code": 1004, "status_msg": "login fail"}, Problem("1004", "login fail")),
        ({"status_code": 1000}, Problem("1000", "no message")),
        ({"status_code": 0, "status_msg": ""}, None),
        ({"status_code": True}, None),
        (None, None),
        ("x", None),
    ],
)
def test_minimax_tells_its_errors_under_status_200(base: Any, problem: Problem | None) -> None:
    assert read({"id": "1", "choices": None, "usage": None, "base_resp": base}).problem == problem


def test_groqs_usage_is_in_an_object_of_its_own() -> None:
    assert read({**chunk(), "x_groq": {"id": "req_1", "usage": USAGE}}).usage == KNOWN


def test_moonshots_usage_is_in_the_choice() -> None:
    assert read(chunk({}, finish_reason="stop", usage=USAGE)).usage == KNOWN


def test_databricks_nulls_between_usages_change_nothing() -> None:
    first, second = {**chunk(), "usage": {**USAGE, "completion_tokens": 1}}, {**chunk(), "usage": USAGE}
    nulls = {**chunk(), "usage": {"prompt_tokens": None, "completion_tokens": None, "total_tokens": None}}
    assert read(first, nulls, second, nulls, chunk()).usage == KNOWN


def test_perplexity_repeats_its_usage_and_the_last_stands() -> None:
    chunks = [
        {**chunk(), "usage": {"prompt_tokens": 10, "completion_tokens": n, "total_tokens": 10 + n}}
        for n in (1, 2, 3)
    ]
    assert read(*chunks).usage == KNOWN


def test_cloudflare_wraps_the_answer() -> None:
    message = {"role": "assistant", "content": {"answer": 42}}
    wrapped = {
        "result": {"id": "c1", "choices": [{"message": message, "finish_reason": "stop"}], "usage": USAGE},
        "success": True,
        "errors": [],
    }
    answer = read(wrapped)
    assert (answer.text, answer.usage, answer.finish_reason) == ('{"answer":42}', KNOWN, "stop")
    assert answer.problem is None


def test_cloudflares_own_form_is_read() -> None:
    answer = read({"result": {"response": "hi", "usage": USAGE}, "success": True})
    assert (answer.text, answer.usage) == ("hi", KNOWN)


def test_content_may_come_in_parts() -> None:
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "mm"}]},
        {"type": "text", "text": "yes"},
        "!",
    ]
    answer = read(chunk({"content": parts}))
    assert (answer.reasoning, answer.text) == ("hmmm", "yes!")


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "reasoning_text", "thinking"])
def test_reasoning_has_many_names(name: str) -> None:
    reader = AnswerReader(FORMATS["openai.chat"], 200, {})
    reader.feed(
        b"data: " + json.dumps(chunk({"role": "assistant", "content": None, name: "hm"})).encode() + b"\n\n"
    )
    assert reader.started
    assert reader.answer().reasoning == "hm"


def test_tool_calls_in_pieces_are_put_together() -> None:
    def piece(index: int, **function: str) -> dict[str, Any]:
        return chunk(
            {
                "tool_calls": [
                    {"index": index, "id": f"t{index}" if "name" in function else None, "function": function}
                ]
            }
        )

    answer = read(
        piece(0, name="look", arguments=""),
        piece(0, arguments='{"a":'),
        piece(0, arguments="1}"),
        piece(1, name="find", arguments="{}"),
        chunk({}, finish_reason="tool_calls"),
    )
    assert answer.tool_calls == (ToolCall("look", '{"a":1}', "t0"), ToolCall("find", "{}", "t1"))
    assert answer.finish_reason == "tool_calls"


def test_tool_calls_without_an_index_are_told_apart_by_id() -> None:
    calls = [{"id": each, "function": {"name": each, "arguments": {"x": each}}} for each in ("a", "b")]
    assert read(chunk({"content": None, "role": "assistant", "tool_calls": calls})).tool_calls == (
        ToolCall("a", '{"x":"a"}', "a"),
        ToolCall("b", '{"x":"b"}', "b"),
    )


def test_the_legacy_function_call_is_a_tool_call() -> None:
    answer = read(
        chunk({"content": None, "role": "assistant", "function_call": {"name": "f", "arguments": '{"a"'}}),
        chunk({"content": None, "role": "assistant", "function_call": {"arguments": ":1}"}}),
    )
    assert answer.tool_calls == (ToolCall("f", '{"a":1}'),)


def test_refusals_and_spoken_answers_are_text() -> None:
    assert read(chunk({"role": "assistant", "content": None, "refusal": "no"})).text == "no"
    spoken = {"role": "assistant", "content": None, "audio": {"transcript": "hi", "data": "AAAA"}}
    assert read(chunk(spoken)).text == "hi"


def test_an_error_in_mid_stream_stands_beside_the_usage() -> None:
    answer = read(
        chunk({"content": "x"}),
        {
            **chunk({"content": ""}, finish_reason="error"),
            "error": {"code": 502, "message": "gone"},
            "usage": USAGE,
        },
    )
    assert answer.problem == Problem("502", "gone")
    assert (answer.usage, answer.text) == (KNOWN, "x")


def test_an_error_inside_a_choice_is_the_answers() -> None:
    answer = read(chunk({}, finish_reason="error", error={"code": 429, "message": "slow"}))
    assert answer.problem == Problem("429", "slow")


def test_groqs_error_event_is_the_answers() -> None:
    reader = AnswerReader(FORMATS["openai.chat"], 200, {})
    reader.feed(b'data: {"choices": [{"delta": {"content": "a"}}]}\n\n')
    reader.feed(
        b'event: error\ndata: {"error": {"message": "bad call", "type": "invalid_request_error"}}\n\n'
    )
    assert reader.finish().problem == Problem("invalid_request_error", "bad call")


def test_googles_thinking_is_found_in_the_total() -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 113}
    answer = read({**chunk(), "model": "gemini-2.5-flash", "usage": usage})
    assert answer.usage == Usage(input_tokens=10, output_tokens=103, reasoning_tokens=100, total_tokens=113)


def test_counts_in_headers_stand_in_for_a_missing_usage() -> None:
    headers = {"x-prompt-tokens": "10", "x-generated-tokens": "3"}
    assert read(chunk(), headers=headers).usage == Usage(input_tokens=10, output_tokens=3, total_tokens=13)
    assert read({**chunk(), "usage": USAGE}, headers={"x-prompt-tokens": "99"}).usage == KNOWN


def test_an_answer_with_several_choices_ends_as_the_first_does() -> None:
    choices = [
        {"index": 1, "message": {"content": "b"}, "finish_reason": "length"},
        {"index": 0, "message": {"content": "a"}, "finish_reason": "stop"},
    ]
    assert read({"choices": choices}).finish_reason == "stop"


def test_a_cut_stream_says_so_unless_it_had_ended() -> None:
    def cut(*documents: Any) -> Answer:
        reader = AnswerReader(FORMATS["openai.chat"], 200, {})
        for each in documents:
            reader.feed(b"data: " + json.dumps(each).encode() + b"\n\n")
        return reader.finish(aborted="Client disconnected.")

    broken = cut(chunk({"content": "a"}))
    assert broken.problem == Problem("aborted", "Client disconnected.")
    assert not broken.complete
    assert cut(chunk({"content": "a"}), chunk({}, finish_reason="stop")).problem is None


def test_completions_are_read_too() -> None:
    answer = read(
        {"id": "x", "model": "m", "choices": [{"text": "a", "index": 0}]},
        {"id": "x", "choices": [{"text": "b", "index": 0, "finish_reason": "length"}], "usage": USAGE},
        form="openai.completions",
    )
    assert (answer.text, answer.finish_reason, answer.usage) == ("ab", "length", KNOWN)


def test_a_requests_settings_are_read() -> None:
    found = request(
        {
            "model": "gpt",
            "messages": [{"role": "user", "content": "x"}] * 3,
            "tools": [{}, {}],
            "stream": True,
            "max_completion_tokens": 5,
            "response_format": {"type": "json_schema"},
        }
    )
    assert found == Request(
        model="gpt", stream=True, max_output_tokens=5, output_schema=True, tool_count=2, message_count=3
    )


@pytest.mark.parametrize(
    ("part", "hidden"),
    [
        ({"type": "image_url", "image_url": {"url": "https://x/y.png"}}, True),
        ({"type": "image_url", "image_url": "https://x/y.png"}, True),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}, False),
        ({"type": "file", "file": {"file_id": "f1"}}, True),
        ({"type": "text", "text": "https://x"}, False),
    ],
)
def test_media_that_the_provider_fetches_is_hidden(part: Any, hidden: bool) -> None:
    found = request({"messages": [{"role": "user", "content": [part]}]})
    assert ("remote_media" in found.hidden) is hidden


def test_searching_for_the_answer_adds_to_the_prompt_unseen() -> None:
    assert request({"web_search_options": {}}).hidden == {"server_tools"}
    assert request({"web_search_options": None}).hidden == frozenset()


@pytest.mark.parametrize(
    ("doc", "path", "fim"),
    [
        ({"prompt": "a", "suffix": "b"}, "/v1/completions", True),
        ({"prompt": "a"}, "/v1/fim/completions", True),
        ({"prompt": "a", "suffix": ""}, "/v1/completions", False),
    ],
)
def test_filling_in_the_middle_is_noticed(doc: Any, path: str, fim: bool) -> None:
    assert request(doc, "openai.completions", path).fim is fim


def test_prompts_of_completions_are_counted() -> None:
    assert request({"prompt": ["a", "b"]}, "openai.completions").message_count == 2
    assert request({"prompt": "a"}, "openai.completions").message_count == 1


def test_an_embedding_has_no_output() -> None:
    doc = {"object": "list", "model": "e", "data": [], "usage": {"prompt_tokens": 8, "total_tokens": 8}}
    answer = read(doc, form="openai.embeddings")
    assert answer.usage == Usage(input_tokens=8, total_tokens=8)
    assert read({"usage": {"total_tokens": 8}}, form="openai.embeddings").usage.input_tokens == 8


def test_embedded_texts_are_counted() -> None:
    assert request({"model": "e", "input": ["a", "b"]}, "openai.embeddings").message_count == 2
    assert request({"model": "e", "input": "a"}, "openai.embeddings").message_count == 1


def test_a_body_that_is_no_object_is_a_wire_error() -> None:
    with pytest.raises(WireError):
        request([1])
