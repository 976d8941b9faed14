"""Cohere's chat: version 1 (`message`, `chat_history`, `preamble`) and version 2, which is OpenAI's shape."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from kimi_mitm.prompts import openai_chat
from kimi_mitm.prompts.blocks import content
from kimi_mitm.prompts.shape import Shape
from kimi_mitm.prompts.texts import compact, role_of, text_parts
from kimi_mitm.records import Part, PartKind


def _read(key: str, doc: Any) -> Iterator[tuple[str, Iterable[Part]]]:
    if key == "preamble":
        yield "system", list(text_parts(doc))
    elif key == "message":
        yield "user", list(content(doc))
    elif key == "tool_results":
        results = doc if isinstance(doc, list) else [doc]
        yield "tool", [Part(kind=PartKind.TOOL_RESULT, text=compact(result)) for result in results]
    elif key == "chat_history" and isinstance(doc, dict):
        parts = list(content(doc.get("message")))
        for name, kind in (("tool_calls", PartKind.TOOL_CALL), ("tool_results", PartKind.TOOL_RESULT)):
            items = openai_chat.as_list(doc.get(name) or [])
            parts += [Part(kind=kind, text=compact(item)) for item in items]
        yield role_of(doc.get("role")), parts
    else:
        yield from openai_chat.SHAPE.read(key, doc)


SHAPE = Shape(
    name="cohere",
    lists={"chat_history": "message", "messages": "message"},
    values={
        **openai_chat.SHAPE.values,
        "preamble": "system",
        "message": "message",
        "tool_results": "message",
    },
    settings=("tool_choice", "thinking", "citation_options", "safety_mode"),
    read=_read,
)
