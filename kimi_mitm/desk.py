"""Where everything about an exchange comes together: placed in a session, settled, stored, told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from operator import methodcaller
from typing import TYPE_CHECKING, Any

from sqlalchemy.ext.asyncio import AsyncConnection

from kimi_mitm import link, memory, notes, owner, prices, prompts, settling, user_config
from kimi_mitm.archivist import Archivist
from kimi_mitm.calls import Calls
from kimi_mitm.door import Door
from kimi_mitm.draft import Draft
from kimi_mitm.events import Hub
from kimi_mitm.faults import place_of
from kimi_mitm.intake import Again, Intake, Update
from kimi_mitm.log_desk import LogDesk
from kimi_mitm.outbox import Outbox
from kimi_mitm.records import Exchange, PartKind
from kimi_mitm.render import exchange_json
from kimi_mitm.session_book import SessionBook
from kimi_mitm.session_keeper import SessionKeeper
from kimi_mitm.session_seen import Seen
from kimi_mitm.settings import Settings
from kimi_mitm.store import Store
from kimi_mitm.store import exchanges as exchange_rows
from kimi_mitm.tokens import Estimator
from kimi_mitm.transcript import Transcripts
from kimi_mitm.vitals import Vitals

if TYPE_CHECKING:
    from kimi_mitm.control.service import Service

log = logging.getLogger(__name__)

_UPKEEP_S = 5.0


@dataclass(slots=True)
class Batch:
    """What became of a batch of updates, until it is stored: nothing of it has happened before."""

    placed: dict[str, str] = field(default_factory=dict)
    started: list[Exchange] = field(default_factory=list)
    completed: list[tuple[Exchange, Update]] = field(default_factory=list)


class Desk:
    """The engine's loop side. `handle` takes the intake's news in batches, one after the other.
    `started_at` is when the proxy started, somewhat before the engine."""

    def __init__(self, settings: Settings, outbox: Outbox, started_at: datetime) -> None:
        self._settings = settings
        self._started_at = started_at
        self._outbox = outbox
        self._placed: dict[str, str] = {}
        self._transcripts = Transcripts()
        self.hub = Hub()
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self, emit: Callable[[Any], None]) -> Intake:
        """Opens the store and everything on it; gives the intake, ready to be fed."""
        self.store = await Store.open(self._settings.db, self.say)
        self.estimator = Estimator(await self.store.learner())
        self.keeper = SessionKeeper(self._settings, self.store, self.hub)
        self.archivist = Archivist(self._settings, self.store, self.keeper, self.say)
        self.logs = LogDesk(self._settings, self.store, self.keeper, self.hub, self._resettled, self.say)
        self.vitals = Vitals(self.store, self.keeper, self.hub, self.logs)
        self.calls = Calls(self.keeper, self.store, self.archivist, self._outbox)
        await self._recover()
        await self._open_control()
        await self.logs.open()
        self.logs.follow(self._started_at)
        self._outbox.put(link.Ready(control=self.door.address, store=self.store.trouble is None))
        self.calls.refresh(now=True)
        self._tasks = [asyncio.create_task(self._look_after(), name="kimi upkeep")]
        self._warming = asyncio.create_task(asyncio.to_thread(self._warm), name="kimi warm-up")
        known = await self.store.known_exchanges() if self._settings.offline else frozenset()
        return Intake(self.estimator, emit, table=self._own_table(), known=known)

    def _own_table(self) -> Mapping[str, str]:
        try:
            return user_config.providers()
        except user_config.ConfigError as e:
            self.say(f"{e}; the table is left out")
            return {}

    def _warm(self) -> None:
        """Loads what the first exchange would have to wait for."""
        self.estimator.warm()
        prices.context_window("gpt-4o", "openai", "openai")
        memory.tidy()

    async def _recover(self) -> None:
        """Takes over what an earlier run left: its live sessions, its unfinished exchanges."""
        now = datetime.now(UTC)
        await self.vitals.open()
        if self.store.engine is not None and not self._settings.offline:
            await self.store.close_open_exchanges(now, owner.is_gone)
        await self.keeper.open(now)
        await self.archivist.archive_ended()

    def _service(self) -> Service:
        from kimi_mitm.service import EngineService

        return EngineService(self)

    async def _open_control(self) -> None:
        self.door = Door(self._settings, self._service)
        if self._settings.offline:
            return
        try:
            await self.door.open()
        except OSError as e:
            host, port = self._settings.control or ("", 0)
            self.say(f"the control endpoint is off, {host}:{port} can't be had: {e.strerror or e}")

    async def close(self) -> None:
        """Ends and archives the sessions, writes what waits and lets go."""
        for task in self._tasks:
            task.cancel()
        await self.calls.close()
        await self.logs.close()
        now = datetime.now(UTC)
        await self.keeper.change(lambda book: book.shutdown(now))
        await self.archivist.archive_ended()
        await self.door.close()
        self.hub.close()
        await self.store.close(30.0)

    async def _look_after(self) -> None:
        """Idle sessions, archives, unjoined log records: every few seconds, whatever happens."""
        swept = 0.0
        while True:
            await asyncio.sleep(_UPKEEP_S)
            swept += _UPKEEP_S
            try:
                now = datetime.now(UTC)
                if swept >= self._settings.session_check_interval:
                    swept = 0.0
                    await self.keeper.change(methodcaller("sweep", now))
                await self.archivist.archive_ended()
                await self.archivist.write_current()
                await self.logs.expire(now)
                self.calls.refresh()
            except Exception as e:
                self.faulty(e)

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
                    self.vitals.lost = item
                case link.Tls():
                    self.vitals.passed.append(item.host)
                case link.Gone():
                    await self._gone(item)
                case Again():
                    await self._again(item)
                case link.Call():
                    self.calls.take(item)
        self.calls.refresh()

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
            if self._settings.store_content:
                self._transcripts.begin()
                for exchange, update in result.completed:
                    await self._transcripts.add(connection, replace(update.draft, exchange=exchange))

        await self.keeper.change(work, save)
        self._transcripts.commit()
        self._placed.update(result.placed)
        self.vitals.under_way = len(self._placed)
        for exchange in result.started:
            self._tell("exchange:started", exchange, settled=False)
        for update in updates:
            if update.stage == "updated":
                self.hub.publish("exchange:updated", exchange_json(self._with_session(update.draft.exchange)))
        for exchange, update in result.completed:
            self._completed(exchange, update)
            await self.logs.seen(exchange, _ids(update.draft))

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
        self.vitals.recorded(exchange)
        self.archivist.changed(exchange.session_id)
        if not update.draft.pending:
            self._placed.pop(exchange.id, None)
        if update.learned:
            self.store.save_learner(update.learned, datetime.now(UTC))
        self._tell("exchange:completed", exchange, settled=True)

    async def _resettled(self, exchange: Exchange) -> None:
        """A log settled what the wire left open."""
        self._tell("exchange:completed", exchange, settled=True)

    async def _gone(self, gone: link.Gone) -> None:
        now = datetime.fromtimestamp(gone.at, UTC)
        await self.keeper.change(lambda book: book.disconnected(gone.conn, now))

    async def _again(self, read: Again) -> None:
        """The flow of an exchange that is read again shows what was recorded."""
        engine = self.store.engine
        exchange = await exchange_rows.get(engine, read.exchange_id) if engine else None
        if exchange is not None:
            self._outbox.put(notes.note_again(exchange, read.flow_id))

    def _with_session(self, exchange: Exchange) -> Exchange:
        return replace(exchange, session_id=self._placed.get(exchange.id))

    def _tell(self, kind: str, exchange: Exchange, *, settled: bool) -> None:
        self.hub.publish(kind, exchange_json(exchange))
        self._outbox.put(notes.note_of(exchange, settled=settled))


def _ids(draft: Draft) -> frozenset[str]:
    """Ids that logs may share with an exchange, from the answer's headers."""
    names = ("request-id", "x-request-id", "x-amzn-requestid", "x-goog-request-id")
    return frozenset(draft.response_headers[n] for n in names if n in draft.response_headers)


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
            kinds = {part.kind for part in message.parts}
            if message.role == "user" and PartKind.TEXT in kinds and PartKind.TOOL_RESULT not in kinds:
                return message.digest
    return None
