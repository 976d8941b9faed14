"""The register of exchanges: what the intake says of them is placed, stored, and then told."""

from __future__ import annotations

from collections import ChainMap, OrderedDict
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy.ext.asyncio import AsyncConnection

from kimi_mitm import notes
from kimi_mitm.archive.transcript import Transcripts
from kimi_mitm.draft import Draft
from kimi_mitm.engine.drafting import Update
from kimi_mitm.engine.placing import Batch, place
from kimi_mitm.faults import place_of
from kimi_mitm.outbox import Outbox
from kimi_mitm.records import Exchange
from kimi_mitm.render import exchange_json
from kimi_mitm.sessions.book import SessionBook
from kimi_mitm.settings import Settings
from kimi_mitm.store import Extra
from kimi_mitm.store import exchanges as exchange_rows

if TYPE_CHECKING:
    from kimi_mitm.engine.desk import Desk

_PENDING = 1000
_REQUEST_IDS = ("request-id", "x-request-id", "x-amzn-requestid", "x-goog-request-id")


class Register:
    """One per desk, whose store, sessions, logs and listeners it serves."""

    def __init__(self, desk: Desk, settings: Settings, outbox: Outbox, clock: Callable[[], datetime]) -> None:
        self._desk = desk
        self._keeper = desk.keeper
        self._outbox = outbox
        self._clock = clock
        self._offline = settings.offline
        self._content = settings.store_content
        self._placed: dict[str, str] = {}
        self._pending: OrderedDict[str, str] = OrderedDict()
        self._transcripts = Transcripts()

    async def take(self, updates: Sequence[Update]) -> None:
        """Takes updates in order, all in one transaction. One that trips us is left out, and told of."""
        if updates and not await self._record(updates) and len(updates) > 1:
            for update in updates:
                await self._record([update])

    async def _record(self, updates: Sequence[Update]) -> bool:
        """Places and stores; then tells. False when nothing was stored, through a fault of ours."""
        try:
            batch = await self._store(updates)
        except Exception as e:
            if len(updates) == 1:
                self._desk.faulty(place_of(e))
            return False
        try:
            await self._announce(batch)
        except Exception as e:
            self._desk.faulty(place_of(e))
        return True

    async def _store(self, updates: Sequence[Update]) -> Batch:
        now = None if self._offline else self._clock()
        records: dict[str, Exchange] = {}
        drafts: list[Draft] = []

        def work(book: SessionBook) -> Batch:
            nonlocal records, drafts
            batch = place(book, updates, ChainMap(self._placed, self._pending), now)
            records, drafts = batch.records, batch.drafts
            return batch

        async def save(connection: AsyncConnection) -> None:
            await exchange_rows.save(connection, records.values())

        async def write(connection: AsyncConnection) -> None:
            await self._transcripts.write(connection, drafts)

        extras = []
        if any(u.stage != "updated" for u in updates):  # an answer that goes on is told of, not stored
            extras.append(Extra(save))
        if self._content and any(u.stage == "completed" for u in updates):
            extras.append(Extra(write, sum(len(u.draft.body or b"") for u in updates)))
        return await self._keeper.change(work, *extras, stored=self._transcripts.commit)

    async def _announce(self, batch: Batch) -> None:
        self._placed.update(batch.placed)
        for exchange in batch.started:
            self.tell("exchange:started", exchange, settled=False)
            await self._desk.logs.seen(exchange)
        for exchange in batch.updated:
            self.tell("exchange:updated", exchange, settled=False)
        for exchange, update in batch.completed:
            self._completed(exchange, update)
            await self._desk.logs.seen(exchange, _ids(update.draft))
        self._desk.vitals.under_way = len(self._placed)

    def _completed(self, exchange: Exchange, update: Update) -> None:
        self._placed.pop(exchange.id, None)
        if update.draft.pending:
            self._pending[exchange.id] = exchange.session_id or ""
            while len(self._pending) > _PENDING:
                self._pending.popitem(last=False)
        else:
            self._pending.pop(exchange.id, None)
            self._desk.vitals.recorded(exchange)
        self._desk.archivist.changed(exchange.session_id)
        self._desk.learned.update(update.learned)
        self._desk.lessons.note(exchange, update.draft)
        self.tell("exchange:completed", exchange, settled=True)

    def tell(self, kind: str, exchange: Exchange, *, settled: bool) -> None:
        """Tells everybody who listens, and mitmproxy's views."""
        self._desk.hub.publish(kind, exchange_json(exchange))
        self._outbox.put(notes.note_of(exchange, settled=settled))


def _ids(draft: Draft) -> frozenset[str]:
    """Ids that logs may share with an exchange, from the answer's headers."""
    headers = draft.response_headers
    return frozenset(headers[name] for name in _REQUEST_IDS if name in headers)
