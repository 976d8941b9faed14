"""Google's generateContent format: Gemini API, Vertex, and Code Assist, which wraps it in `request`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kimi_mitm.prompts.blocks import content
from kimi_mitm.prompts.shape import Shape
from kimi_mitm.prompts.texts import role_of
from kimi_mitm.prompts.tools import definitions, schema
from kimi_mitm.records import Part

_SYSTEM = ("systemInstruction", "system_instruction")
_SETTINGS = ("generationConfig", "generation_config")
_SCHEMAS = ("responseSchema", "responseJsonSchema", "response_schema", "response_json_schema")


def _read(key: str, doc: Any) -> Iterator[tuple[str, list[Part]]]:
    if key == "tools":
        yield "tools", definitions(doc)
    elif key in _SETTINGS:
        found = [doc[name] for name in _SCHEMAS if name in doc] if isinstance(doc, dict) else []
        for parts in map(schema, found):
            yield "schema", parts
    elif key in _SYSTEM:
        yield "system", list(_content(doc))
    else:
        yield role_of(doc.get("role")) if isinstance(doc, dict) else "user", list(_content(doc))


def _content(doc: Any) -> Iterator[Part]:
    yield from content(doc["parts"] if isinstance(doc, dict) and "parts" in doc else doc)


SHAPE = Shape(
    name="google",
    lists={"contents": "message"},
    values={**dict.fromkeys(_SYSTEM, "system"), "tools": "tools", **dict.fromkeys(_SETTINGS, "schema")},
    settings=("toolConfig", "tool_config", "cachedContent"),
    unwrap=("request", "generateContentRequest"),
    read=_read,
)
