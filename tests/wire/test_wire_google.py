"""generateContent and embedContent: AI Studio, Vertex AI, Code Assist; streams as events and as arrays."""

from __future__ import annotations

import json
from typing import Any

import pytest
from answers import answer, request, sse, whole
from hypothesis import given
from hypothesis import strategies as st

from kimi_mitm.records import ToolCall, Usage
from kimi_mitm.wire.google import EMBED_CONTENT, GENERATE_CONTENT

SSE = "text/event-stream"


def chunk(
    text: str | None = None, reason: str | None = None, usage: Any = None, **part: Any
) -> dict[str, Any]:
    parts = [{"text": text, **part}]
    candidate = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if reason:
        candidate["finishReason"] = reason
    doc: dict[str, Any] = {"candidates": [candidate], "modelVersion": "gemini-3-pro", "responseId": "r1"}
    return doc if usage is None else {**doc, "usageMetadata": usage}


STREAM = [
    chunk("Let me see", usage={"promptTokenCount": 7, "totalTokenCount": 7}, thought=True),
    chunk("Hello", usage={"promptTokenCount": 7, "candidatesTokenCount": 1, "totalTokenCount": 20}),
    chunk(
        " there",
        "STOP",
        {
            "promptTokenCount": 7,
            "candidatesTokenCount": 2,
            "thoughtsTokenCount": 12,
            "cachedContentTokenCount": 4,
            "totalTokenCount": 21,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 7}],
        },
    ),
]
USAGE = Usage(input_tokens=7, output_tokens=14, cache_read_tokens=4, reasoning_tokens=12, total_tokens=21)


def array(docs: list[Any]) -> bytes:
    return b"[" + b"\n,\r\n".join(json.dumps(doc, indent=2).encode() for doc in docs) + b"\n]\n"


@pytest.mark.parametrize("piece", [1, 5, None])
@pytest.mark.parametrize(("data", "kind"), [(sse(STREAM), SSE), (array(STREAM), "application/json")])
def test_a_stream_as_events_or_as_an_array_is_the_same_answer(
    data: bytes, kind: str, piece: int | None
) -> None:
    found = answer(GENERATE_CONTENT, data, kind, piece=piece)
    assert found.usage == USAGE
    assert (found.text, found.reasoning) == ("Hello there", "Let me see")
    assert (found.response_id, found.response_model, found.finish_reason) == ("r1", "gemini-3-pro", "STOP")
    assert found.streamed
    assert found.complete
    assert found.problem is None


@pytest.mark.parametrize("data", [sse(STREAM[:2]), array(STREAM)[:-300]])
def test_a_cut_stream_is_not_complete_and_keeps_what_was_seen(data: bytes) -> None:
    found = answer(GENERATE_CONTENT, data, SSE, aborted="the client went away")
    assert not found.complete
    assert found.text == "Hello"
    assert found.usage.input_tokens == 7
    assert found.problem is not None
    assert found.problem.type == "aborted"


def test_code_assist_wraps_everything_in_response() -> None:
    docs = [{"response": doc, "traceId": "t1"} for doc in STREAM]
    found = answer(GENERATE_CONTENT, sse(docs), SSE)
    assert found.usage == USAGE
    assert (found.text, found.response_id, found.complete) == ("Hello there", "r1", True)


def test_code_assist_without_a_response_id_has_its_trace_id() -> None:
    found = whole(GENERATE_CONTENT, {"response": {"candidates": []}, "traceId": "t1"})
    assert found.response_id == "t1"


