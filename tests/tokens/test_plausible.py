"""What the shipped priors say of prompts that no recording has: an agent's, of many tools and long calls."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kimi_mitm.prompts import SHAPES
from kimi_mitm.tokens import Call, Estimator, tokenizer
from kimi_mitm.tokens.features import NO_PARTS, ZERO, Counted, Dialect, together
from kimi_mitm.tokens.groups import Group, groups
from kimi_mitm.tokens.regression import dot
from kimi_mitm.tokens.regressors import regressors
from kimi_mitm.tokens.tally import Tally

CODE = "def main(argv):\n    for path in argv[1:]:\n        print(path, len(path))\n" * 8
READS = "Reads a file from the local file system. The path must be absolute, not relative. " * 3
CHATS = [group for group in groups() if group.shape is None]


def tool(n: int) -> dict[str, Any]:
    fields = {f"path_{i}": {"type": "string", "description": "The absolute path of a file"} for i in range(4)}
    return {
        "name": f"tool_{n}",
        "description": READS,
        "parameters": {"type": "object", "properties": fields, "required": ["path_0"]},
    }


def openai(tools: int, calls: int) -> dict[str, Any]:
    arguments = json.dumps({"path_0": "/a/b", "content": CODE})
    messages: list[dict[str, Any]] = [{"role": "user", "content": "Please write the program."}]
    for n in range(calls):
        function = {"name": "tool_1", "arguments": arguments}
        messages += [
            {"role": "assistant", "tool_calls": [{"id": f"{n}", "type": "function", "function": function}]},
            {"role": "tool", "tool_call_id": f"{n}", "content": CODE},
        ]
    return {
        "messages": messages,
        "tools": [{"type": "function", "function": tool(n)} for n in range(tools)],
    }


def google(tools: int, calls: int) -> dict[str, Any]:
    contents: list[dict[str, Any]] = [{"role": "user", "parts": [{"text": "Please write the program."}]}]
    for _ in range(calls):
        call = {"name": "tool_1", "args": {"path_0": "/a/b", "content": CODE}}
        result = {"name": "tool_1", "response": {"output": CODE}}
        contents += [
            {"role": "model", "parts": [{"functionCall": call}]},
            {"role": "user", "parts": [{"functionResponse": result}]},
        ]
    return {"contents": contents, "tools": [{"functionDeclarations": [tool(n) for n in range(tools)]}]}


def priced(group: Group, tools: int = 0, calls: int = 0) -> tuple[float, dict[str, float]]:
    """A prompt's tokens by a group's priors, and its regressors."""
    words = group.functions == "words"
    shape = SHAPES["google.generate_content" if words else "openai.chat"]
    body = (google if words else openai)(tools, calls)
    total = Counted(ZERO, NO_PARTS)
    for piece in shape.split(json.dumps(body).encode()):
        tally = Tally(Dialect(group.encoding, group.functions, "", group.think_tags), 1_000_000)
        tally.add(shape.messages(piece))
        total = together(total, tally.counted())
    x = regressors(total.counts, frozenset())
    return dot({name: normal.mean for name, normal in group.prior.items()}, x), x


@pytest.mark.parametrize("group", CHATS, ids=[group.name for group in CHATS])
def test_many_tools_cost_about_what_is_visible_of_them(group: Group) -> None:
    """From 5 to 40 the prompt grows by half their tokens to some twice: Llama reads them indented."""
    few, x_few = priced(group, tools=5)
    many, x_many = priced(group, tools=40)

    visible = x_many["tools"] - x_few["tools"]
    assert 0.5 * visible < many - few < 2.2 * visible


@pytest.mark.parametrize("group", CHATS, ids=[group.name for group in CHATS])
def test_long_calls_and_results_cost_about_what_is_visible_of_them(group: Group) -> None:
    plain, _ = priced(group)
    called, x = priced(group, calls=20)

    visible = x["call"] + x["result"]
    assert 0.7 * visible < called - plain < 1.9 * visible


def estimated(family: str, model: str, wire_format: str, body: dict[str, Any]) -> int:
    call = Call(
        provider=family,
        wire_format=wire_format,
        body=json.dumps(body).encode(),
        model=model,
        family=family,
    )
    return Estimator().estimate(call).estimate.input_tokens


@pytest.mark.parametrize(
    ("family", "model"),
    [("gpt", "openai/gpt-5"), ("claude", "anthropic/claude-sonnet-4.5"), ("qwen", "qwen/qwen3-max")],
)
def test_reasoning_in_many_blocks_counts_as_in_one(family: str, model: str) -> None:
    """OpenRouter's blocks are as many as were streamed."""
    words = [f"thought {n} " for n in range(60)]

    def asked(blocks: list[str]) -> int:
        details = [{"type": "reasoning.text", "text": text} for text in blocks]
        answer = {"role": "assistant", "content": "I look.", "reasoning_details": details}
        messages = [{"role": "user", "content": "hello"}, answer, {"role": "user", "content": "go on"}]
        return estimated(family, model, "openai.chat", {"messages": messages})

    assert asked(words) == asked(["".join(words)])


def test_reasoning_that_is_named_by_its_id_alone_costs_nothing() -> None:
    """Clients of OpenAI's Responses API that store them send no more."""
    turn = [
        {
            "type": "function_call",
            "call_id": "c",
            "name": "tool_1",
            "arguments": json.dumps({"content": CODE}),
        },
        {"type": "function_call_output", "call_id": "c", "output": CODE},
    ]
    named = {"type": "reasoning", "id": "rs_1", "summary": []}

    without, with_names = (
        estimated("gpt", "gpt-5", "openai.responses", {"input": items * 20})
        for items in (turn, [named, *turn])
    )

    assert with_names == without


def test_an_estimate_is_never_far_below_what_is_visible() -> None:
    """Whatever the priors say: encrypted reasoning that is judged too low doesn't swallow the rest."""
    thought = {"type": "reasoning", "encrypted_content": "g" * 40, "summary": []}
    call = {"type": "function_call", "call_id": "c", "name": "tool_1", "arguments": json.dumps({"a": CODE})}
    result = {"type": "function_call_output", "call_id": "c", "output": CODE}

    found = estimated("gpt", "gpt-5", "openai.responses", {"input": [*[thought] * 40, call, result] * 4})

    assert found > 0.2 * 8 * tokenizer.count(CODE)


def test_gemini_behind_a_gateway_in_anthropics_format_has_its_tools_counted() -> None:
    tools = [{**(whole := tool(n)), "input_schema": whole["parameters"]} for n in range(20)]
    for one in tools:
        del one["parameters"]
    messages = [{"role": "user", "content": "hello"}]

    there = estimated(
        "gemini", "gemini-2.5-pro", "anthropic.messages", {"messages": messages, "tools": tools}
    )
    here = estimated("gemini", "gemini-2.0-flash", "google.generate_content", google(20, 0))

    assert there == pytest.approx(here, rel=0.1)
