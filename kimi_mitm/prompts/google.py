"""Google's generateContent format: Gemini API, Vertex, and Code Assist, which wraps it in `request`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from kimi_mitm.prompts.blocks import content
from kimi_mitm.prompts.shape import Shape
from kimi_mitm.prompts.texts import role_of
from kimi_mitm.prompts.tools import definitions, schema
from kimi_mitm.records import Part

_SYSTEM = ("systemInstruction", "system_instruction")
_SETTINGS = ("generationConfig", "generation_config")
_SCHEMAS = {
    **dict.fromkeys(("responseSchema", "response_schema"), None),
    **dict.fromkeys(("responseJsonSchema", "response_json_schema"), "json_schema"),
}
"""Where output schemas stand; those in plain JSON Schema have a detail, as Gemini 2.0 doesn't read them."""


def _read(key: str, doc: Any) -> Iterator[tuple[str, list[Part]]]:
    if key == "tools":
        yield "tools", definitions(doc)
    elif key in _SETTINGS:
        for name, detail in _SCHEMAS.items() if isinstance(doc, dict) else ():
            if name in doc:
                yield "schema", [replace(part, detail=detail) for part in schema(doc[name])]
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
