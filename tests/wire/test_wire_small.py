"""Formats of one or two paths each: Voyage, watsonx, Writer, Aleph Alpha."""

from __future__ import annotations

from typing import Any

import pytest
from answers import answer, request, sse, whole
from hypothesis import given
from hypothesis import strategies as st

from kimi_mitm.records import Operation, Usage
from kimi_mitm.wire import FORMATS, alephalpha, voyage, watsonx, writer
from kimi_mitm.wire.format import WireError

SSE = "text/event-stream"


def test_voyage_states_a_total_which_is_the_input() -> None:
    found = whole(
        voyage.EMBED, {"object": "list", "data": [], "model": "voyage-3", "usage": {"total_tokens": 12}}
    )
    assert found.usage == Usage(input_tokens=12, total_tokens=12)
    assert (found.response_model, found.complete) == ("voyage-3", True)
    assert request(voyage.EMBED, {"model": "voyage-3", "input": ["a"]}).model == "voyage-3"


def generated(text: str, tokens: int, read: int, reason: str) -> dict[str, Any]:
    result = {
        "generated_text": text,
        "generated_token_count": tokens,
        "input_token_count": read,
        "stop_reason": reason,
    }
    return {"model_id": "google/flan-ul2", "results": [result]}


GENERATION = [
    generated("", 0, 8, "not_finished"),
    generated("Hel", 1, 0, "not_finished"),
    generated("lo", 2, 0, "eos_token"),
]


def test_a_watsonx_generation() -> None:
    found = whole(watsonx.WATSONX, generated("2", 2, 7, "eos_token"))
    assert found.usage == Usage(input_tokens=7, output_tokens=2, total_tokens=9)
    assert (found.text, found.finish_reason, found.response_model) == ("2", "eos_token", "google/flan-ul2")
    assert found.complete


@pytest.mark.parametrize("piece", [1, None])
def test_a_watsonx_stream_states_its_input_once_and_its_output_growing(piece: int | None) -> None:
    found = answer(watsonx.WATSONX, sse(GENERATION), SSE, piece=piece)
    assert found.usage == Usage(input_tokens=8, output_tokens=2, total_tokens=10)
    assert (found.text, found.finish_reason, found.complete) == ("Hello", "eos_token", True)


def test_a_watsonx_stream_without_its_end_is_not_complete() -> None:
    assert not answer(watsonx.WATSONX, sse(GENERATION[:2]), SSE, aborted="cut").complete


def test_a_watsonx_chat_is_openais() -> None:
    doc = {
        "id": "chat-1",
        "model_id": "ibm/granite",
        "choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
    }
    found = whole(watsonx.WATSONX, doc)
    assert found.usage == Usage(input_tokens=3, output_tokens=1, total_tokens=4)
    assert (found.text, found.response_model, found.response_id) == ("Hi", "ibm/granite", "chat-1")


def test_a_watsonx_embedding() -> None:
    found = whole(watsonx.WATSONX, {"model_id": "m", "results": [{"embedding": []}], "input_token_count": 9})
    assert (found.usage, found.complete) == (Usage(input_tokens=9), True)


def test_a_watsonx_error() -> None:
    doc = {
        "errors": [{"code": "token_quota_reached", "message": "no more"}],
        "trace": "t",
        "status_code": 403,
    }
    found = whole(watsonx.WATSONX, doc, 403)
    assert found.problem is not None
    assert (found.problem.type, found.problem.message) == ("token_quota_reached", "no more")


@pytest.mark.parametrize(
    ("path", "stream", "operation"),
    [
        ("/ml/v1/text/generation", False, None),
        ("/ml/v1-beta/generation/text_stream", True, None),
        ("/ml/v1/text/chat_stream", True, Operation.CHAT),
        ("/ml/v1/text/embeddings", False, Operation.EMBEDDINGS),
    ],
)
def test_the_watsonx_path_tells_what_is_asked_for(
    path: str, stream: bool, operation: Operation | None
) -> None:
    doc = {"model_id": "m", "input": "x", "parameters": {"max_new_tokens": 5}}
    found = request(watsonx.WATSONX, doc, path)
    assert (found.model, found.stream, found.operation, found.max_output_tokens) == (
        "m",
        stream,
        operation,
        5,
    )


