"""OpenAI's chat format, and those of everybody who speaks it (Mistral, Groq, OpenRouter, Cohere …)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kimi_mitm.prompts.blocks import content
from kimi_mitm.prompts.media import media_part
from kimi_mitm.prompts.shape import Shape
from kimi_mitm.prompts.texts import compact, name_in, role_of, text_parts
from kimi_mitm.prompts.tools import definitions, schema
from kimi_mitm.records import Part, PartKind


def _read(key: str, doc: Any) -> Iterator[tuple[str, list[Part]]]:
    if key in ("tools", "functions"):
        yield "tools", definitions(doc)
    elif key in ("response_format", "format"):
        if parts := schema(doc):
            yield "schema", parts
    elif key == "documents":
        yield (
            "user",
            [Part(kind=PartKind.TEXT, text=compact(item), detail="document") for item in as_list(doc)],
        )
    elif isinstance(doc, dict):
        yield role_of(doc.get("role")), list(_message(doc))
    else:
        yield "user", list(content(doc))


def as_list(doc: Any) -> list[Any]:
    return doc if isinstance(doc, list) else [doc]


def _message(doc: dict[str, Any]) -> Iterator[Part]:
    role = role_of(doc.get("role"))
    kind = PartKind.TOOL_RESULT if role == "tool" else PartKind.TEXT
    yield from _reasoning(doc)
    name = name_in(doc)
    for part in content(doc.get("content"), kind):
        yield Part(kind=kind, text=part.text, name=name) if name and part.kind is kind else part
    yield from text_parts(doc.get("tool_plan"))
    for image in as_list(doc.get("images") or []):
        yield media_part(image if isinstance(image, str) else None, mime="image/*")
    for call in as_list(doc.get("tool_calls") or []):
        yield from _call(call)
    if isinstance(call := doc.get("function_call"), dict):
        yield from _call({"function": call})


def _reasoning(doc: dict[str, Any]) -> Iterator[Part]:
    """Reasoning that is replayed, as one part: OpenRouter's blocks (`reasoning_details`, which may be as many
    as were streamed), or one text."""
    details = doc.get("reasoning_details")
    if isinstance(details, list) and details:
        blocks = (detail for detail in details if isinstance(detail, dict))
        parts = [part for block in blocks for part in content({**block, "type": "reasoning"})]
        size = sum(part.size or 0 for part in parts)
        if parts:
            yield Part(kind=PartKind.REASONING, text="".join(part.text for part in parts), size=size or None)
        return
    for key in ("reasoning_content", "reasoning", "thinking"):
        if isinstance(text := doc.get(key), str) and text:
            yield Part(kind=PartKind.REASONING, text=text)
            return


def _call(call: Any) -> Iterator[Part]:
    yield from content({**call, "type": "function"} if isinstance(call, dict) else call, PartKind.TOOL_CALL)


SHAPE = Shape(
    name="openai_chat",
    lists={"messages": "message"},
    values={
        "tools": "tools",
        "functions": "tools",
        "documents": "message",
        "response_format": "schema",
        "format": "schema",
    },
    settings=(
        "tool_choice",
        "parallel_tool_calls",
        "function_call",
        "reasoning",
        "thinking",
        "enable_thinking",
    ),
    read=_read,
)
