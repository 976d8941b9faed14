from __future__ import annotations

from typing import Any

import pytest

from kimi_mitm.records import Problem
from kimi_mitm.wire import FORMATS, AnswerReader, problem

ANSWERS: dict[str, tuple[int, bytes, Problem]] = {
    "OpenAI": (
        400,
        b'{"error": {"message": "Unknown parameter", "type": "invalid_request_error", "param": "x"}}',
        Problem("invalid_request_error", "Unknown parameter"),
    ),
    "Anthropic": (
        529,
        b'{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}',
        Problem("overloaded_error", "Overloaded"),
    ),
    "Google": (
        400,
        b'{"error": {"code": 400, "message": "API key not valid", "status": "INVALID_ARGUMENT"}}',
        Problem("INVALID_ARGUMENT", "API key not valid"),
    ),
    "Google, streaming": (
        429,
        b'[{"error": {"code": 429, "message": "Quota exceeded", "status": "RESOURCE_EXHAUSTED"}}\n]',
        Problem("RESOURCE_EXHAUSTED", "Quota exceeded"),
    ),
    "AWS": (400, b'{"message": "Input is too long"}', Problem("http_400", "Input is too long")),
    "AWS, older": (
        400,
        b'{"__type": "com.amazon.coral#ThrottlingException", "Message": "Slow down"}',
        Problem("ThrottlingException", "Slow down"),
    ),
    "Cohere": (404, b'{"id": "1", "message": "model was removed"}', Problem("http_404", "model was removed")),
    "Ollama": (404, b'{"error": "model \\"x\\" not found"}', Problem("http_404", 'model "x" not found')),
    "xAI": (
        400,
        b'{"code": "Client specified an invalid argument", "error": "Incorrect API key"}',
        Problem("Client specified an invalid argument", "Incorrect API key"),
    ),
    "OpenRouter": (
        429,
        b'{"error": {"message": "Provider returned error", "code": 429, "metadata": {"raw": "x"}}}',
        Problem("429", "Provider returned error"),
    ),
    "a gateway": (
        502,
        b'{"error": {"message": "{\\"error\\": {\\"message\\": \\"too long\\", \\"type\\": \\"bad\\"}}"}}',
        Problem("bad", "too long"),
    ),
    "FastAPI": (422, b'{"detail": "Not Found"}', Problem("http_422", "Not Found")),
    "FastAPI, validation": (
        422,
        b'{"detail": [{"loc": ["body"], "msg": "field required", "type": "missing"}, {"msg": "no int"}]}',
        Problem("missing", "field required; no int"),
    ),
    "watsonx": (
        401,
        b'{"errors": [{"code": "authentication_token_expired", "message": "expired"}]}',
        Problem("authentication_token_expired", "expired"),
    ),
    "Mistral": (
        422,
        b'{"object": "error", "message": "bad role", "type": "invalid_request_message_order"}',
        Problem("invalid_request_message_order", "bad role"),
    ),
    "Hugging Face": (
        503,
        b'{"error": "Model is overloaded", "error_type": "overloaded"}',
        Problem("overloaded", "Model is overloaded"),
    ),
    "Databricks": (
        400,
        b'{"error_code": "BAD_REQUEST", "message": "Bad request"}',
        Problem("BAD_REQUEST", "Bad request"),
    ),
    "a page": (
        502,
        b"<html>\n<head><title>502 Bad Gateway</title></head><body><h1>x</h1></body></html>",
        Problem("http_502", "502 Bad Gateway"),
    ),
    "a page without a title": (500, b"<p>Internal <b>error</b></p>", Problem("http_500", "Internal error")),
    "a word": (503, b"upstream connect error", Problem("http_503", "upstream connect error")),
    "a word like an event": (502, b"error code: 502", Problem("http_502", "error code: 502")),
    "JSON text": (500, b'"boom"', Problem("http_500", '"boom"')),
    "nothing": (500, b"", Problem("http_500", "no message")),
    "an error without words": (500, b'{"ok": false}', Problem("http_500", '{"ok":false}')),
    "an event": (
        429,
        b'event: error\ndata: {"error": {"message": "slow", "type": "rate_limit"}}\n\n',
        Problem("rate_limit", "slow"),
    ),
    "Baidu, status 200": (
        200,
        b'{"error_code": 17, "error_msg": "daily request limit reached"}',
        Problem("17", "daily request limit reached"),
    ),
    "Azure's filter, status 200": (
        200,
        b'{"error": {"message": "filtered", "type": null, "code": "content_filter", "status": 400}}',
        Problem("400", "filtered"),
    ),
}


@pytest.mark.parametrize(
    "form", ["openai.chat", "anthropic.messages", "google.generate_content", "openai.responses"]
)
@pytest.mark.parametrize("provider", ANSWERS)
def test_every_providers_error_is_understood_in_every_format(provider: str, form: str) -> None:
    status, body, expected = ANSWERS[provider]
    reader = AnswerReader(FORMATS[form], status, {})
    reader.feed(body)
    answer = reader.finish()
    assert answer.problem == expected
    assert not answer.usage


@pytest.mark.parametrize(
    "doc",
    [
        {"error": None, "choices": []},
        {"id": "x", "type": "message", "content": []},
        {"errors": [], "result": {}},
        {"message": "hello"},
        {"detail": "x"},
        {"code": 0, "message": "ok"},
    ],
)
def test_an_answer_is_no_error_for_a_word_that_errors_use(doc: dict[str, Any]) -> None:
    assert not problem.stated(None, doc)


def test_a_message_is_shortened() -> None:
    found = problem.read({"error": {"message": "x" * 5000}}, "error")
    assert len(found.message) == 500
    assert found.message.endswith("…")


@pytest.mark.parametrize(
    "doc",
    [
        {"error": {"error": {"error": {"error": {"error": {"error": "x"}}}}}},
        {"error": [[[[["x"]]]]]},
        {"error": {"message": {"a": 1}, "type": ["x"]}},
        {"error": True},
        {"error": {"message": "{" * 3000}},
        {"message": "[1, 2]"},
    ],
)
def test_odd_errors_have_a_type_and_a_message(doc: dict[str, Any]) -> None:
    found = problem.read(doc, "fallback")
    assert found.type
    assert found.message
