"""Any wire format's body becomes the same parts."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from kimi_mitm import prompts
from kimi_mitm.records import Message, PartKind

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x40\0\0\0\x20\x08\x02\0\0\0").decode()
TOOL = {"name": "f", "description": "Does f", "parameters": {"type": "object", "properties": {"a": {}}}}

BODIES: list[tuple[str, dict[str, Any]]] = [
    (
        "openai.chat",
        {
            "messages": [
                {"role": "developer", "content": "be brief"},
                {"role": "user", "content": [{"type": "text", "text": "look"}, _image]},
                {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": '{"a":1}'}}]},
                {"role": "tool", "content": "found"},
            ],
            "tools": [{"type": "function", "function": TOOL}],
        },
    )
    for _image in [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}]
] + [
    (
        "openai.responses",
        {
            "instructions": "be brief",
            "input": [
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "look"},
                        {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"},
                    ],
                },
                {"type": "function_call", "name": "f", "arguments": '{"a":1}', "call_id": "1"},
                {"type": "function_call_output", "output": "found", "call_id": "1"},
            ],
            "tools": [{"type": "function", **TOOL}],
        },
    ),
    (
        "anthropic.messages",
        {
            "system": [{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}}],
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "look"},
                        {
                            "type": "image",
                            "source": {"type": "base64", "media_type": "image/png", "data": PNG},
                        },
                    ],
                },
                {"role": "assistant", "content": [{"type": "tool_use", "name": "f", "input": {"a": 1}}]},
                {"role": "user", "content": [{"type": "tool_result", "content": "found"}]},
            ],
            "tools": [{"name": "f", "description": "Does f", "input_schema": {"type": "object"}}],
        },
    ),
    (
        "google.generate_content",
        {
            "systemInstruction": {"parts": [{"text": "be brief"}]},
            "contents": [
                {
                    "role": "user",
                    "parts": [{"text": "look"}, {"inlineData": {"mimeType": "image/png", "data": PNG}}],
                },
                {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"a": 1}}}]},
                {
                    "role": "user",
                    "parts": [{"functionResponse": {"name": "f", "response": {"result": "found"}}}],
                },
            ],
            "tools": [{"functionDeclarations": [TOOL]}],
        },
    ),
    (
        "aws.converse",
        {
            "system": [{"text": "be brief"}],
            "messages": [
                {
                    "role": "user",
                    "content": [{"text": "look"}, {"image": {"format": "png", "source": {"bytes": PNG}}}],
                },
                {"role": "assistant", "content": [{"toolUse": {"name": "f", "input": {"a": 1}}}]},
                {"role": "user", "content": [{"toolResult": {"content": [{"text": "found"}]}}]},
            ],
            "toolConfig": {"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": {}}}}]},
        },
    ),
    (
        "ollama.chat",
        {
            "messages": [
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": "look", "images": [PNG]},
                {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]},
                {"role": "tool", "content": "found"},
            ],
            "tools": [{"type": "function", "function": TOOL}],
        },
    ),
]


def read(wire_format: str, body: dict[str, Any]) -> tuple[Message, ...]:
    return prompts.read(wire_format, json.dumps(body).encode()).messages


def texts(messages: tuple[Message, ...], kind: PartKind) -> list[str]:
    return [part.text for message in messages for part in message.parts if part.kind is kind]


@pytest.mark.parametrize(("wire_format", "body"), BODIES, ids=[name for name, _ in BODIES])
def test_every_format_gives_the_same_roles_and_parts(wire_format: str, body: dict[str, Any]) -> None:
    """System prompt, user's text and image, call, result and tools come out alike."""
    messages = read(wire_format, body)

    assert {message.role for message in messages} >= {"system", "user", "assistant", "tools"}
    assert texts(messages, PartKind.TEXT) == ["be brief", "look"]
    assert texts(messages, PartKind.TOOL_CALL) == ['{"a":1}']
    assert "found" in texts(messages, PartKind.TOOL_RESULT)[0]
    image = next(p for m in messages for p in m.parts if p.kind is PartKind.IMAGE)
    assert (image.width, image.height, image.mime) == (64, 32, "image/png")


@pytest.mark.parametrize(("wire_format", "body"), BODIES, ids=[name for name, _ in BODIES])
def test_slices_come_in_the_order_of_a_prompt(wire_format: str, body: dict[str, Any]) -> None:
    """Tools and system prompt first, then the messages, whatever the order of the body's keys."""
    turned = dict(reversed(body.items()))

    sections = [piece.section for piece in prompts.split(wire_format, json.dumps(turned).encode())]

    assert sections == sorted(sections, key=["tools", "system", "message", "schema", "settings"].index)


