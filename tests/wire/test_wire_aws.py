"""Bedrock: Converse and InvokeModel, whole and as event streams."""

from __future__ import annotations

from typing import Any

import pytest
from answers import EVENTSTREAM, answer, chunk, event, exception, request, whole
from hypothesis import given
from hypothesis import strategies as st

from kimi_mitm.records import Operation, ToolCall, Usage
from kimi_mitm.wire.answer import AnswerReader
from kimi_mitm.wire.aws import CONVERSE
from kimi_mitm.wire.aws_invoke import INVOKE

USAGE = {
    "inputTokens": 10,
    "outputTokens": 5,
    "totalTokens": 135,
    "cacheReadInputTokens": 100,
    "cacheWriteInputTokens": 20,
}
READ = Usage(
    input_tokens=130, output_tokens=5, cache_read_tokens=100, cache_write_tokens=20, total_tokens=135
)

EVENTS = [
    event("messageStart", {"role": "assistant", "p": "abc"}),
    event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "hm"}}}),
    event("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"text": "Hello"}}),
    event(
        "contentBlockStart", {"contentBlockIndex": 2, "start": {"toolUse": {"toolUseId": "t", "name": "f"}}}
    ),
    event("contentBlockDelta", {"contentBlockIndex": 2, "delta": {"toolUse": {"input": '{"a"'}}}),
    event("contentBlockDelta", {"contentBlockIndex": 2, "delta": {"toolUse": {"input": ": 1}"}}}),
    event("contentBlockStop", {"contentBlockIndex": 2}),
    event("messageStop", {"stopReason": "tool_use"}),
    event("metadata", {"usage": USAGE, "metrics": {"latencyMs": 3}}),
]


@pytest.mark.parametrize("piece", [1, 100, None])
def test_a_converse_stream(piece: int | None) -> None:
    found = answer(CONVERSE, b"".join(EVENTS), EVENTSTREAM, piece=piece)
    assert found.usage == READ
    assert (found.text, found.reasoning, found.finish_reason) == ("Hello", "hm", "tool_use")
    assert found.tool_calls == (ToolCall("f", '{"a": 1}', "t"),)
    assert found.streamed
    assert found.complete


def test_a_converse_stream_without_its_content_type_is_known_by_its_bytes() -> None:
    assert answer(CONVERSE, b"".join(EVENTS), "").usage == READ


def test_a_converse_stream_that_breaks_off_before_its_figures_is_not_complete() -> None:
    found = answer(CONVERSE, b"".join(EVENTS[:-1]), EVENTSTREAM, aborted="cut")
    assert not found.complete
    assert found.usage == Usage()
    assert found.problem is not None
    assert found.problem.type == "aborted"


def test_a_damaged_frame_costs_only_its_own_event() -> None:
    damaged = bytearray(EVENTS[2])
    damaged[-10] ^= 1
    found = answer(CONVERSE, b"".join([*EVENTS[:2], bytes(damaged), *EVENTS[3:]]), EVENTSTREAM)
    assert (found.text, found.usage) == ("", READ)


@pytest.mark.parametrize("row", [CONVERSE, INVOKE])
def test_an_exception_in_mid_stream_is_the_answers_problem(row: Any) -> None:
    data = EVENTS[0] + exception("modelStreamErrorException", "it broke")
    found = answer(row, data, EVENTSTREAM)
    assert found.problem is not None
    assert (found.problem.type, found.problem.message) == ("modelStreamErrorException", "it broke")


@pytest.mark.parametrize("row", [CONVERSE, INVOKE])
def test_an_error_answer_is_named_by_its_header(row: Any) -> None:
    headers = {"x-amzn-errortype": "ValidationException:http://internal.amazon.com/coral/"}
    found = whole(row, {"message": "Input is too long"}, 400, headers)
    assert found.problem is not None
    assert (found.problem.type, found.problem.message) == ("ValidationException", "Input is too long")


def converse(**more: Any) -> dict[str, Any]:
    content = [
        {"reasoningContent": {"reasoningText": {"text": "hm"}}},
        {"text": "Hello"},
        {"toolUse": {"toolUseId": "t", "name": "f", "input": {"a": 1}}},
    ]
    message = {"role": "assistant", "content": content}
    return {"output": {"message": message}, "stopReason": "tool_use", "usage": USAGE, **more}


