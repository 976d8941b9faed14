"""Which session each exchange of a batch belongs to, and what is to be stored and told of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from kimi_mitm.draft import Draft
from kimi_mitm.engine.drafting import Update
from kimi_mitm.records import Exchange
from kimi_mitm.sessions.book import SessionBook
from kimi_mitm.sessions.seen import Seen


@dataclass(slots=True)
class Batch:
    """What became of a batch of updates. Nothing of it has happened before it is stored.

    `placed`: the session of each exchange that had none. `records`: the newest version of each exchange
    that is to be stored. `completed`: the exchanges that ended, with what is known beside the record.
    """

    placed: dict[str, str] = field(default_factory=dict)
    records: dict[str, Exchange] = field(default_factory=dict)
    started: list[Exchange] = field(default_factory=list)
    updated: list[Exchange] = field(default_factory=list)
    completed: list[tuple[Exchange, Update]] = field(default_factory=list)

    @property
    def drafts(self) -> list[Draft]:
        """The drafts of the exchanges that ended, with their records as they are to be stored."""
        return [replace(update.draft, exchange=exchange) for exchange, update in self.completed]


def place(
    book: SessionBook, updates: Sequence[Update], placed: Mapping[str, str], now: datetime | None
) -> Batch:
    """Places updates in order. `placed`: the sessions of exchanges under way; `now` is None where the
    exchanges' own times count, as in a file."""
    batch = Batch()
    for update in updates:
        draft, exchange = update.draft, update.draft.exchange
        session_id = placed.get(exchange.id) or batch.placed.get(exchange.id)
        if session_id is None:
            session_id = book.place(_seen(draft), now or exchange.started_at).session_id
            batch.placed[exchange.id] = session_id
        exchange = replace(exchange, session_id=session_id)
        match update.stage:
            case "started":
                batch.started.append(exchange)
                batch.records[exchange.id] = exchange
            case "updated":
                batch.updated.append(exchange)
            case _:
                issued = draft.answer.issued_ids if draft.answer else ()
                book.settled(exchange, now or exchange.ended_at or exchange.started_at, issued_ids=issued)
                batch.completed.append((exchange, update))
                batch.records[exchange.id] = exchange
    return batch


def _seen(draft: Draft) -> Seen:
    exchange, opened = draft.exchange, draft.opened
    return Seen(
        exchange_id=exchange.id,
        user=exchange.user or "unknown",
        client=exchange.client,
        provider=exchange.provider,
        model=exchange.model,
        side=exchange.side,
        client_session_id=exchange.client_session_id,
        x_session_id=opened.headers.get("x-session-id"),
        issued_ids=draft.request.issued_ids,
        prompt=draft.client.turn_id or draft.prompt,
        connection=opened.conn or None,
        host=opened.host,
        wire_format=exchange.wire_format,
        context_window=exchange.context_window,
    )
