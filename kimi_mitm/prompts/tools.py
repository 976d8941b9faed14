"""Definitions of tools and output schemas of all wire formats → parts with the definition as compact JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kimi_mitm.prompts.shape import decode
from kimi_mitm.prompts.texts import compact, name_in
from kimi_mitm.records import Part, PartKind

_WRAPPERS = ("json_schema", "format", "textFormat", "structure", "jsonSchema", "schema")
_SCHEMA_KEYS = {"properties", "$ref", "$defs", "anyOf", "items", "enum"}
_GROUPS = ("functionDeclarations", "function_declarations")
_MAX_DEPTH = 12


def definitions(doc: Any) -> list[Part]:
    """One part per tool: its name, and name, description and parameters as JSON. A tool that the provider
    itself runs has its type for a name."""
    if isinstance(doc, dict):
        doc = doc.get("tools", [doc])
    return [part for tool in (doc if isinstance(doc, list) else []) for part in _definition(tool)]


def _definition(tool: Any) -> Iterator[Part]:
    if not isinstance(tool, dict):
        yield Part(kind=PartKind.OTHER, text=compact(tool))
        return
    for group in _GROUPS:
        if isinstance(declared := tool.get(group), list):
            yield from (_part(inner) for inner in declared)
            return
    for wrapper in ("function", "toolSpec", "custom"):
        if isinstance(inner := tool.get(wrapper), dict):
            yield _part(inner)
            return
    if "cachePoint" not in tool:
        yield _part(tool)


def _part(tool: Any) -> Part:
    if not isinstance(tool, dict):
        return Part(kind=PartKind.OTHER, text=compact(tool))
    name = name_in(tool) or name_in(tool, "type") or next((key for key in tool if isinstance(key, str)), None)
    kept = {key: value for key, value in tool.items() if key != "cache_control"}
    return Part(kind=PartKind.OTHER, text=compact(kept), name=name)


def schema(doc: Any, name: str | None = None, depth: int = 0) -> list[Part]:
    """The part of an output schema with its name, however it is wrapped; none for a format without one
    (`text`, `json_object`)."""
    if not isinstance(doc, dict) or depth > _MAX_DEPTH:
        return []
    for key in _WRAPPERS:
        inner = doc.get(key)
        if isinstance(inner, str) and inner.lstrip().startswith("{"):  # Bedrock's is JSON in a string
            inner = decode(inner.encode("utf-8", "replace"))
        if isinstance(inner, dict):
            named = name or name_in(doc)
            return schema(inner, named, depth + 1) or ([_named(inner, named)] if key == "schema" else [])
    return [_named(doc, name)] if _SCHEMA_KEYS & doc.keys() else []


def _named(doc: dict[str, Any], name: str | None) -> Part:
    return Part(kind=PartKind.OTHER, text=compact(doc), name=name)