def test_writers_chunks_repeat_their_delta_as_message() -> None:
    def piece(content: str | None, reason: str | None = None) -> dict[str, Any]:
        said = {"content": content, "role": "assistant"}
        return {
            "id": "w",
            "model": "palmyra-x4",
            "choices": [{"delta": said, "message": said, "finish_reason": reason}],
        }

    usage = {
        "prompt_tokens": 40,
        "completion_tokens": 3,
        "total_tokens": 43,
        "prompt_token_details": {"cached_tokens": 8},
        "completion_token_details": {"reasoning_tokens": 1},
    }
    docs = [piece("Hel"), piece("lo"), piece(None, "stop"), {"id": "w", "choices": [], "usage": usage}]
    found = answer(writer.CHAT, sse(docs), SSE)
    assert found.text == "Hello"
    assert found.usage == Usage(
        input_tokens=40, output_tokens=3, cache_read_tokens=8, reasoning_tokens=1, total_tokens=43
    )


COMPLETION = {
    "model_version": "2022-04",
    "completions": [{"completion": "Hello", "finish_reason": "maximum_tokens"}],
    "num_tokens_prompt_total": 9,
    "num_tokens_generated": 5,
}
COMPLETION_EVENTS = [
    {"type": "stream_chunk", "index": 0, "completion": "Hel"},
    {"type": "stream_chunk", "index": 0, "completion": "lo"},
    {"type": "stream_summary", "index": 0, "model_version": "2022-04", "finish_reason": "maximum_tokens"},
    {"type": "completion_summary", "num_tokens_prompt_total": 9, "num_tokens_generated": 5},
]


@pytest.mark.parametrize(
    ("data", "kind"), [(sse([COMPLETION])[6:], "application/json"), (sse(COMPLETION_EVENTS), SSE)]
)
def test_an_aleph_alpha_completion(data: bytes, kind: str) -> None:
    found = answer(alephalpha.COMPLETE, data, kind)
    assert found.usage == Usage(input_tokens=9, output_tokens=5, total_tokens=14)
    assert (found.text, found.finish_reason, found.response_model) == ("Hello", "maximum_tokens", "2022-04")
    assert found.complete


def test_an_aleph_alpha_stream_without_its_end_is_not_complete() -> None:
    assert not answer(alephalpha.COMPLETE, sse(COMPLETION_EVENTS[:3]), SSE, aborted="cut").complete


def test_an_aleph_alpha_request() -> None:
    doc = {"model": "luminous-base", "prompt": [{"type": "text", "data": "x"}], "maximum_tokens": 7}
    found = request(alephalpha.COMPLETE, doc, "/complete")
    assert (found.model, found.max_output_tokens, found.operation) == ("luminous-base", 7, None)
    assert request(alephalpha.COMPLETE, doc, "/semantic_embed").operation is Operation.EMBEDDINGS


@pytest.mark.parametrize("data", [b"", b"[]", b"nope", b"\xff\xfe", b"[" * 100_000])
@pytest.mark.parametrize(
    "name", ["voyage.embed", "watsonx", "writer.chat", "alephalpha", "ollama.chat", "cohere.chat"]
)
def test_a_body_that_is_no_object_is_the_formats_own_error(name: str, data: bytes) -> None:
    with pytest.raises(WireError):
        request(FORMATS[name], data)


@given(
    st.sampled_from(sorted(FORMATS)),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "model",
                        "results",
                        "usage",
                        "completions",
                        "choices",
                        "type",
                        "data",
                        "messages",
                        "input",
                    ]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    ),
)
def test_no_document_of_any_format_raises(name: str, doc: Any) -> None:
    row = FORMATS[name]
    reader = row.reader(200, {})
    reader.document(None, doc)
    reader.answer()
