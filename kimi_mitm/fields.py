"""The few fields of a request body that identify its sender, whatever the wire format.

The body is split, not parsed: what is long (messages, tools) stays bytes, of which only the beginning
is looked at. A body of 2 MB takes less than a millisecond.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import Any

import msgspec

_OPENING = 2000
_LOOKED_AT = 16 * 1024
_TEXT_LIMIT = 4096

_TOP = msgspec.json.Decoder(dict[str, msgspec.Raw])
_TEXT = re.compile(rb'"(?:text|content)"\s*:\s*"((?:[^"\\]++|\\.)++)', re.DOTALL)
_NESTED = ("metadata", "client_metadata", "request", "requesty", "unbound_metadata")
_PLAIN = (
    "model",
    "prompt_cache_key",
    "session_id",
    "user_prompt_id",
    "user",
    "safety_identifier",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "generate",
    "stream",
    "type",
)
_SYSTEM = ("system", "instructions", "systemInstruction", "system_instruction", "preamble")
_TURNS = ("messages", "input", "contents", "prompt", "message")


def body_fields(body: bytes) -> dict[str, Any]:
    """The identifying fields of a decoded request body, flat: `metadata.user_id`, `prompt_cache_key`, …

    `opening` is the beginning of the prompt's texts (system text first), `tools` whether tools are
    offered. A WebSocket turn (`response.create`) and Code Assist's wrapper are looked into. Empty for
    what is no JSON object.
    """
    top = _split(body)
    if not top:
        return {}
    out: dict[str, Any] = {}
    inner = _split(top["response"]) if "response" in top else {}
    asked = _split(top["request"]) if "request" in top else {}
    for source in (inner, top):
        out.update(_plain(source, _PLAIN))
        for key in _NESTED:
            if key in source and key != "request":
                out.update((f"{key}.{k}", v) for k, v in _plain(_split(source[key])).items())
    out.update((f"request.{k}", v) for k, v in _plain(asked, ("session_id",)).items())
    merged = top | asked | inner
    out["opening"] = _opening(merged)
    out["tools"] = _offers_tools(merged)
    return out


def _split(raw: bytes | msgspec.Raw) -> dict[str, msgspec.Raw]:
    try:
        return _TOP.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}


def _plain(source: dict[str, msgspec.Raw], keys: tuple[str, ...] | None = None) -> dict[str, Any]:
    """Values that are texts, numbers or booleans."""
    out: dict[str, Any] = {}
    for key in keys or tuple(source)[:40]:
        raw = source.get(key)
        if raw is None or len(memoryview(raw)) > _TEXT_LIMIT:
            continue
        try:
            out[key] = msgspec.json.decode(raw, type=str | int | float | bool)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
    return out


def _offers_tools(source: dict[str, msgspec.Raw]) -> bool:
    for key in ("tools", "toolConfig", "functions"):
        head = bytes(memoryview(source[key])[:3]) if key in source else b""
        if head and head not in (b"[]", b"{}") and head[:1] in (b"[", b"{"):
            return True
    return False


def _opening(source: dict[str, msgspec.Raw]) -> str:
    texts: list[str] = []
    room = _OPENING
    for key in _SYSTEM + _TURNS:
        if key not in source or room <= 0:
            continue
        head = bytes(memoryview(source[key])[:_LOOKED_AT])
        for piece in _pieces(head):
            texts.append(piece[:room])
            room -= len(piece) + 1
            if room <= 0:
                break
    return "\n".join(texts)


def _pieces(head: bytes) -> list[str]:
    if head.startswith(b'"'):
        return [_unescaped(head[1:].removesuffix(b'"'))]
    return [_unescaped(found[1]) for found in islice(_TEXT.finditer(head), 4)]


def _unescaped(text: bytes) -> str:
    """A JSON string's text, its end perhaps cut."""
    text = text[:_OPENING]
    try:
        return msgspec.json.decode(b'"' + text + b'"', type=str)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return text.rstrip(b"\\").decode("utf-8", "replace").replace("\\n", "\n").replace('\\"', '"')