@pytest.mark.parametrize(
    ("stated", "usage"),
    [
        ({"trafficType": "ON_DEMAND"}, Usage()),
        ({"promptTokenCount": 5, "totalTokenCount": 5}, Usage(input_tokens=5, total_tokens=5)),
        (
            {"promptTokenCount": 5, "thoughtsTokenCount": 9, "totalTokenCount": 14},
            Usage(input_tokens=5, output_tokens=9, reasoning_tokens=9, total_tokens=14),
        ),
        (
            {"promptTokenCount": 27, "toolUsePromptTokenCount": 118, "candidatesTokenCount": 56},
            Usage(input_tokens=145, output_tokens=56, total_tokens=201),
        ),
        (
            {"prompt_token_count": 5, "candidates_token_count": 1},
            Usage(input_tokens=5, output_tokens=1, total_tokens=6),
        ),
        ({"promptTokenCount": True, "candidatesTokenCount": "4", "totalTokenCount": -1}, Usage()),
        ("none", Usage()),
    ],
)
def test_usage(stated: Any, usage: Usage) -> None:
    assert whole(GENERATE_CONTENT, chunk("a", "STOP", stated)).usage == usage


def test_function_calls_are_tool_calls() -> None:
    parts = [
        {"functionCall": {"name": "f", "args": {"x": 1}, "id": "c1"}},
        {"functionCall": {"name": "g", "args": {}}},
    ]
    found = whole(GENERATE_CONTENT, {"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}]})
    assert found.tool_calls == (ToolCall("f", '{"x":1}', "c1"), ToolCall("g", "{}"))


def test_only_the_first_candidate_makes_the_text() -> None:
    docs = [
        chunk("a"),
        {"candidates": [{"index": 1, "content": {"parts": [{"text": "b"}]}}]},
        chunk("c", "STOP"),
    ]
    assert answer(GENERATE_CONTENT, sse(docs), SSE).text == "ac"


def test_a_blocked_prompt_is_complete_and_finished_by_the_block() -> None:
    found = whole(
        GENERATE_CONTENT,
        {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 6}},
    )
    assert (found.finish_reason, found.complete, found.usage.input_tokens) == ("SAFETY", True, 6)


ERROR = {"error": {"code": 429, "message": "Quota exceeded", "status": "RESOURCE_EXHAUSTED"}}


@pytest.mark.parametrize("doc", [ERROR, [ERROR]])
def test_an_error_answer_alone_or_in_an_array(doc: Any) -> None:
    found = whole(GENERATE_CONTENT, doc, status=429)
    assert found.problem is not None
    assert (found.problem.type, found.problem.message) == ("RESOURCE_EXHAUSTED", "Quota exceeded")
    assert found.usage == Usage()


def test_an_error_in_mid_stream_keeps_what_came_before() -> None:
    found = answer(GENERATE_CONTENT, sse([STREAM[1], ERROR]), SSE)
    assert found.problem is not None
    assert found.problem.type == "RESOURCE_EXHAUSTED"
    assert found.usage.output_tokens == 1


def test_a_page_instead_of_an_answer_is_a_problem() -> None:
    found = answer(GENERATE_CONTENT, b"<html><title>502 Bad Gateway</title></html>", "text/html", status=502)
    assert found.problem is not None
    assert found.problem.type == "http_502"


@pytest.mark.parametrize(
    ("path", "model", "stream"),
    [
        ("/v1beta/models/gemini-2.5-flash:generateContent", "gemini-2.5-flash", False),
        ("/v1/models/gemini-2.5-flash:streamGenerateContent", "gemini-2.5-flash", True),
        (
            "/v1/projects/p/locations/l/publishers/google/models/gemini-3-pro:streamGenerateContent",
            "gemini-3-pro",
            True,
        ),
        ("/v1/publishers/google/models/gemini-3-pro:generateContent", "gemini-3-pro", False),
        ("/v1beta/tunedModels/mine-1:generateContent", "tunedModels/mine-1", False),
        ("/v1/projects/p/locations/l/endpoints/123:streamGenerateContent", "endpoints/123", True),
        ("/proxy/gemini/v1beta/models/google/gemini-3-pro:generateContent", "google/gemini-3-pro", False),
        ("/v1beta/models/gemini-2.5-pro%3AgenerateContent", "gemini-2.5-pro", False),
        ("/v1internal:streamGenerateContent", None, True),
        ("/elsewhere", None, False),
    ],
)
def test_the_model_stands_in_the_path(path: str, model: str | None, stream: bool) -> None:
    found = request(GENERATE_CONTENT, {"contents": []}, path)
    assert (found.model, found.stream) == (model, stream)


def test_the_path_is_read_even_where_the_body_cannot_be() -> None:
    found = request(GENERATE_CONTENT, b'{"contents": [', "/v1beta/models/m:streamGenerateContent")
    assert (found.model, found.stream) == ("m", True)
    assert found.hidden == {"partial_body"}


BODY = {
    "contents": [{"role": "user", "parts": [{"text": "hi"}]}, {"role": "model", "parts": [{"text": "yo"}]}],
    "tools": [{"functionDeclarations": [{"name": "a"}, {"name": "b"}]}],
    "generationConfig": {"maxOutputTokens": 99, "responseSchema": {"type": "OBJECT"}},
}


def test_a_request_says_what_is_in_it() -> None:
    found = request(GENERATE_CONTENT, BODY, "/v1beta/models/m:generateContent")
    assert (found.message_count, found.tool_count, found.max_output_tokens) == (2, 2, 99)
    assert found.output_schema
    assert not found.hidden


def test_a_code_assist_request_is_read_inside_its_wrapper() -> None:
    found = request(
        GENERATE_CONTENT, {"model": "gemini-3-pro", "request": BODY}, "/v1internal:generateContent"
    )
    assert (found.model, found.message_count, found.tool_count) == ("gemini-3-pro", 2, 2)


@pytest.mark.parametrize(
    ("extra", "hidden"),
    [
        ({"cachedContent": "cachedContents/1"}, {"cached_content"}),
        ({"cached_content": "cachedContents/1"}, {"cached_content"}),
        ({"tools": [{"googleSearch": {}}]}, {"server_tools"}),
        ({"tools": [{"computerUse": {}}]}, set()),
        ({"contents": {"parts": [{"fileData": {"fileUri": "gs://a/b"}}]}}, {"remote_media"}),
        ({"contents": [{"parts": [{"inlineData": {"data": ""}}]}]}, set()),
    ],
)
def test_what_the_request_hides_of_its_prompt(extra: dict[str, Any], hidden: set[str]) -> None:
    assert request(GENERATE_CONTENT, {**BODY, **extra}, "/v1beta/models/m:generateContent").hidden == hidden


@pytest.mark.parametrize(
    ("doc", "tokens"),
    [
        ({"embedding": {"values": [0.1]}}, None),
        ({"embeddings": [{"values": []}], "usageMetadata": {"promptTokenCount": 4}}, 4),
        ({"embedding": {"values": [], "statistics": {"tokenCount": 3.0}}}, 3),
        ({"embeddings": [{"statistics": {"tokenCount": 3}}, {"statistics": {"tokenCount": 4}}]}, 7),
    ],
)
def test_an_embedding_costs_only_its_prompt(doc: Any, tokens: int | None) -> None:
    found = whole(EMBED_CONTENT, doc)
    assert found.usage == Usage(input_tokens=tokens)
    assert found.complete


def test_a_batch_of_embeddings_names_its_model_in_the_path() -> None:
    doc = {"requests": [{"model": "models/e-1", "content": {}}]}
    assert request(EMBED_CONTENT, doc, "/v1beta/models/e-2:batchEmbedContents").model == "e-2"
    assert request(EMBED_CONTENT, doc, "/v1beta/other:batchEmbedContents").model == "e-1"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "candidates",
                    "content",
                    "parts",
                    "response",
                    "usageMetadata",
                    "index",
                    "functionCall",
                    "text",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_no_document_raises(doc: Any) -> None:
    reader = GENERATE_CONTENT.reader(200, {})
    reader.document(None, doc)
    reader.answer()


@given(JSON)
def test_no_request_raises(doc: Any) -> None:
    request(GENERATE_CONTENT, doc, "/v1beta/models/m:generateContent")
    request(EMBED_CONTENT, doc, "/v1beta/models/m:embedContent")
