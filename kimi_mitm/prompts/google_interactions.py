"""Google's Interactions format: `input` is a text, a content, or a list of contents or turns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kimi_mitm.prompts.blocks import content
from kimi_mitm.prompts.media import media_part
from kimi_mitm.prompts.shape import Shape
from kimi_mitm.prompts.texts import role_of, text_at
from kimi_mitm.prompts.tools import definitions, schema
from kimi_mitm.records import Part


def _read(key: str, doc: Any) -> Iterator[tuple[str, list[Part]]]:
    if key == "tools":
        yield "tools", definitions(doc)
    elif key == "response_format":
        if parts := schema(doc):
            yield "schema", parts
    elif key == "system_instruction":
        yield "system", list(content(doc))
    elif isinstance(doc, dict) and "role" in doc:
        yield role_of(doc["role"]), [part for item in _items(doc.get("content")) for part in item]
    else:
        yield "user", [part for item in _items(doc) for part in item]


def _items(doc: Any) -> Iterator[list[Part]]:
    """Media stand flat in this format: {type: image, data, mime_type}."""
    for item in doc if isinstance(doc, list) else [doc]:
        if isinstance(item, dict) and ("data" in item or "uri" in item):
            yield [media_part(text_at(item, "data"), mime=text_at(item, "mime_type"))]
        else:
            yield list(content(item))


SHAPE = Shape(
    name="google_interactions",
    lists={"input": "message"},
    values={"system_instruction": "system", "tools": "tools", "response_format": "schema"},
    settings=("tool_choice", "generation_config"),
    read=_read,
)
