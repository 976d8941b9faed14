"""Vertex AI's predictions: text, chat, embeddings, streams."""

from __future__ import annotations

import json
from typing import Any

import pytest
from answers import answer, request, whole

from kimi_mitm.records import Operation, Usage
from kimi_mitm.wire.google_predict import PREDICT

TOKENS = {
    "tokenMetadata": {
        "inputTokenCount": {"totalTokens": 6, "totalBillableCharacters": 20},
        "outputTokenCount": {"totalTokens": 12, "totalBillableCharacters": 50},
    }
}


@pytest.mark.parametrize(
    "prediction", [{"content": "Hello"}, {"candidates": [{"author": "1", "content": "Hello"}]}, "Hello"]
)
def test_text_and_its_tokens(prediction: Any) -> None:
    found = whole(PREDICT, {"predictions": [prediction], "metadata": TOKENS})
    assert found.text == "Hello"
    assert found.usage == Usage(input_tokens=6, output_tokens=12, total_tokens=18)
    assert found.complete


def test_embeddings_state_tokens_one_by_one() -> None:
    def embedded(tokens: float) -> Any:
        return {"embeddings": {"values": [0.1], "statistics": {"token_count": tokens, "truncated": False}}}

    assert whole(PREDICT, {"predictions": [embedded(4), embedded(3.0)]}).usage == Usage(input_tokens=7)


def test_a_deployed_model_may_answer_as_openai_does() -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
    made = {"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}}
    for predictions in (made, [made]):
        found = whole(PREDICT, {"predictions": predictions})
        assert (found.text, found.finish_reason) == ("Hi", "stop")
        assert found.usage == Usage(input_tokens=3, output_tokens=1, total_tokens=4)


def test_a_streamed_prediction() -> None:
    docs = [{"outputs": [{"structVal": {"content": {"stringVal": [piece]}}}]} for piece in ("Hel", "lo")]
    data = json.dumps(docs).encode()
    assert answer(PREDICT, data, piece=3).text == "Hello"


@pytest.mark.parametrize(
    ("model", "instance", "operation"),
    [
        ("text-bison@001", {"prompt": "x"}, None),
        ("chat-bison", {"messages": [{"author": "user", "content": "x"}]}, Operation.CHAT),
        ("text-embedding-005", {"content": "x"}, Operation.EMBEDDINGS),
        ("imagen-4.0-generate-001", {"prompt": "x"}, Operation.OTHER),
    ],
)
def test_what_a_request_asks_for(model: str, instance: Any, operation: Operation | None) -> None:
    doc = {"instances": [instance], "parameters": {"maxOutputTokens": 256}}
    found = request(PREDICT, doc, f"/v1/projects/p/locations/l/publishers/google/models/{model}:predict")
    assert (found.model, found.operation, found.max_output_tokens) == (model, operation, 256)
    assert (found.stream, found.message_count) == (False, 1)


def test_the_path_is_read_even_where_the_body_cannot_be() -> None:
    found = request(PREDICT, b"{", "/v1/publishers/google/models/m:serverStreamingPredict")
    assert (found.model, found.stream) == ("m", True)
    assert found.hidden == {"partial_body"}
