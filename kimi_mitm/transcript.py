"""What a conversation said, each message once: what the archive and searches are made of.

Clients send their whole history again with each request. A message is known by its digest; what a
model answered is kept from its answer, so the copy that the client sends back is left out.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from kimi_mitm import prompts, redact
from kimi_mitm.draft import Draft
from kimi_mitm.records import Answer, Message, Part, PartKind
from kimi_mitm.render import instant
from kimi_mitm.store.tables import messages

_SESSIONS = 500
_PART_LIMIT = 200_000
"""Characters of one part that are kept."""


@dataclass(frozen=True, slots=True)
class Said:
    """One message of a session, with the exchange that brought it."""

    message: Message
    exchange_id: str
    at: datetime


class Transcripts:
    """Knows which messages of the sessions used last are kept already."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, set[str]] = OrderedDict()

    def fresh(self, draft: Draft) -> list[Said]:
        """The messages that an exchange adds to its session, redacted, in order."""
        exchange, body = draft.exchange, draft.body
        if exchange.session_id is None or exchange.side:
            return []
        first = exchange.session_id not in self._known
        known = self._known.setdefault(exchange.session_id, set())
        self._known.move_to_end(exchange.session_id)
        while len(self._known) > _SESSIONS:
            self._known.popitem(last=False)
        found: list[Said] = []
        if body and exchange.wire_format:
            for piece in prompts.split(exchange.wire_format, body):
                if piece.digest in known:
                    continue
                known.add(piece.digest)
                found += [
                    Said(_redacted(message), exchange.id, exchange.started_at)
                    for message in prompts.messages(exchange.wire_format, body, piece)
                    if first or message.role != "assistant"
                ]
        answered = _answered(draft.answer, exchange.id)
        if answered is not None:
            found.append(Said(_redacted(answered), exchange.id, exchange.ended_at or exchange.started_at))
        return found


def rows(session_id: str, said: list[Said]) -> list[dict[str, Any]]:
    """Rows of the `messages` table."""
    return [
        {
            "session_id": session_id,
            "digest": s.message.digest,
            "exchange_id": s.exchange_id,
            "at": instant(s.at),
            "role": s.message.role,
            "document": msgspec.json.encode(s.message).decode(),
        }
        for s in said
    ]


async def keep(connection: AsyncConnection, found: list[dict[str, Any]]) -> None:
    """Writes rows; those that are there already stay as they are."""
    from sqlalchemy.dialects import postgresql, sqlite

    make = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    await connection.execute(make(messages).on_conflict_do_nothing(), found)


async def read(connection: AsyncConnection, session_id: str) -> list[Said]:
    """A session's messages in order."""
    c = messages.c
    statement = select(c.document, c.exchange_id, c.at).where(c.session_id == session_id).order_by(c.seq)
    return [
        Said(msgspec.json.decode(row[0], type=Message), row[1], datetime.fromisoformat(row[2]))
        for row in (await connection.execute(statement)).all()
    ]


async def forget(connection: AsyncConnection, session_id: str) -> None:
    """Deletes a session's messages."""
    await connection.execute(delete(messages).where(messages.c.session_id == session_id))


def _redacted(message: Message) -> Message:
    parts = tuple(replace(p, text=redact.text(p.text[:_PART_LIMIT])) if p.text else p for p in message.parts)
    return replace(message, parts=parts)


def _answered(answer: Answer | None, exchange_id: str) -> Message | None:
    if answer is None:
        return None
    parts = []
    if answer.reasoning:
        parts.append(Part(kind=PartKind.REASONING, text=answer.reasoning))
    if answer.text:
        parts.append(Part(kind=PartKind.TEXT, text=answer.text))
    parts += [Part(kind=PartKind.TOOL_CALL, name=c.name, text=c.arguments) for c in answer.tool_calls]
    if not parts:
        return None
    return Message(role="assistant", parts=tuple(parts), digest=f"answer:{exchange_id}")
