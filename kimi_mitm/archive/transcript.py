"""What a conversation said, each message once: what the archive and searches are made of.

Clients send their whole history again with each request. A message is known by its digest and by how
often the same one stood before it ("continue" may be said twice); what a model answered is kept from its
answer, so the copy that the client sends back is left out.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from kimi_mitm import redact
from kimi_mitm.draft import Draft
from kimi_mitm.prompts.shape import digests
from kimi_mitm.records import Answer, Message, Part, PartKind
from kimi_mitm.render import instant
from kimi_mitm.store.dialect import insert_new
from kimi_mitm.store.tables import messages

_SESSIONS = 500
MOST_MESSAGES = 20_000
"""Messages of one session that are kept; of what comes after them only the figures are."""
CHARACTERS = 32 * 1024 * 1024
"""Characters of a session's messages that are read at once."""
_PART_LIMIT = 200_000
"""Characters of one part that are kept."""


@dataclass(frozen=True, slots=True)
class Said:
    """One message of a session, with the exchange that brought it."""

    message: Message
    exchange_id: str
    at: datetime


class Transcripts:
    """Knows which messages of the sessions used last are kept already: `write` in a transaction of the
    database, then `commit` once that is stored."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, set[int]] = OrderedDict()
        self._pending: dict[str, set[int]] = {}

    async def write(self, connection: AsyncConnection, drafts: Iterable[Draft]) -> None:
        """Writes the messages that exchanges add to their sessions, redacted, in order."""
        self._pending.clear()
        for draft in drafts:
            await self._add(connection, draft)

    def commit(self) -> None:
        """What was written last is stored."""
        for session_id, names in self._pending.items():
            self._known.setdefault(session_id, set()).update(names)
            self._known.move_to_end(session_id)
        self._pending.clear()
        while len(self._known) > _SESSIONS:
            self._known.popitem(last=False)

    async def _add(self, connection: AsyncConnection, draft: Draft) -> None:
        session_id = draft.exchange.session_id
        if session_id is None or draft.exchange.side:
            return
        if session_id not in self._known and session_id not in self._pending:
            found = await connection.execute(
                select(messages.c.digest).where(messages.c.session_id == session_id)
            )
            self._pending[session_id] = {hash(digest) for digest in found.scalars()}
        said = self._fresh(draft, session_id)
        if said:
            rows = [_row(session_id, s) for s in said]
            await connection.execute(insert_new(connection, messages), rows)

    def _fresh(self, draft: Draft, session_id: str) -> list[Said]:
        exchange, shape = draft.exchange, draft.shape
        known = self._known.get(session_id, set())
        pending = self._pending.setdefault(session_id, set())
        first = not known and not pending
        found: list[Said] = []
        times: Counter[bytes] = Counter()
        partial = f"@{exchange.id}" if draft.request.previous_response_id else ""
        slices = draft.slices if shape else ()
        for piece, digest in zip(slices, digests(slices, draft.body or b""), strict=True):
            times[digest] += 1
            key = f"{digest.hex()}{partial}#{times[digest]}"
            name = hash(key)
            if name in known or name in pending:
                continue
            if len(known) + len(pending) >= MOST_MESSAGES:
                return found
            pending.add(name)
            for i, message in enumerate(shape.messages(piece) if shape else ()):
                if first or message.role != "assistant":
                    named = replace(_redacted(message), digest=key if i == 0 else f"{key}.{i}")
                    found.append(Said(named, exchange.id, exchange.started_at))
        answered = _answered(draft.answer, exchange.id)
        if answered is not None:
            pending.add(hash(answered.digest))
            found.append(Said(_redacted(answered), exchange.id, exchange.ended_at or exchange.started_at))
        return found


def _row(session_id: str, said: Said) -> dict[str, Any]:
    return {
        "session_id": session_id,
        "digest": said.message.digest,
        "exchange_id": said.exchange_id,
        "at": instant(said.at),
        "role": said.message.role,
        "document": msgspec.json.encode(said.message).decode(),
    }


async def read(connection: AsyncConnection, session_id: str, limit: int = CHARACTERS) -> list[Said]:
    """A session's messages in order, the last ones of it where they are more than `limit` characters."""
    c = messages.c
    statement = (
        select(c.document, c.exchange_id, c.at).where(c.session_id == session_id).order_by(c.seq.desc())
    )
    found: list[Said] = []
    async with connection.stream(statement) as rows:
        async for document, exchange_id, at in rows:
            limit -= len(document)
            if limit < 0 and found:
                break
            message = msgspec.json.decode(document, type=Message)
            found.append(Said(message, exchange_id, datetime.fromisoformat(at)))
    return found[::-1]


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
