"""OpenAI's Responses format (Codex, xAI and others too); also its WebSocket turns, `response.create`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kimi_mitm.prompts.blocks import content
from kimi_mitm.prompts.shape import Shape
from kimi_mitm.prompts.texts import role_of, text_parts
from kimi_mitm.prompts.tools import definitions, schema
from kimi_mitm.records import Part, PartKind

_CALLS = ("_call", "_call_output", "_call_result")


def _read(key: str, doc: Any) -> Iterator[tuple[str, list[Part]]]:
    if key == "tools":
        yield "tools", definitions(doc)
    elif key == "text":
        if parts := schema(doc):
            yield "schema", parts
    elif key == "instructions":
        yield "system", list(text_parts(doc))
    elif isinstance(doc, dict):
        yield _role(doc), list(_item(doc))
    else:
        yield "user", list(content(doc))


def _role(item: dict[str, Any]) -> str:
    typed = item.get("type")
    if isinstance(typed, str) and typed.endswith("_output"):
        return "tool"
    if typed == "reasoning" or (isinstance(typed, str) and typed.endswith(_CALLS)):
        return "assistant"
    return role_of(item.get("role"))


def _item(item: dict[str, Any]) -> Iterator[Part]:
    if "role" in item and item.get("type", "message") == "message":
        yield from content(item.get("content"))
    elif item.get("type") == "additional_tools":
        yield from definitions(item.get("tools"))
    else:
        yield from content(item, PartKind.TEXT)


SHAPE = Shape(
    name="openai_responses",
    lists={"input": "message"},
    values={"instructions": "system", "tools": "tools", "text": "schema"},
    settings=("tool_choice", "parallel_tool_calls", "reasoning", "truncation"),
    unwrap=("response",),
    read=_read,
)
