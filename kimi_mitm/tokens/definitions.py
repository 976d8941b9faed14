"""What counts in a tool definition or an output schema: its words and fields, without JSON's own signs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kimi_mitm.prompts.shape import decode
from kimi_mitm.prompts.texts import compact

_MAX_DEPTH = 12
_NO_WORDS = ("type", "$schema", "$ref", "required", "strict", "title", "additionalProperties")


def compacted(arguments: str) -> str:
    """JSON without the white space between its tokens; providers re-encode arguments."""
    if ": " not in arguments and ", " not in arguments and "\n" not in arguments:
        return arguments
    doc = decode(arguments.encode("utf-8", "replace"))
    if isinstance(doc, str):
        return arguments
    return compact(doc)


def words_of(doc: Any, depth: int = 0) -> Iterator[str]:
    """Names, descriptions and other texts of a definition, without what is only JSON's or the schema's."""
    if depth > _MAX_DEPTH:
        return
    if isinstance(doc, dict):
        for key, value in doc.items():
            if key in ("properties", "$defs", "definitions") and isinstance(value, dict):
                for name, inner in value.items():
                    yield str(name)
                    yield from words_of(inner, depth + 1)
            elif key not in _NO_WORDS:
                yield from words_of(value, depth + 1)
    elif isinstance(doc, list):
        for value in doc:
            yield from words_of(value, depth + 1)
    elif isinstance(doc, str):
        yield doc


def fields_of(doc: Any, depth: int = 0) -> int:
    """How many properties a schema has, nested ones included."""
    if depth > _MAX_DEPTH:
        return 0
    if isinstance(doc, list):
        return sum(fields_of(value, depth + 1) for value in doc)
    if not isinstance(doc, dict):
        return 0
    found = doc.get("properties")
    own = len(found) if isinstance(found, dict) else 0
    return own + sum(fields_of(value, depth + 1) for value in doc.values())