@pytest.mark.parametrize(
    ("wire_format", "body"),
    [
        ("openai.completions", {"prompt": "hello"}),
        ("openai.completions", {"prompt": ["hello"]}),
        ("openai.embeddings", {"input": ["hello"]}),
        ("anthropic.complete", {"prompt": "hello"}),
        ("cohere.chat", {"message": "hello"}),
        ("cohere.generate", {"prompt": "hello"}),
        ("cohere.embed", {"texts": ["hello"]}),
        ("ollama.generate", {"prompt": "hello"}),
        ("ollama.embed", {"input": "hello"}),
        ("voyage.embed", {"input": ["hello"]}),
        ("google.embed_content", {"content": {"parts": [{"text": "hello"}]}}),
        ("google.predict", {"instances": [{"prompt": "hello"}]}),
        ("google.interactions", {"input": "hello"}),
        ("google.interactions", {"input": [{"type": "text", "text": "hello"}]}),
        ("openai.responses", {"input": "hello"}),
        ("openai.responses", {"input": ["hello"]}),
        (
            "openai.realtime",
            {"type": "x", "item": {"role": "user", "content": [{"type": "input_text", "text": "hello"}]}},
        ),
        ("google.live", {"clientContent": {"turns": [{"role": "user", "parts": [{"text": "hello"}]}]}}),
        ("google.generate_content", {"request": {"contents": [{"parts": [{"text": "hello"}]}]}}),
        ("google.generate_content", {"contents": {"parts": [{"text": "hello"}]}}),
        ("aws.invoke", {"inputText": "hello"}),
        ("aws.invoke", {"prompt": "hello"}),
        ("aws.invoke", {"anthropic_version": "b", "messages": [{"role": "user", "content": "hello"}]}),
        (
            "aws.invoke",
            {"inferenceConfig": {}, "messages": [{"role": "user", "content": [{"text": "hello"}]}]},
        ),
        ("aws.invoke", {"messages": [{"role": "user", "content": "hello"}]}),
        ("aws.invoke", {"message": "hello", "chat_history": []}),
        ("watsonx", {"input": "hello"}),
        ("a format of tomorrow", {"messages": [{"role": "user", "content": "hello"}]}),
    ],
)
def test_the_users_text_is_found_in_every_format(wire_format: str, body: dict[str, Any]) -> None:
    """One text, one user message."""
    messages = read(wire_format, body)

    assert [part.text for message in messages for part in message.parts] == ["hello"]
    assert [message.role for message in messages] == ["user"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a<mcp-memory>b</mcp-memory>c", ["a", "<mcp-memory>b</mcp-memory>", "c"]),
        ("a @memory[likes tea] b", ["a ", "@memory[likes tea]", " b"]),
        ("[MEMORY]\nx\n[/MEMORY]\n\nq", ["[MEMORY]\nx\n[/MEMORY]", "\n\nq"]),
        ("[MEMORY] x\n\nq", ["[MEMORY] x", "\n\nq"]),
    ],
)
def test_injected_memories_are_parts_of_their_own(text: str, expected: list[str]) -> None:
    """The pieces together are the text; the memory among them is marked."""
    (message,) = read("openai.chat", {"messages": [{"role": "user", "content": text}]})

    assert [part.text for part in message.parts] == expected
    kinds = [part.kind is PartKind.MEMORY for part in message.parts]
    assert kinds == ["emory" in piece.lower() for piece in expected]


def test_talking_of_memory_is_no_memory() -> None:
    """Only the marks count."""
    (message,) = read(
        "openai.chat", {"messages": [{"role": "user", "content": "Use memory [1] <mcp-memory>"}]}
    )

    assert [part.kind for part in message.parts] == [PartKind.TEXT]


def test_a_cache_marker_that_moves_does_not_change_a_message() -> None:
    """Agents mark another message at every turn."""
    plain = b'{"messages":[{"role":"user","content":[{"type":"text","text":"a"}]}]}'
    marked = plain.replace(b'"a"', b'"a","cache_control":{"type":"ephemeral","ttl":"1h"}')

    (first,), (second,) = (prompts.split("anthropic.messages", body) for body in (plain, marked))

    assert first.digest == second.digest


