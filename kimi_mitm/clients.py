"""Which client sent a request, in which version and session, and whether it is side traffic.

Tables are in `clients.toml`. Everything here is a pure function of a request's headers (lower-case
names, or a mapping that ignores case) and of a few fields of its body; nothing raises on any input.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

import msgspec

from kimi_mitm.fields import body_fields
from kimi_mitm.headers import HEADERS
from kimi_mitm.records import Operation, Request

__all__ = ["HEADERS", "UNKNOWN", "Client", "body_fields", "identify", "side_call"]

UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Who sent a request.

    `session_id`: the client's own name for its conversation, None where none is sent. `side`: True or
    False only when headers or fields say so themselves, else None. `subagent`: name or id of the
    sub-agent that asks. `turn_id`: the client's name for the user's prompt that caused the request.
    """

    name: str = UNKNOWN
    version: str | None = None
    session_id: str | None = None
    side: bool | None = None
    subagent: str | None = None
    turn_id: str | None = None


@dataclass(frozen=True, slots=True)
class _Row:
    name: str
    agent: re.Pattern[str] | None
    headers: tuple[tuple[str, re.Pattern[str]], ...]
    opening: re.Pattern[str] | None
    version: str | None
    sdk: bool


@dataclass(frozen=True, slots=True)
class _Mark:
    header: str
    main: re.Pattern[str] | None
    side: re.Pattern[str] | None
    subagent: re.Pattern[str] | None


@dataclass(frozen=True, slots=True)
class _Side:
    clients: frozenset[str]
    no_tools: bool
    max_output: int | None
    opening: re.Pattern[str] | None


def _pattern(text: str | None, flags: int = 0) -> re.Pattern[str] | None:
    return re.compile(text, flags) if text else None


def _row(raw: Mapping[str, Any]) -> _Row:
    return _Row(
        name=raw["name"],
        agent=_pattern(raw.get("agent")),
        headers=tuple((k, re.compile(v)) for k, v in raw.get("headers", {}).items()),
        opening=_pattern(raw.get("opening")),
        version=raw.get("version"),
        sdk=raw.get("sdk", False),
    )


def _load() -> dict[str, Any]:
    return tomllib.loads(files("kimi_mitm").joinpath("clients.toml").read_text(encoding="utf-8"))


_TABLE = _load()
_ROWS = tuple(_row(r) for r in _TABLE["clients"])
_APPS = tuple(r for r in _ROWS if not r.sdk)
_SDKS = tuple(r for r in _ROWS if r.sdk)
_SESSIONS: tuple[tuple[str, str, str], ...] = tuple(
    (where, key, rule) for where, key, rule in ([*s.split(":"), ""][:3] for s in _TABLE["sessions"])
)
_MARKS = tuple(
    _Mark(r["header"], *(_pattern(r.get(kind), re.I) for kind in ("main", "side", "subagent")))
    for r in _TABLE["marks"]
)
_SIDES = tuple(
    _Side(
        frozenset(r.get("clients", ())),
        r.get("no_tools", False),
        r.get("max_output"),
        _pattern(r.get("opening")),
    )
    for r in _TABLE["side"]
)

_MACHINE_MADE = re.compile(r"(?:session_|ses_|conv_|thread_)?[0-9A-Za-z][0-9A-Za-z_-]{19,127}")
_SESSION_IN_USER = re.compile(r'"session_id"\s*:\s*"([^"\\]{1,200})"|_session_([0-9A-Za-z-]{8,64})')
_TURN = (
    "header:x-claude-code-prompt-id",
    "header:x-interaction-id",
    "header:x-opencode-request",
    "body:client_metadata.turn_id",
    "body:user_prompt_id",
    "body:metadata.promptId",
)
_SUBAGENTS = tuple(f"header:{name}" for name in _TABLE["subagents"]["headers"])
_LONGEST_ID = 200


def identify(
    headers: Mapping[str, str],
    body_fields: Mapping[str, Any] | None,
    host: str = "",
    started: str | None = None,
) -> Client:
    """Who sent the request: User-Agent first, then other headers, then the prompt's opening words, then
    `started`, then SDKs.

    `body_fields` as `body_fields()` gives them, None when the body isn't there. `started`: the client of
    that run, where somebody started one through us who says so.
    """
    fields = body_fields or {}
    name, version = _who(headers, fields, started)
    side, subagent = _marked(headers, fields)
    return Client(
        name=name,
        version=version,
        session_id=_session(headers, fields),
        side=side,
        subagent=subagent,
        turn_id=_first(_TURN, headers, fields),
    )


