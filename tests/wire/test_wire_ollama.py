"""Ollama's own API: lines, whole answers, embeddings."""

from __future__ import annotations

from typing import Any

import pytest
from answers import answer, ndjson, request, whole

from kimi_mitm.records import ToolCall, Usage
from kimi_mitm.wire.ollama import CHAT, EMBED, GENERATE

LAST = {"model": "llama3", "done": True, "done_reason": "stop", "prompt_eval_count": 17, "eval_count": 63}
CALL = {"function": {"name": "f", "arguments": {"a": 1}}}
CHAT_LINES = [
    {"model": "llama3", "message": {"role": "assistant", "content": "", "thinking": "hm"}, "done": False},
    {"model": "llama3", "message": {"role": "assistant", "content": "Hel"}, "done": False},
    {
        "model": "llama3",
        "message": {"role": "assistant", "content": "lo", "tool_calls": [CALL]},
        "done": False,
    },
    {**LAST, "message": {"role": "assistant", "content": ""}},
]
GENERATE_LINES = [
    {"model": "llama3", "response": "", "thinking": "hm", "done": False},
    {"model": "llama3", "response": "Hello", "done": False},
    {**LAST, "response": "", "context": [1, 2]},
]
READ = Usage(input_tokens=17, output_tokens=63, total_tokens=80)


@pytest.mark.parametrize("piece", [1, 30, None])
@pytest.mark.parametrize(("row", "lines"), [(CHAT, CHAT_LINES), (GENERATE, GENERATE_LINES)])
def test_a_stream_of_lines(row: Any, lines: Any, piece: int | None) -> None:
    found = answer(row, ndjson(lines), "application/x-ndjson", piece=piece)
    assert found.usage == READ
    assert (found.text, found.reasoning, found.finish_reason) == ("Hello", "hm", "stop")
    assert found.response_model == "llama3"
    assert found.streamed
    assert found.complete


def test_tool_calls() -> None:
    assert answer(CHAT, ndjson(CHAT_LINES)).tool_calls == (ToolCall("f", '{"a":1}'),)


@pytest.mark.parametrize(("row", "lines"), [(CHAT, CHAT_LINES), (GENERATE, GENERATE_LINES)])
def test_a_stream_without_its_last_line_is_not_complete(row: Any, lines: Any) -> None:
    found = answer(row, ndjson(lines[:-1]), "application/x-ndjson", aborted="cut")
    assert not found.complete
    assert found.text == "Hello"
    assert found.usage == Usage()


def test_a_damaged_line_costs_only_itself() -> None:
    data = ndjson(CHAT_LINES[:2]) + b'{"model": "llama3", "mess\n' + ndjson(CHAT_LINES[2:])
    assert answer(CHAT, data, "application/x-ndjson").usage == READ


def test_a_whole_answer() -> None:
    found = whole(CHAT, {**LAST, "message": {"role": "assistant", "content": "Hello"}})
    assert (found.text, found.usage, found.streamed) == ("Hello", READ, False)


def test_a_cached_prompt_goes_without_its_count() -> None:
    found = whole(CHAT, {"model": "m", "done": True, "message": {"content": "a"}, "eval_count": 3})
    assert found.usage == Usage(output_tokens=3)


def test_an_error_answer() -> None:
    found = whole(CHAT, {"error": "model 'x' not found"}, 404)
    assert found.problem is not None
    assert (found.problem.type, found.problem.message) == ("http_404", "model 'x' not found")


def test_an_error_in_mid_stream() -> None:
    found = answer(CHAT, ndjson([*CHAT_LINES[:2], {"error": "out of memory"}]), "application/x-ndjson")
    assert found.problem is not None
    assert found.problem.message == "out of memory"


@pytest.mark.parametrize(
    ("doc", "usage", "model"),
    [
        ({"embedding": [0.1]}, Usage(), None),
        ({"model": "m", "embeddings": [[0.1]], "prompt_eval_count": 8}, Usage(input_tokens=8), "m"),
    ],
)
def test_embeddings(doc: Any, usage: Usage, model: str | None) -> None:
    found = whole(EMBED, doc)
    assert (found.usage, found.response_model, found.complete) == (usage, model, True)


@pytest.mark.parametrize(
    ("stated", "stream"), [({}, True), ({"stream": None}, True), ({"stream": False}, False)]
)
def test_ollama_streams_unless_it_is_told_not_to(stated: Any, stream: bool) -> None:
    assert request(CHAT, {"model": "m", "messages": [{}], **stated}).stream is stream
    assert request(GENERATE, {"model": "m", "prompt": "x", **stated}).stream is stream
    assert request(EMBED, {"model": "m", "input": "x", **stated}).stream is False


def test_a_chat_request() -> None:
    doc = {
        "model": "m",
        "messages": [{"role": "user", "content": "x"}],
        "tools": [{}],
        "format": {"type": "object"},
        "options": {"num_predict": 5},
    }
    found = request(CHAT, doc)
    assert (found.model, found.message_count, found.tool_count, found.max_output_tokens) == ("m", 1, 1, 5)
    assert found.output_schema
    assert found.generates


@pytest.mark.parametrize(
    ("row", "doc"), [(CHAT, {"messages": []}), (GENERATE, {"prompt": ""}), (GENERATE, {})]
)
def test_without_a_prompt_the_model_is_only_loaded(row: Any, doc: Any) -> None:
    assert not request(row, {"model": "m", **doc}).generates


def test_completion_in_the_middle() -> None:
    assert request(GENERATE, {"model": "m", "prompt": "a", "suffix": "b"}).fim


def test_an_earlier_context_is_hidden_in_numbers() -> None:
    assert request(GENERATE, {"model": "m", "prompt": "a", "context": [1, 2]}).hidden == {"conversation"}
    assert not request(GENERATE, {"model": "m", "prompt": "a", "context": []}).hidden
