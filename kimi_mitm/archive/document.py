"""What an archived session says: who and when, figures, and turn by turn what was said.

A message stands once, at the exchange that brought it, though clients send it again and again.
Secrets are removed from every text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from kimi_mitm import redact
from kimi_mitm.archive.yaml_text import Value, dump
from kimi_mitm.records import Exchange, Message, Part, PartKind
from kimi_mitm.render import plain
from kimi_mitm.sessions.record import Session

_SESSION = (
    "user",
    "client",
    "client_session_id",
    "config_id",
    "provider",
    "model",
    "name",
    "kind",
    "folder",
    "started_at",
    "ended_at",
    "end_reason",
    "previous_session_id",
)
_FIGURES = (
    "requests",
    "side_requests",
    "failed_requests",
    "estimated",
    "max_tokens",
    "mean_tokens",
    "total_prompt_tokens",
    "total_completion_tokens",
    "total_cached_tokens",
    "total_reasoning_tokens",
    "cost_usd",
    "unpriced_requests",
    "median_error",
    "last_error",
    "context_tokens",
    "context_window",
    "context_percent",
    "context_level",
    "memory_tokens",
    "chat_tokens",
    "memory_ratio",
    "providers",
    "models",
)
_TURN = (
    "started_at",
    "duration_ms",
    "ttft_ms",
    "provider",
    "served_by",
    "model",
    "response_model",
    "status",
    "estimated_input_tokens",
    "estimate_kind",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "total_tokens",
    "is_estimated",
    "source",
    "context_percent",
    "cost_usd",
    "finish_reason",
    "error",
)
_ALWAYS = frozenset({"input_tokens", "output_tokens", "cost_usd"})
"""Shown as null when unknown; other unknown figures are left out."""

_RESENT = frozenset({"system", "tools", "schema"})
"""Roles whose message is the same thing said again: of a changed one only the changed parts are new."""

type Transcript = Iterable[tuple[Message, str]]
"""Each message once, in order, with the id of the exchange that brought it."""


def document(
    session: Session, transcript: Transcript, exchanges: Sequence[Exchange], *, content: bool = True
) -> str:
    """The archive as YAML. `exchanges` in order of their start; without `content` only figures."""
    said = _by_exchange(transcript) if content else {}
    known = {exchange.id for exchange in exchanges}
    turns: list[Value] = [_turn(exchange, said.get(exchange.id, [])) for exchange in exchanges]
    turns += [{"exchange": name, "messages": said[name]} for name in said if name not in known]
    about: dict[str, Value] = {"session_id": session.session_id}
    about |= _fields(session, _SESSION)
    return dump({**about, "figures": _fields(session.stats, _FIGURES), "turns": turns})


def _turn(exchange: Exchange, messages: list[Value]) -> Value:
    side: dict[str, Value] = {"side": True} if exchange.side else {}
    turn = {"exchange": exchange.id, **side, **_fields(exchange, _TURN)}
    return {**turn, "messages": messages} if messages else turn


def _fields(record: Any, names: Iterable[str]) -> dict[str, Value]:
    values = {name: _clean(plain(getattr(record, name))) for name in names}
    return {name: value for name, value in values.items() if value not in (None, []) or name in _ALWAYS}


def _clean(value: Any) -> Value:
    match value:
        case str():
            return redact.text(value)
        case Mapping():
            return {key: _clean(item) for key, item in value.items()}
        case list():
            return [_clean(item) for item in value]
        case None | bool() | int() | float():
            return value
        case _:
            return str(value)


def _by_exchange(transcript: Transcript) -> dict[str, list[Value]]:
    said: dict[str, list[Value]] = {}
    shown: set[Part] = set()
    for message, exchange_id in transcript:
        if message.role in _RESENT:
            fresh = tuple(part for part in message.parts if part not in shown)
            shown.update(fresh)
            message = replace(message, parts=fresh)
        if message.parts:
            said.setdefault(exchange_id, []).append(_message(message))
    return said


def _message(message: Message) -> Value:
    parts = [_part(part) for part in message.parts]
    if len(parts) == 1:
        return {"role": message.role, **parts[0]}
    return {"role": message.role, "parts": parts}


def _part(part: Part) -> dict[str, Value]:
    match part.kind:
        case PartKind.TEXT | PartKind.REASONING | PartKind.MEMORY | PartKind.OTHER | PartKind.TOOL_RESULT:
            name: dict[str, Value] = {"name": redact.text(part.name)} if part.name else {}
            return {**name, part.kind.value: redact.text(part.text)}
        case PartKind.TOOL_CALL:
            return {"tool_call": redact.text(part.name or ""), "arguments": redact.text(part.text)}
        case _:
            return {part.kind.value: _media(part), **({"text": redact.text(part.text)} if part.text else {})}


def _media(part: Part) -> str:
    size = f"{part.width}×{part.height}" if part.width and part.height else None
    pages = f"{part.pages} pages" if part.pages else None
    length = f"{part.size} bytes" if part.size is not None else None
    remote = "elsewhere" if part.remote else None
    return ", ".join(known for known in (part.mime, size, pages, length, remote) if known) or "unknown"
