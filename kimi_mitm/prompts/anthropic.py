"""Anthropic's Messages format (also through Bedrock's invoke, Vertex and compatible endpoints)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kimi_mitm.prompts.blocks import content
from kimi_mitm.prompts.shape import Shape
from kimi_mitm.prompts.texts import role_of
from kimi_mitm.prompts.tools import definitions, schema
from kimi_mitm.records import Part


def _read(key: str, doc: Any) -> Iterator[tuple[str, list[Part]]]:
    if key == "tools":
        yield "tools", definitions(doc)
    elif key in ("output_format", "output_config"):
        if parts := schema(doc):
            yield "schema", parts
    elif key == "system":
        yield "system", list(content(doc))
    elif isinstance(doc, dict):
        yield role_of(doc.get("role")), list(content(doc.get("content")))
    else:
        yield "user", list(content(doc))


SHAPE = Shape(
    name="anthropic",
    lists={"messages": "message"},
    values={"system": "system", "tools": "tools", "output_format": "schema", "output_config": "schema"},
    settings=("tool_choice", "thinking"),
    read=_read,
)