def test_a_whole_converse_answer() -> None:
    found = whole(CONVERSE, converse())
    assert found.usage == READ
    assert (found.text, found.reasoning, found.finish_reason) == ("Hello", "hm", "tool_use")
    assert found.tool_calls == (ToolCall("f", '{"a":1}', "t"),)
    assert not found.streamed


@pytest.mark.parametrize(
    ("stated", "usage"),
    [
        ({"inputTokens": 3, "outputTokens": 4}, Usage(input_tokens=3, output_tokens=4, total_tokens=7)),
        (
            {"inputTokens": 3, "cacheReadInputTokenCount": 0, "cacheWriteInputTokenCount": 2},
            Usage(input_tokens=5, cache_read_tokens=0, cache_write_tokens=2),
        ),
        (
            {
                "inputTokens": 3,
                "cacheDetails": [{"ttl": "5m", "inputTokens": 2}, {"ttl": "1h", "inputTokens": 4}],
            },
            Usage(input_tokens=9, cache_write_tokens=6),
        ),
        (
            {"inputTokens": 3, "cacheWriteInputTokens": 6, "cacheDetails": [{"ttl": "5m", "inputTokens": 6}]},
            Usage(input_tokens=9, cache_write_tokens=6),
        ),
        ({"cacheReadInputTokens": 3}, Usage(cache_read_tokens=3)),
        ({"inputTokens": "3"}, Usage()),
    ],
)
def test_converse_figures(stated: Any, usage: Usage) -> None:
    assert whole(CONVERSE, converse(usage=stated)).usage == usage


def test_a_guardrails_trace_is_no_usage() -> None:
    trace = {
        "guardrail": {"inputAssessment": {"g": {"invocationMetrics": {"usage": {"topicPolicyUnits": 1}}}}}
    }
    assert whole(CONVERSE, converse(trace=trace)).usage == READ


def test_a_prompt_router_tells_which_model_answered() -> None:
    trace = {"promptRouter": {"invokedModelId": "arn:aws:bedrock:us-east-1::foundation-model/x"}}
    assert whole(CONVERSE, converse(trace=trace)).response_model == trace["promptRouter"]["invokedModelId"]


ARN = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-3-7-sonnet-20250219-v1:0"


@pytest.mark.parametrize("row", [CONVERSE, INVOKE])
@pytest.mark.parametrize(
    ("path", "model", "stream"),
    [
        ("/model/amazon.nova-lite-v1:0/converse", "amazon.nova-lite-v1:0", False),
        ("/model/amazon.nova-lite-v1%3A0/converse-stream", "amazon.nova-lite-v1:0", True),
        (f"/model/{ARN}/invoke", ARN, False),
        (f"/prefix//model/{ARN}/invoke-with-response-stream", ARN, True),
        ("/elsewhere", None, False),
    ],
)
def test_the_model_stands_in_the_path(row: Any, path: str, model: str | None, stream: bool) -> None:
    found = request(row, {"messages": []}, path)
    assert (found.model, found.stream) == (model, stream)
    assert request(row, b"\xff{", path).model == model


def test_a_converse_request_says_what_is_in_it() -> None:
    tools = [{"toolSpec": {"name": "f"}}, {"cachePoint": {"type": "default"}}]
    doc = {
        "messages": [{"role": "user", "content": [{"text": "hi"}]}],
        "inferenceConfig": {"maxTokens": 50},
        "toolConfig": {"tools": tools},
    }
    found = request(CONVERSE, doc, "/model/m/converse")
    assert (found.message_count, found.tool_count, found.max_output_tokens) == (1, 1, 50)
    assert not found.hidden


