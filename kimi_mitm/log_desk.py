"""The clients' logs at work: their records joined to what was seen on the wire, figures settled anew."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from kimi_mitm import providers, redact, settling
from kimi_mitm.events import Hub
from kimi_mitm.join import Joined, Joiner, OfSession
from kimi_mitm.match import log_exchange_id, wire_exchange
from kimi_mitm.records import Exchange, Operation, Problem, Reading, Source
from kimi_mitm.render import exchange_json
from kimi_mitm.session_book import SessionBook
from kimi_mitm.session_keeper import SessionKeeper
from kimi_mitm.session_ledger import Changes
from kimi_mitm.session_seen import Seen
from kimi_mitm.settings import Settings
from kimi_mitm.store import Store
from kimi_mitm.store import exchanges as exchange_rows
from kimi_mitm.store import readings as reading_rows
from kimi_mitm.store.exchanges import Wanted

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from kimi_mitm.logs.follow import Logs, SourceHealth

_RECENT = 5_000
_LOOK_BACK = timedelta(hours=2)

type Settled = Callable[[Exchange], Awaitable[None]]


class LogDesk:
    """Joins readings from logs to exchanges. `settled` is told of every exchange that a log settled."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        keeper: SessionKeeper,
        hub: Hub,
        settled: Settled,
        say: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._store = store
        self._keeper = keeper
        self._hub = hub
        self._settled = settled
        self._say = say
        self._lock = asyncio.Lock()
        self._recent: OrderedDict[str, Exchange] = OrderedDict()
        self._readings: OrderedDict[str, dict[str, Reading]] = OrderedDict()
        self._logs: Logs | None = None
        self._following: asyncio.Task[None] | None = None
        self.joiner = Joiner()

    async def open(self, *, since: datetime | None = None) -> None:
        """Learns the exchanges of the last hours (or since then), which records may still be about."""
        if self._store.engine is None:
            return
        wanted = Wanted(since=since or datetime.now(UTC) - _LOOK_BACK)
        async for exchange in exchange_rows.stream(self._store.engine, wanted):
            self._know(exchange)
            self.joiner.exchange(wire_exchange(exchange))

    def follow(self, since: datetime) -> None:
        """Follows the logs, as the settings say; on the first run of all, what is written from `since` on."""
        if self._settings.logs == ("off",) or self._settings.offline:
            return
        from kimi_mitm.logs.follow import Logs, select

        try:
            sources = select(self._settings.logs)
        except ValueError as e:
            self._say(f"kimi_logs: {e}")
            return
        home = Path(self._settings.logs_home).expanduser()
        self._logs = Logs(sources, home, now=lambda: since)
        self._following = asyncio.create_task(self._logs.follow(self.take, self._store), name="kimi logs")

    async def close(self) -> None:
        """Looks at the logs once more, then stops."""
        if self._logs is not None and self._following is not None:
            self._logs.stop()
            with contextlib.suppress(TimeoutError, asyncio.CancelledError):
                await asyncio.wait_for(self._following, 3.0)
        await self.expire(datetime.max.replace(tzinfo=UTC))

    def health(self) -> list[SourceHealth]:
        """How the sources do that are followed."""
        return self._logs.health() if self._logs is not None else []

    async def seen(self, exchange: Exchange, ids: frozenset[str]) -> None:
        """An exchange on the wire began, went on or ended."""
        self._know(exchange)
        async with self._lock:
            await self._join(self.joiner.exchange(wire_exchange(exchange, ids=ids)))

    async def take(self, readings: Sequence[Reading]) -> None:
        """Takes records of logs; when it returns they are kept."""
        async with self._lock:
            for reading in readings:
                outcome = self.joiner.reading(reading)
                if isinstance(outcome, Joined):
                    await self._join([outcome])
                elif isinstance(outcome, OfSession):
                    await self._describe(reading)
            await self._join(self.joiner.late())

    async def expire(self, now: datetime) -> None:
        """Gives up waiting for exchanges that the proxy never saw: they are made of the records alone."""
        async with self._lock:
            for reading in self.joiner.expire(now):
                await self._alone(reading)
            await self._join(self.joiner.late())

    def readings(self, exchange: Exchange) -> list[Reading]:
        """Everything that is known of an exchange's figures: of the wire and of logs."""
        return [*settling.wire_readings(exchange), *self._readings.get(exchange.id, {}).values()]

    async def _join(self, joined: Sequence[Joined]) -> None:
        for found in joined:
            if found.moved_from is not None:
                self._readings.get(found.moved_from, {}).pop(found.reading.key, None)
                await self._settle(found.moved_from)
            self._keep(found.exchange_id, found.reading)
            await self._settle(found.exchange_id)

    async def _settle(self, exchange_id: str) -> None:
        before = await self._exchange(exchange_id)
        if before is None:
            return
        await self._load_readings(exchange_id)
        if before.ended_at is None:
            return
        after = settling.settle(before, self.readings(before))
        after = settling.described(after, list(self._readings.get(exchange_id, {}).values()))
        if after == before:
            return
        await self._save(after, before)
        self._hub.publish("fusion:updated", exchange_json(after))
        await self._settled(after)

    async def _alone(self, reading: Reading) -> None:
        name = log_exchange_id(reading)
        self._keep(name, reading)
        before = await self._exchange(name)
        exchange = settling.settle(_made_of(reading, name), [reading])
        exchange = settling.described(exchange, [reading])
        session_id = before.session_id if before else await self._place(exchange)
        exchange = replace(exchange, session_id=session_id)
        if exchange == before:
            return
        await self._save(exchange, before)
        self._hub.publish("exchange:completed", exchange_json(exchange))

    async def _place(self, exchange: Exchange) -> str:
        seen = Seen(
            exchange_id=exchange.id,
            user=exchange.user or "unknown",
            client=exchange.client,
            provider=exchange.provider,
            model=exchange.model,
            side=exchange.side,
            client_session_id=exchange.client_session_id,
        )
        at = exchange.started_at if self._settings.offline else datetime.now(UTC)
        return (await self._keeper.change(lambda book: book.place(seen, at))).session_id

    async def _save(self, exchange: Exchange, before: Exchange | None) -> None:
        async def save(connection: AsyncConnection) -> None:
            await exchange_rows.save(connection, [exchange])

        self._know(exchange)
        at = (exchange.ended_at or exchange.started_at) if self._settings.offline else datetime.now(UTC)
        await self._keeper.change(lambda book: book.settled(exchange, at, before=before), save)

    async def _describe(self, reading: Reading) -> None:
        if reading.client_session_id is None:
            return
        for session in list(self._keeper.book.live()):
            if session.client_session_id == reading.client_session_id:
                await self._keeper.change(_describing(session.session_id, reading))

    async def _exchange(self, exchange_id: str) -> Exchange | None:
        known = self._recent.get(exchange_id)
        if known is not None or self._store.engine is None:
            return known
        await self._store.flush()
        return await exchange_rows.get(self._store.engine, exchange_id)

    def _know(self, exchange: Exchange) -> None:
        self._recent[exchange.id] = exchange
        self._recent.move_to_end(exchange.id)
        while len(self._recent) > _RECENT:
            self._recent.popitem(last=False)

    def _keep(self, exchange_id: str, reading: Reading) -> None:
        self._readings.setdefault(exchange_id, {})[reading.key] = reading
        self._readings.move_to_end(exchange_id)
        while len(self._readings) > _RECENT:
            self._readings.popitem(last=False)
        self._store.put(reading_rows.saving(exchange_id, _clean(reading)))

    async def _load_readings(self, exchange_id: str) -> None:
        """After a restart the logs' earlier readings of an exchange are only in the store."""
        if self._store.engine is None:
            return
        kept = self._readings.setdefault(exchange_id, {})
        for reading in await reading_rows.of(self._store.engine, exchange_id):
            kept.setdefault(reading.key, reading)


def _clean(reading: Reading) -> Reading:
    """The reading without secrets in the client's own words."""
    problem = reading.problem
    return replace(
        reading,
        title=redact.text(reading.title) if reading.title else None,
        problem=Problem(problem.type, redact.text(problem.message)) if problem else None,
    )


def _describing(session_id: str, reading: Reading) -> Callable[[SessionBook], Changes]:
    title = redact.text(reading.title) if reading.title else None
    return lambda book: book.describe(session_id, name=title, folder=reading.folder)


def _made_of(reading: Reading, name: str) -> Exchange:
    problem = reading.problem
    return Exchange(
        id=name,
        started_at=min(reading.started_at or reading.at, reading.at),
        ended_at=reading.at,
        user=reading.user,
        client=reading.client or "unknown",
        client_version=reading.client_version,
        client_session_id=reading.client_session_id,
        provider=providers.provider_of(reading.model),
        model=reading.model,
        operation=Operation.CHAT,
        side=bool(reading.side),
        transport="unknown",
        source=Source.LOGS,
        finish_reason=reading.finish_reason,
        error=Problem(problem.type, redact.text(problem.message)) if problem else None,
    )
