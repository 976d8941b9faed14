"""Where everything about an exchange comes together: placed in a session, settled, stored, told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from kimi_mitm import link, notes, prices, prompts, settling, transcript
from kimi_mitm.draft import Draft
from kimi_mitm.events import Hub
from kimi_mitm.faults import place_of
from kimi_mitm.intake import Intake, Update
from kimi_mitm.records import Exchange, PartKind
from kimi_mitm.render import exchange_json
from kimi_mitm.session_book import SessionBook
from kimi_mitm.session_keeper import SessionKeeper
from kimi_mitm.session_seen import Seen
from kimi_mitm.settings import Settings
from kimi_mitm.store import Store
from kimi_mitm.store import exchanges as exchange_rows
from kimi_mitm.tokens import Estimator
from kimi_mitm.transcript import Said, Transcripts

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Batch:
    """What became of a batch of updates, until it is stored: nothing of it has happened before."""

    placed: dict[str, str] = field(default_factory=dict)
    started: list[Exchange] = field(default_factory=list)
    completed: list[tuple[Exchange, Update]] = field(default_factory=list)


class Desk:
    """The engine's loop side. `handle` takes the intake's news in batches, one after the other."""

    def __init__(self, settings: Settings, outbox: link.Outbox) -> None:
        self._settings = settings
        self._outbox = outbox
        self._placed: dict[str, str] = {}
        self._transcripts = Transcripts()
        self.hub = Hub()
        self.lost = link.Lost(bodies=0, frames=0, hurried=0, restarts=0)
        self.recorded = 0

    async def open(self, emit: Callable[[Any], None]) -> Intake:
        """Opens the store and everything on it; gives the intake, ready to be fed."""
        self.store = await Store.open(self._settings.db, self.say)
        self.estimator = Estimator(await self.store.learner())
        self.keeper = SessionKeeper(self._settings, self.store, self.hub)
        await self.keeper.open(datetime.now(UTC))
        self._outbox.put(link.Ready(control=None, store=self.store.trouble is None))
        self._warming = asyncio.create_task(asyncio.to_thread(self._warm), name="kimi warm-up")
        known = await self.store.known_exchanges() if self._settings.offline else frozenset()
        return Intake(self.estimator, emit, known=known)

    def _warm(self) -> None:
        """Loads what the first exchange would have to wait for."""
        self.estimator.warm()
        prices.context_window("gpt-4o", "openai", "openai")

    async def close(self) -> None:
        """Ends the sessions, writes what waits and lets go."""
        now = datetime.now(UTC)
        await self.keeper.change(lambda book: book.shutdown(now))
        await self.store.close(30.0)

    def say(self, text: str) -> None:
        """One line for mitmproxy's log."""
        self._outbox.put(link.Word(text=text, level="warning"))

    def faulty(self, error: Exception) -> None:
        """Our own fault; the next exchange is not to suffer."""
        self.say(f"an exchange could not be recorded ({place_of(error)})")

    async def handle(self, news: Sequence[object]) -> None:
        """Takes news in order."""
        updates = [n for n in news if isinstance(n, Update)]
        if updates:
            await self._record(updates)
        for item in news:
            match item:
                case link.Lost():
                    self.lost = item
                case link.Gone():
                    await self._gone(item)

    async def _record(self, updates: Sequence[Update]) -> None:
        now = datetime.now(UTC)
        result = Batch()

        def work(book: SessionBook) -> Batch:
            nonlocal result
            result = self._batch(book, updates, now)
            return result

        async def save(connection: AsyncConnection) -> None:
            latest = {e.id: e for e in [*result.started, *(e for e, _ in result.completed)]}
            await exchange_rows.save(connection, latest.values())

        await self.keeper.change(work, save)
        self._placed.update(result.placed)
        for exchange in result.started:
            self._tell("exchange:started", exchange, settled=False)
        for update in updates:
            if update.stage == "updated":
                self.hub.publish("exchange:updated", exchange_json(self._with_session(update.draft.exchange)))
        for exchange, update in result.completed:
            self._completed(exchange, update)

    def _batch(self, book: SessionBook, updates: Sequence[Update], now: datetime) -> Batch:
        batch = Batch()
        for update in updates:
            draft = update.draft
            exchange = draft.exchange
            at = exchange.started_at if self._settings.offline else now
            session_id = self._placed.get(exchange.id) or batch.placed.get(exchange.id)
            if session_id is None:
                session_id = book.place(_seen(draft), at).session_id
                batch.placed[exchange.id] = session_id
            exchange = replace(exchange, session_id=session_id)
            if update.stage == "started":
                batch.started.append(exchange)
            elif update.stage == "completed":
                exchange = settling.settle(exchange, [*update.readings, *settling.error_readings(exchange)])
                end = exchange.ended_at or at
                issued = draft.answer.issued_ids if draft.answer else ()
                book.settled(exchange, end if self._settings.offline else now, issued_ids=issued)
                batch.completed.append((exchange, update))
        return batch

    def _completed(self, exchange: Exchange, update: Update) -> None:
        self.recorded += 1
        if not update.draft.pending:
            self._placed.pop(exchange.id, None)
        if update.learned:
            self.store.save_learner(update.learned, datetime.now(UTC))
        if self._settings.store_content:
            self._keep_content(replace(update.draft, exchange=exchange))
        self._tell("exchange:completed", exchange, settled=True)

    def _keep_content(self, draft: Draft) -> None:
        said: list[Said] = self._transcripts.fresh(draft)
        if said and draft.exchange.session_id:
            rows = transcript.rows(draft.exchange.session_id, said)

            async def change(connection: AsyncConnection) -> None:
                await transcript.keep(connection, rows)

            self.store.put(change)

    async def _gone(self, gone: link.Gone) -> None:
        now = datetime.fromtimestamp(gone.at, UTC)
        await self.keeper.change(lambda book: book.disconnected(gone.conn, now))

    def _with_session(self, exchange: Exchange) -> Exchange:
        return replace(exchange, session_id=self._placed.get(exchange.id))

    def _tell(self, kind: str, exchange: Exchange, *, settled: bool) -> None:
        self.hub.publish(kind, exchange_json(exchange))
        self._outbox.put(notes.note_of(exchange, settled=settled))


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
        prompt=draft.client.turn_id or _prompt(draft),
        connection=opened.conn or None,
        host=opened.host,
        wire_format=exchange.wire_format,
        context_window=exchange.context_window,
    )


def _prompt(draft: Draft) -> str | None:
    """The user's own last words in the prompt, by digest: the same through an agent's whole loop."""
    name, body = draft.exchange.wire_format, draft.body
    if not body or not name or draft.exchange.side:
        return None
    for piece in reversed(prompts.split(name, body)[-50:]):
        for message in prompts.messages(name, body, piece):
            if message.role == "user" and any(p.kind is PartKind.TEXT for p in message.parts):
                return message.digest
    return None