@pytest.mark.parametrize(
    ("extra", "hidden"),
    [
        ({"promptVariables": {"a": {"text": "b"}}}, {"cached_content"}),
        ({"toolConfig": {"tools": [{"systemTool": {"name": "nova_grounding"}}]}}, {"server_tools"}),
        (
            {"messages": [{"content": [{"image": {"source": {"s3Location": {"uri": "s3://a"}}}}]}]},
            {"remote_media"},
        ),
    ],
)
def test_what_a_converse_request_hides(extra: Any, hidden: set[str]) -> None:
    assert request(CONVERSE, extra, "/model/m/converse").hidden == hidden


def invoke_headers(**counts: int) -> dict[str, str]:
    return {f"x-amzn-bedrock-{name.replace('_', '-')}-token-count": str(n) for name, n in counts.items()}


MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "model": "claude",
    "content": [{"type": "text", "text": "Hi"}],
    "stop_reason": "end_turn",
    "usage": {
        "input_tokens": 4,
        "cache_creation_input_tokens": 18131,
        "cache_read_input_tokens": 0,
        "output_tokens": 50,
    },
}


@pytest.mark.parametrize(
    ("doc", "text", "reason", "figures"),
    [
        (MESSAGE, "Hi", "end_turn", (18135, 50)),
        ({"completion": " Hi", "stop_reason": "stop_sequence"}, " Hi", "stop_sequence", (None, None)),
        (
            {
                "inputTextTokenCount": 28.0,
                "results": [{"tokenCount": 3.0, "outputText": "Hi", "completionReason": "FINISH"}],
            },
            "Hi",
            "FINISH",
            (28, 3),
        ),
        (
            {
                "generation": "Hi",
                "prompt_token_count": 15,
                "generation_token_count": 2,
                "stop_reason": "length",
            },
            "Hi",
            "length",
            (15, 2),
        ),
        ({"outputs": [{"text": "Hi", "stop_reason": "stop"}]}, "Hi", "stop", (None, None)),
        ({"choices": [{"text": "Hi", "stop_reason": "stop"}]}, "Hi", "stop", (None, None)),
        (
            {
                "choices": [
                    {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "stop_reason": "stop"}
                ]
            },
            "Hi",
            "stop",
            (None, None),
        ),
        (
            {
                "id": "c1",
                "choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10},
            },
            "Hi",
            "stop",
            (9, 1),
        ),
        (
            {"id": 1, "completions": [{"data": {"text": "Hi"}, "finishReason": {"reason": "end"}}]},
            "Hi",
            "end",
            (None, None),
        ),
        (
            {"id": "g", "generations": [{"text": "Hi", "finish_reason": "COMPLETE"}]},
            "Hi",
            "COMPLETE",
            (None, None),
        ),
        (
            {
                "response_id": "r",
                "generation_id": "g",
                "text": "Hi",
                "finish_reason": "COMPLETE",
                "chat_history": [],
            },
            "Hi",
            "COMPLETE",
            (None, None),
        ),
        (converse(), "Hello", "tool_use", (130, 5)),
        ({"embedding": [0.1], "inputTextTokenCount": 6}, "", None, (6, None)),
        ({"embeddings": [[0.1]], "id": "e", "response_type": "embeddings_floats"}, "", None, (None, None)),
    ],
)
def test_each_model_makers_body(
    doc: Any, text: str, reason: str | None, figures: tuple[int | None, int | None]
) -> None:
    found = whole(INVOKE, doc)
    assert (found.text, found.finish_reason) == (text, reason)
    assert (found.usage.input_tokens, found.usage.output_tokens) == figures
    assert found.complete
    assert not found.streamed


def test_figures_that_the_body_lacks_stand_in_the_headers() -> None:
    headers = invoke_headers(input=9, output=112)
    found = whole(INVOKE, {"outputs": [{"text": "Hi", "stop_reason": "stop"}]}, headers=headers)
    assert found.usage == Usage(input_tokens=9, output_tokens=112, total_tokens=121)


def test_the_headers_count_cached_tokens_apart() -> None:
    headers = invoke_headers(input=9, output=1, cache_read_input=100, cache_write_input=20)
    found = whole(INVOKE, {"completion": "Hi", "stop_reason": "stop_sequence"}, headers=headers)
    assert found.usage == Usage(
        input_tokens=129, output_tokens=1, cache_read_tokens=100, cache_write_tokens=20, total_tokens=130
    )


