from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kimi_mitm.views.excerpt import Unreadable
from kimi_mitm.views.prompt_text import prompt_lines
from kimi_mitm.wire import FORMATS

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (1024).to_bytes(4) + (768).to_bytes(4) + b"\x08\x02" + b"\0" * 60_000


def lines(wire_format: str = "openai.chat", **body: Any) -> list[str]:
    return prompt_lines(wire_format, json.dumps(body).encode())


def said(*texts: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text} for text in texts]


def test_a_conversation_is_told_in_its_roles_with_what_was_called_and_given_back() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "Read", "arguments": '{"path":"a.py"}'}}
    found = lines(
        model="gpt-5",
        temperature=0.2,
        stream=True,
        tools=[{"type": "function", "function": {"name": name}} for name in ("Read", "Edit")],
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "What is\nin a.py?"},
            {"role": "assistant", "reasoning_content": "I must look.", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "print(1)"},
        ],
    )

    assert found == [
        "settings: model gpt-5 · temperature 0.2 · stream true",
        "tools: 2, 104 B (Read, Edit)",
        "system: Be brief.",
        "user: |",
        "  What is",
        "  in a.py?",
        "assistant thinking: I must look.",
        "assistant calls Read: |",
        '  {"path":"a.py"}',
        "result of a tool: print(1)",
    ]


@pytest.mark.parametrize(
    ("wire_format", "body", "expected"),
    [
        ("anthropic.messages", {"system": "S", "messages": said("hi")}, ["system: S", "user: hi"]),
        ("openai.responses", {"instructions": "S", "input": said("hi")}, ["system: S", "user: hi"]),
        (
            "google.generate_content",
            {"contents": [{"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]}]},
            ["assistant calls f: |", "  {}"],
        ),
        ("aws.converse", {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}, ["user: hi"]),
        ("openai.completions", {"prompt": "once upon"}, ["user: once upon"]),
        ("openai.embeddings", {"input": [[1, 2, 3]]}, ["user: (3 token ids)"]),
        ("ollama.chat", {"messages": said("hi")}, ["user: hi"]),
        ("cohere.chat", {"message": "hi"}, ["user: hi"]),
    ],
)
def test_every_shape_is_told_in_the_same_words(
    wire_format: str, body: dict[str, Any], expected: list[str]
) -> None:
    found = lines(wire_format, **body)

    assert [line for line in found if not line.startswith("settings: ")] == expected


@pytest.mark.parametrize("padding", [0, 2_000_000])
def test_media_are_a_type_and_a_size(padding: int) -> None:
    data = base64.b64encode(PNG + b"\0" * padding).decode()
    url = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
    found = lines(messages=[{"role": "user", "content": [{"type": "text", "text": "Look."}, url]}])

    size = "60.0 KB" if not padding else "2.1 MB"
    assert found == ["user: Look.", f"user image: image/png, 1024×768, {size}"]


def test_thoughts_that_only_the_provider_can_read_are_measured() -> None:
    block = {"type": "redacted_thinking", "data": "x" * 300}
    found = lines("anthropic.messages", messages=[{"role": "assistant", "content": [block]}])

    assert found == ["assistant thinking: (300 characters that can't be read)"]


def test_a_long_conversation_shows_its_ends_and_says_what_is_missing() -> None:
    found = lines(messages=said(*(f"message {n}" for n in range(500))))

    assert found[:2] == ["user: message 0", "user: message 1"]
    assert found[2] == "# … 486 of 500 messages left out, 20.3 KB …"
    assert found[3] == "user: message 488"
    assert found[-1] == "user: message 499"
    assert len(found) == 15


def test_one_message_more_than_is_shown_is_shown_too() -> None:
    assert len(lines(messages=said(*(f"message {n}" for n in range(15))))) == 15


def test_a_huge_message_is_cut_before_it_is_read() -> None:
    text = 'say "hello" \n' * 400_000

    found = lines(messages=said(text))

    assert sum(map(len, found)) < 6_000
    assert any("characters left out" in line for line in found)
    assert found[1] == '  say "hello" '


def test_a_message_of_too_many_values_shows_its_beginning() -> None:
    found = lines(messages=[{"role": "user", "content": "x", "more": [{"a": n} for n in range(100_000)]}])

    assert found[0].startswith("messages, the start of 1.")
    assert found[1].startswith('  {"role": "user"')


def test_many_tools_are_counted_and_named_as_far_as_there_is_room() -> None:
    tools = [{"type": "function", "function": {"name": f"t{n}"}} for n in range(70)]

    text = "\n".join(lines(tools=tools, messages=said("x")))

    assert text.startswith("tools: |\n  70, 3.6 KB (t0, t1, ")
    assert text.endswith("t59, and 10 more)\nuser: x")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "it is empty"),
        (b"  ", "it is empty"),
        (b"{}", "there is no prompt in it"),
        (b'{"model": "x"}', "there is no prompt in it"),
        (b'{"messages": [{"role": "us', "not whole"),
        (b"<html>", "no JSON object"),
        (b'"' + b"x" * 2_000_000, "no JSON object"),
    ],
)
def test_what_is_no_prompt_says_why(body: bytes, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        prompt_lines("openai.chat", body)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["role", "content", "type", "x"]), inner),
    max_leaves=8,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(sorted(FORMATS)),
    st.binary()
    | st.dictionaries(
        st.sampled_from(["messages", "tools", "system", "input", "contents", "prompt", "model"]), json_values
    ).map(lambda doc: json.dumps(doc).encode()),
)
def test_nothing_else_is_raised_whatever_comes(wire_format: str, body: bytes) -> None:
    try:
        found = prompt_lines(wire_format, body)
    except Unreadable:
        return
    assert all(isinstance(line, str) for line in found)
