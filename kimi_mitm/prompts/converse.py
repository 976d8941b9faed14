"""Bedrock's Converse format, and the invoke format of Amazon's Nova models, which is the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kimi_mitm.prompts.blocks import content
from kimi_mitm.prompts.shape import Shape
from kimi_mitm.prompts.texts import role_of
from kimi_mitm.prompts.tools import definitions, schema
from kimi_mitm.records import Part


def _read(key: str, doc: Any) -> Iterator[tuple[str, list[Part]]]:
    if key == "toolConfig":
        yield "tools", definitions(doc)
    elif key == "outputConfig":
        if parts := schema(doc):
            yield "schema", parts
    elif key == "system":
        yield "system", list(content(doc))
    elif isinstance(doc, dict):
        yield role_of(doc.get("role")), list(content(doc.get("content")))
    else:
        yield "user", list(content(doc))


SHAPE = Shape(
    name="converse",
    lists={"messages": "message"},
    values={"system": "system", "toolConfig": "tools", "outputConfig": "schema"},
    settings=("additionalModelRequestFields",),
    read=_read,
)