def test_the_body_counts_more_than_the_headers() -> None:
    found = whole(INVOKE, MESSAGE, headers=invoke_headers(input=4, output=50, cache_write_input=7))
    assert (found.usage.input_tokens, found.usage.cache_write_tokens) == (18135, 18131)


def test_an_embedding_has_no_output_whatever_the_headers_say() -> None:
    doc = {"embeddings": {"float": [[0.1]]}, "response_type": "embeddings_by_type"}
    assert whole(INVOKE, doc, headers=invoke_headers(input=6, output=0)).usage == Usage(input_tokens=6)


METRICS = {"inputTokenCount": 30, "outputTokenCount": 3, "invocationLatency": 851, "firstByteLatency": 354}
LAST = {"amazon-bedrock-invocationMetrics": METRICS}

ANTHROPIC = [
    {"type": "message_start", "message": {**MESSAGE, "content": [], "stop_reason": None}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 38}},
    {"type": "message_stop", **LAST},
]
NOVA = [
    {"messageStart": {"role": "assistant"}},
    {"contentBlockDelta": {"delta": {"text": "Hi"}, "contentBlockIndex": 0}},
    {"messageStop": {"stopReason": "end_turn"}},
    {"metadata": {"usage": {"inputTokens": 30, "outputTokens": 3}}, **LAST},
]
TITAN = [
    {"outputText": "H", "index": 0, "inputTextTokenCount": 30.0},
    {"outputText": "i", "index": 0, "totalOutputTextTokenCount": 3.0, "completionReason": "FINISH", **LAST},
]
LLAMA = [
    {"generation": "H", "prompt_token_count": 30, "generation_token_count": 1, "stop_reason": None},
    {
        "generation": "i",
        "prompt_token_count": None,
        "generation_token_count": 3,
        "stop_reason": "stop",
        **LAST,
    },
]
MISTRAL = [
    {"outputs": [{"text": "H", "stop_reason": None}]},
    {"outputs": [{"text": "i", "stop_reason": "stop"}], **LAST},
]
COHERE = [
    {"event_type": "text-generation", "text": "Hi"},
    {
        "event_type": "stream-end",
        "is_finished": True,
        "finish_reason": "COMPLETE",
        "response": {"text": "Hi"},
        **LAST,
    },
]
COMMAND = [
    {"index": 0, "is_finished": False, "text": "Hi"},
    {"finish_reason": "COMPLETE", "is_finished": True, **LAST},
]
CHOICES = [
    {"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}]},
    {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], **LAST},
]
DEEPSEEK = [
    {"choices": [{"text": "Hi", "stop_reason": None}]},
    {"choices": [{"text": "", "stop_reason": "stop"}], **LAST},
]


@pytest.mark.parametrize("piece", [1, None])
@pytest.mark.parametrize(
    ("docs", "figures", "reason"),
    [
        (ANTHROPIC, (18135, 38), "end_turn"),
        (NOVA, (30, 3), "end_turn"),
        (TITAN, (30, 3), "FINISH"),
        (LLAMA, (30, 3), "stop"),
        (MISTRAL, (30, 3), "stop"),
        (COHERE, (30, 3), "COMPLETE"),
        (COMMAND, (30, 3), "COMPLETE"),
        (CHOICES, (30, 3), "stop"),
        (DEEPSEEK, (30, 3), "stop"),
    ],
)
def test_each_model_makers_stream(
    docs: Any, figures: tuple[int, int], reason: str, piece: int | None
) -> None:
    found = answer(INVOKE, b"".join(map(chunk, docs)), EVENTSTREAM, piece=piece)
    assert (found.text, found.finish_reason) == ("Hi", reason)
    assert (found.usage.input_tokens, found.usage.output_tokens) == figures
    assert found.streamed
    assert found.complete


@pytest.mark.parametrize("docs", [ANTHROPIC, NOVA, TITAN, LLAMA, MISTRAL, COHERE, CHOICES])
def test_an_invoke_stream_that_breaks_off_is_not_complete(docs: Any) -> None:
    found = answer(INVOKE, chunk(docs[0]), EVENTSTREAM, aborted="cut")
    assert not found.complete
    assert found.problem is not None