def _who(
    headers: Mapping[str, str], fields: Mapping[str, Any], started: str | None
) -> tuple[str, str | None]:
    agent = headers.get("user-agent") or ""
    by_agent = _by_agent(agent[:512], False)
    if by_agent is not None:
        row, version = by_agent
        return row.name, version or _version(row, headers)
    for row in _APPS:
        if row.headers and all(p.search(headers.get(k) or "") for k, p in row.headers):
            return row.name, _version(row, headers)
    opening = fields.get("opening")
    if isinstance(opening, str) and opening:
        for row in _APPS:
            if row.opening and _opens(row.opening, opening):
                return row.name, None
    if started:
        return started, None
    by_agent = _by_agent(agent[:512], True)
    if by_agent is not None:
        return by_agent[0].name, by_agent[1]
    for row in _SDKS:
        if row.headers and all(p.search(headers.get(k) or "") for k, p in row.headers):
            return row.name, _version(row, headers)
    return UNKNOWN, None


@lru_cache(maxsize=512)
def _by_agent(agent: str, sdk: bool) -> tuple[_Row, str | None] | None:
    if not agent:
        return None
    for row in _SDKS if sdk else _APPS:
        found = row.agent.search(agent) if row.agent else None
        if found:
            version = next((v for v in found.groups() if v), None)
            return row, version.rstrip(",;)") if version else None
    return None


def _version(row: _Row, headers: Mapping[str, str]) -> str | None:
    if row.version is None:
        return None
    name, _, rule = row.version.partition(":")
    value = (headers.get(name) or "").strip()[:100]
    if rule == "after-slash":
        value = value.rpartition("/")[2]
    return value or None


def _value(where: str, key: str, headers: Mapping[str, str], fields: Mapping[str, Any]) -> str | None:
    value = headers.get(key) if where == "header" else fields.get(key)
    return value.strip() or None if isinstance(value, str) else None


def _first(sources: tuple[str, ...], headers: Mapping[str, str], fields: Mapping[str, Any]) -> str | None:
    for source in sources:
        where, _, key = source.partition(":")
        value = _value(where, key, headers, fields)
        if value:
            return value[:_LONGEST_ID]
    return None


def _session(headers: Mapping[str, str], fields: Mapping[str, Any]) -> str | None:
    for where, key, rule in _SESSIONS:
        value = _value(where, key, headers, fields)
        if value is None:
            continue
        if rule == "token" and not (_MACHINE_MADE.fullmatch(value) and any(c.isdigit() for c in value)):
            continue
        if rule == "session":
            found = _SESSION_IN_USER.search(value)
            if found is None:
                continue
            value = found[1] or found[2]
        if rule == "first":
            value = re.split("[:#]", value, maxsplit=1)[0]
        if value:
            return value[:_LONGEST_ID]
    return None


def _marked(headers: Mapping[str, str], fields: Mapping[str, Any]) -> tuple[bool | None, str | None]:
    """Side traffic, and the sub-agent's name, by what headers and fields say themselves."""
    side: bool | None = None
    subagent: str | None = None
    for mark in _MARKS:
        value = (headers.get(mark.header) or "").strip()[:_LONGEST_ID]
        if not value:
            continue
        if mark.side and mark.side.fullmatch(value):
            side = True
        elif mark.main and mark.main.fullmatch(value):
            side = side or False
        elif mark.subagent and mark.subagent.fullmatch(value):
            subagent = value
    turn = _turn_metadata(headers, fields)
    if turn.get("request_kind") == "prewarm" or fields.get("generate") is False:
        side = True
    agent = turn.get("agent_name")
    named = _first(_SUBAGENTS, headers, fields)
    if named is None and isinstance(agent, str) and agent not in ("", "/root"):
        named = agent[:_LONGEST_ID]
    return side, named or subagent


def _turn_metadata(headers: Mapping[str, str], fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Codex's own account of the turn. A WebSocket's handshake tells its first turn's only, so the
    body's, where there is one, wins."""
    text = fields.get("client_metadata.x-codex-turn-metadata")
    if text is None and not any(k.startswith("client_metadata.") for k in fields):
        text = headers.get("x-codex-turn-metadata")
    if not isinstance(text, str):
        return {}
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return {}


def side_call(
    client: Client, *, operation: Operation, request: Request | None = None, opening: str = ""
) -> bool:
    """Whether a request is traffic beside the conversation: completion while typing, embeddings, counting,
    titles, summaries, memories, probes and warm-ups. `opening` as in `body_fields`."""
    if client.side is not None:
        return client.side
    if operation in (Operation.EMBEDDINGS, Operation.COUNT_TOKENS):
        return True
    if request is not None and (request.fim or not request.generates):
        return True
    return any(_is_side(row, client, request, opening) for row in _SIDES)


def _is_side(row: _Side, client: Client, request: Request | None, opening: str) -> bool:
    if row.clients and client.name not in row.clients:
        return False
    if row.no_tools and (request is None or request.tool_count or "partial_body" in request.hidden):
        return False
    if row.max_output is not None and (request is None or request.max_output_tokens != row.max_output):
        return False
    return row.opening is None or _opens(row.opening, opening)


@lru_cache(maxsize=512)
def _opens(pattern: re.Pattern[str], opening: str) -> bool:
    """Whether the prompt's beginning has the words; a conversation begins the same each time."""
    return pattern.search(opening) is not None