def test_replayed_reasoning_is_measured_not_read() -> None:
    """Opaque reasoning has a size and no text."""
    body = {"input": [{"type": "reasoning", "summary": [], "encrypted_content": "x" * 600}]}

    (message,) = read("openai.responses", body)

    assert [(part.kind, part.text, part.size) for part in message.parts] == [(PartKind.REASONING, "", 600)]


def test_openrouters_reasoning_blocks_stand_for_the_text_beside_them() -> None:
    """They are the same reasoning: texts, summaries and encrypted bytes, counted once, as one part: there may
    be as many blocks as were streamed."""
    message = {
        "role": "assistant",
        "content": "so it is",
        "reasoning": "because of this",
        "reasoning_details": [
            {"type": "reasoning.text", "text": "because of this", "signature": "s" * 90},
            {"type": "reasoning.summary", "summary": ", in short"},
            {"type": "reasoning.encrypted", "data": "x" * 600},
            "not a block",
        ],
    }

    found = [
        part
        for said in read("openai.chat", {"messages": [message]})
        for part in said.parts
        if part.kind is PartKind.REASONING
    ]

    assert [(part.text, part.size) for part in found] == [("because of this, in short", 690)]


@pytest.mark.parametrize(
    ("wire_format", "body"),
    [
        (
            "openai.chat",
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "schema": {"type": "object", "properties": {}}},
                }
            },
        ),
        (
            "openai.responses",
            {
                "text": {
                    "format": {
                        "type": "json_schema",
                        "name": "n",
                        "schema": {"type": "object", "properties": {}},
                    }
                }
            },
        ),
        (
            "google.generate_content",
            {"generationConfig": {"responseSchema": {"type": "OBJECT", "properties": {}}}},
        ),
        (
            "anthropic.messages",
            {
                "output_config": {
                    "format": {"type": "json_schema", "schema": {"type": "object", "properties": {}}}
                }
            },
        ),
        (
            "aws.converse",
            {
                "outputConfig": {
                    "textFormat": {
                        "structure": {"jsonSchema": {"schema": '{"type":"object","properties":{}}'}}
                    }
                }
            },
        ),
        ("ollama.chat", {"format": {"type": "object", "properties": {}}}),
    ],
)
def test_output_schemas_are_found(wire_format: str, body: dict[str, Any]) -> None:
    """However a format wraps them."""
    (message,) = read(wire_format, body)

    assert message.role == "schema"
    assert '"properties"' in message.parts[0].text


@pytest.mark.parametrize("form", [{"type": "text"}, {"type": "json_object"}])
def test_a_format_without_a_schema_has_none(form: dict[str, str]) -> None:
    """JSON mode is a setting."""
    assert read("openai.chat", {"response_format": form}) == ()
    assert read("openai.responses", {"text": {"format": form}}) == ()


@pytest.mark.parametrize(
    ("wire_format", "body"),
    [
        ("aws.converse", {"system": []}),
        ("anthropic.messages", {"system": []}),
        ("anthropic.messages", {"system": ""}),
        ("google.generate_content", {"systemInstruction": {"parts": []}}),
        ("openai.responses", {"instructions": ""}),
        ("cohere.chat", {"preamble": ""}),
        ("ollama.generate", {"system": ""}),
    ],
)
def test_an_empty_system_is_no_message(wire_format: str, body: dict[str, Any]) -> None:
    """Some clients always send the key, as pydantic-ai does to Bedrock: nothing is counted for it."""
    assert read(wire_format, body) == ()


def test_an_empty_system_message_is_one() -> None:
    messages = read("openai.chat", {"messages": [{"role": "system", "content": ""}]})
    assert [message.role for message in messages] == ["system"]


def test_text_documents_are_text() -> None:
    """A CSV file counts as what is in it."""
    data = base64.b64encode(b"a,b\n1,2\n").decode()
    block = {"type": "document", "source": {"type": "base64", "media_type": "text/csv", "data": data}}

    (message,) = read("anthropic.messages", {"messages": [{"role": "user", "content": [block]}]})

    assert message.parts[0].kind is PartKind.FILE
    assert message.parts[0].text == "a,b\n1,2\n"


def test_an_embeddings_text_is_found_in_amazons_multimodal_form() -> None:
    """It stands two levels deep."""
    body = {"taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": {"text": {"value": "a text"}}}

    (message,) = prompts.read("aws.invoke", json.dumps(body).encode()).messages

    assert message.parts[0].text == "a text"