def test_a_stream_whose_first_chunk_is_damaged_is_read_by_the_later_ones() -> None:
    damaged = bytearray(chunk(ANTHROPIC[0]))
    damaged[-8] ^= 1
    found = answer(INVOKE, bytes(damaged) + b"".join(map(chunk, ANTHROPIC[1:])), EVENTSTREAM)
    assert found.text == "Hi"
    assert (found.usage.input_tokens, found.usage.output_tokens) == (30, 38)


def test_cached_tokens_in_the_metrics_count_as_input() -> None:
    metrics = {**METRICS, "cacheReadInputTokenCount": 100, "cacheWriteInputTokenCount": 0}
    last = {"outputs": [{"text": "Hi", "stop_reason": "stop"}], "amazon-bedrock-invocationMetrics": metrics}
    found = answer(INVOKE, chunk(last), EVENTSTREAM)
    assert (found.usage.input_tokens, found.usage.cache_read_tokens) == (130, 100)


def test_a_blocked_stream_is_complete() -> None:
    doc = {
        "outputText": "Input blocked",
        "amazon-bedrock-guardrailAction": "INTERVENED",
        "amazon-bedrock-trace": {},
    }
    assert answer(INVOKE, chunk(doc), EVENTSTREAM).complete


@pytest.mark.parametrize(
    ("model", "doc", "operation", "most"),
    [
        ("anthropic.claude-3", {"messages": [{}], "max_tokens": 5}, None, 5),
        ("anthropic.claude-v2", {"prompt": "x", "max_tokens_to_sample": 5}, Operation.TEXT_COMPLETION, 5),
        (
            "amazon.titan-text",
            {"inputText": "x", "textGenerationConfig": {"maxTokenCount": 5}},
            Operation.TEXT_COMPLETION,
            5,
        ),
        ("amazon.titan-embed-text-v2:0", {"inputText": "x"}, Operation.EMBEDDINGS, None),
        ("meta.llama3", {"prompt": "x", "max_gen_len": 5}, Operation.TEXT_COMPLETION, 5),
        ("amazon.nova-lite-v1:0", {"messages": [{}], "inferenceConfig": {"max_new_tokens": 5}}, None, 5),
        ("cohere.command-r", {"message": "x", "max_tokens": 5}, None, 5),
        ("amazon.titan-image-generator-v2:0", {"taskType": "TEXT_IMAGE"}, Operation.OTHER, None),
    ],
)
def test_an_invoke_request_in_each_shape(
    model: str, doc: Any, operation: Operation | None, most: int | None
) -> None:
    found = request(INVOKE, doc, f"/model/{model}/invoke")
    assert (found.operation, found.max_output_tokens, found.message_count) == (operation, most, 1)


KEYS = [
    "type",
    "output",
    "message",
    "content",
    "usage",
    "choices",
    "text",
    "results",
    "completion",
    "index",
    "delta",
]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from(["message_start", "message"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=20,
)
NAMES = st.sampled_from(
    [None, "chunk", "contentBlockStart", "contentBlockDelta", "messageStop", "metadata", "xException"]
)


@given(st.lists(st.tuples(NAMES, JSON), max_size=4))
def test_no_documents_raise(docs: list[tuple[str | None, Any]]) -> None:
    for row in (CONVERSE, INVOKE):
        reader = row.reader(200, {})
        for name, doc in docs:
            reader.document(name, doc)
        reader.answer()


@given(JSON)
def test_no_request_raises(doc: Any) -> None:
    for row in (CONVERSE, INVOKE):
        request(row, doc, "/model/m/invoke")


@given(st.lists(st.integers(1, 400), max_size=20))
def test_any_split_of_a_stream_gives_the_same_answer(sizes: list[int]) -> None:
    data = b"".join(EVENTS)
    reader, at = AnswerReader(CONVERSE, 200, {}), 0
    for size in sizes:
        reader.feed(data[at : at + size])
        at += size
    reader.feed(data[at:])
    assert reader.finish() == answer(CONVERSE, data)
