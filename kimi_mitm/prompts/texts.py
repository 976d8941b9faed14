"""Small readers that all shapes share: a role's common name, JSON as text, text cut where memories stand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from kimi_mitm.prompts.memory import cut
from kimi_mitm.records import Part, PartKind

_ROLES = {
    "system": "system",
    "developer": "system",
    "assistant": "assistant",
    "model": "assistant",
    "chatbot": "assistant",
    "ai": "assistant",
    "tool": "tool",
    "function": "tool",
}


def role_of(value: Any, default: str = "user") -> str:
    """The common role for a format's word: `system`, `user`, `assistant` or `tool`."""
    return _ROLES.get(value.lower(), "user") if isinstance(value, str) else default


def compact(value: Any) -> str:
    """JSON without white space; what can't be encoded is read as its text."""
    if isinstance(value, str):
        return value
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError, RecursionError, UnicodeError):
        return _as_text(value)


def _as_text(value: Any) -> str:
    try:
        return str(value)
    except (RecursionError, ValueError):
        return ""


def text_parts(value: Any, kind: PartKind = PartKind.TEXT, name: str | None = None) -> Iterator[Part]:
    """A text, cut where memories were injected."""
    if value is None:
        return
    text = compact(value)
    if kind is not PartKind.TEXT:
        yield Part(kind=kind, text=text, name=name)
        return
    for injected, piece in cut(text):
        yield Part(kind=PartKind.MEMORY if injected else kind, text=piece, name=name)


def name_in(block: Any, key: str = "name") -> str | None:
    """The block's name, where it has one that is a text."""
    name = block.get(key) if isinstance(block, dict) else None
    return name if isinstance(name, str) else None


def text_at(block: Any, *keys: str) -> str | None:
    """The text at a path of keys; None where there is none."""
    value = block
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, str) else None
