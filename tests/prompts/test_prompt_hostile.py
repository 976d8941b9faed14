"""Whatever bytes come, a prompt is read without an error."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shared import corpus

from kimi_mitm import prompts

KEYS = st.sampled_from(
    [
        "role",
        "content",
        "type",
        "text",
        "parts",
        "source",
        "data",
        "tool_calls",
        "function",
        "input",
        "output",
        "name",
        "image_url",
        "inlineData",
        "toolUse",
        "toolResult",
        "functionResponse",
        "reasoning",
        "summary",
        "messages",
        "tools",
        "system",
        "contents",
        "request",
        "response",
        "thinking",
        "properties",
        "format",
        "schema",
        "images",
        "citations",
    ]
)
WORDS = st.sampled_from(
    ["user", "text", "image", "document", "tool_result", "function_call", "reasoning", "base64", ""]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=25,
)
FORMATS = [*sorted(prompts.SHAPES), "aws.invoke", "watsonx"]


@given(st.sampled_from(FORMATS), st.dictionaries(KEYS | st.text(max_size=4), JSON, max_size=6))
@settings(max_examples=300, deadline=None)
def test_any_json_object_is_read(wire_format: str, body: dict[str, Any]) -> None:
    """Wrong types stand anywhere."""
    prompts.read(wire_format, json.dumps(body).encode())


@given(st.sampled_from(FORMATS), st.binary(max_size=200))
@settings(deadline=None)
def test_any_bytes_are_read(wire_format: str, body: bytes) -> None:
    """No JSON at all."""
    prompts.read(wire_format, body)


@pytest.mark.parametrize("wire_format", FORMATS)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b'{"messages":' + b"[" * 50_000,
        b'{"messages":[' + b'{"content":' * 900 + b"1" + b"}" * 900 + b"]}",
        b'{"request":' * 900 + b"{}" + b"}" * 900,
        b'{"messages":[{"role":"user","content":"\xff\xfe \\ud800"}],"x":NaN}',
        b'{"messages":[{"role":"user","content":"a"}],"n":1e999}',
        b'\xef\xbb\xbf{"messages":[{"role":"user","content":"a"}]}',
    ],
)
def test_broken_bodies_are_read(wire_format: str, body: bytes) -> None:
    """Deep nesting, bad text, numbers that are none."""
    prompts.read(wire_format, body)


def test_a_text_survives_bad_neighbours() -> None:
    """One bad byte or number does not lose the prompt."""
    body = b'{"messages":[{"role":"user","content":"good \\ud800 text"}],"temperature":NaN}'

    (message,) = prompts.read("openai.chat", body).messages

    assert message.parts[0].text == "good \ufffd text"


@pytest.mark.skipif(not any(True for _ in corpus()), reason="no recorded exchanges here")
def test_recorded_requests_give_messages() -> None:
    """Nearly every recorded call has a prompt that is found."""
    calls = [row for row in corpus() if row.get("llm") and row.get("request_body")]
    found = 0
    for row in calls:
        wire = (row.get("expected") or {}).get("wire_format") or ""
        name = {"anthropic-messages": "anthropic.messages", "gemini": "google.generate_content"}.get(wire)
        name = name or {"bedrock-converse": "aws.converse", "openai-responses": "openai.responses"}.get(
            wire, wire
        )
        found += bool(prompts.read(name.replace("-", "."), row["request_body"].encode()).messages)

    assert found >= 0.95 * len(calls)
