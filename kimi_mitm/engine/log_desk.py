"""The clients' logs at work: their records joined to what was seen on the wire, figures settled anew."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from kimi_mitm import redact
from kimi_mitm.engine.lessons import Lessons
from kimi_mitm.engine.log_exchange import clean, made_of
from kimi_mitm.engine.log_memory import LogMemory
from kimi_mitm.engine.session_keeper import SessionKeeper
from kimi_mitm.events import Hub
from kimi_mitm.faults import place_of
from kimi_mitm.fusion import settling
from kimi_mitm.fusion.join import Joined, Joiner, OfSession
from kimi_mitm.fusion.match import LOG_PREFIX, earliest, wire_exchange
from kimi_mitm.records import Exchange, Reading
from kimi_mitm.render import exchange_json
from kimi_mitm.sessions.book import SessionBook
from kimi_mitm.sessions.ledger import Changes
from kimi_mitm.sessions.seen import Seen
from kimi_mitm.settings import Settings
from kimi_mitm.store import Extra, Store
from kimi_mitm.store import exchanges as exchange_rows
from kimi_mitm.store import readings as reading_rows
from kimi_mitm.store.exchanges import Wanted

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from kimi_mitm.logs.follow import Logs, SourceHealth

_LOOK_BACK = timedelta(hours=2)
_LAST_LOOK_S = 3.0

type Settled = Callable[[Exchange], Awaitable[None]]


def _utc_now() -> datetime:
    return datetime.now(UTC)


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
        *,
        lessons: Lessons | None = None,
        clock: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._settings = settings
        self._store = store
        self._keeper = keeper
        self._hub = hub
        self._settled = settled
        self._say = say
        self._lessons = lessons
        self._clock = clock
        self._lock = asyncio.Lock()
        self._memory = LogMemory(store)
        self._owed: tuple[str, ...] = ()
        self._logs: Logs | None = None
        self._following: asyncio.Task[None] | None = None
        self._faults: set[str] = set()
        self.joiner = Joiner()

    async def open(self, *, since: datetime | None = None) -> None:
        """Learns the exchanges of the last hours (or since then), which records may still be about, and
        the records that an earlier run left waiting, with the exchanges of their time."""
        if self._store.engine is None:
            return
        since = since or self._clock() - _LOOK_BACK
        waiting = await reading_rows.still_waiting(self._store.engine, since)
        if waiting:
            since = min(since, earliest(waiting[0]))
        async for exchange in exchange_rows.stream(self._store.engine, Wanted(since=since)):
            self._memory.know(exchange)
            self.joiner.exchange(wire_exchange(exchange))
        await self.take(waiting)
        self._owed = tuple(reading.key for reading in waiting)

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
        self._following = asyncio.create_task(self._follow(self._logs), name="kimi logs")

    async def _follow(self, logs: Logs) -> None:
        try:
            await logs.follow(self.take, self._store)
        except Exception as e:
            self._say(f"the clients' logs are no longer followed ({place_of(e)})")

    async def close(self) -> None:
        """Looks at the logs once more, then stops. A record that may yet turn out to be of an exchange on
        the wire is left to the next run: what ties the two may not have been written, or read, in time."""
        if self._logs is not None and self._following is not None:
            self._logs.stop()
            with contextlib.suppress(TimeoutError, asyncio.CancelledError):
                await asyncio.wait_for(self._following, _LAST_LOOK_S)
        async with self._lock:
            alone = self.joiner.expire(datetime.max.replace(tzinfo=UTC))
        owed = dict.fromkeys(reading.key for reading in alone if self._memory.is_near(reading))
        if owed:
            self._store.put(reading_rows.owing(list(owed)))
        await self._decided(reading for reading in alone if reading.key not in owed)

    def health(self) -> list[SourceHealth]:
        """How the sources do that are followed."""
        return self._logs.health() if self._logs is not None else []

    async def seen(self, exchange: Exchange, ids: frozenset[str] = frozenset()) -> None:
        """An exchange on the wire began or ended; `ids` are those that its record doesn't have."""
        self._memory.know(exchange)
        await self._tried(self._seen(exchange, ids))

    async def take(self, readings: Sequence[Reading]) -> None:
        """Takes records of logs; when it returns they are kept."""
        await self._tried(self._memory.remind(self.joiner, readings))
        for reading in readings:
            await self._tried(self._take(clean(reading)))
        await self._tried(self._late())

    async def expire(self, now: datetime | None = None) -> None:
        """Gives up waiting for exchanges that the proxy never saw: they are made of the records alone."""
        async with self._lock:
            alone = self.joiner.expire(now or self._clock())
        await self._decided(alone)
        if self._owed:
            self._store.put(reading_rows.owing_no_more(self._owed))
            self._owed = ()

    async def _decided(self, alone: Iterable[Reading]) -> None:
        for reading in alone:
            await self._tried(self._alone(reading))
        await self._tried(self._late())

    async def readings(self, exchange: Exchange) -> list[Reading]:
        """Everything that is known of an exchange's figures: of the wire and of logs."""
        return [*settling.wire_readings(exchange), *(await self._memory.readings(exchange.id)).values()]

    async def _tried(self, work: Awaitable[None]) -> None:
        """One record at a time: others get their turn in between, and one that trips us is left out."""
        async with self._lock:
            try:
                await work
            except Exception as e:
                place = place_of(e)
                if place not in self._faults:
                    self._faults.add(place)
                    self._say(f"a record of a log could not be taken in ({place})")

    async def _seen(self, exchange: Exchange, ids: frozenset[str]) -> None:
        if exchange.ended_at is None:
            self._memory.begun(exchange.id)
        joined = self.joiner.exchange(wire_exchange(exchange, ids=ids))
        await self._join(joined)
        early = exchange.ended_at is not None and self._memory.has_readings(exchange.id)
        if early and all(found.exchange_id != exchange.id for found in joined):
            await self._settle(exchange.id)

    async def _take(self, reading: Reading) -> None:
        outcome = self.joiner.reading(reading)
        match outcome:
            case Joined():
                await self._join([outcome])
            case OfSession():
                await self._describe(reading)
            case _:
                self._store.put(reading_rows.waiting(reading))

    async def _late(self) -> None:
        await self._join(self.joiner.late())

    async def _join(self, joined: Sequence[Joined]) -> None:
        for found in joined:
            if found.moved_from is not None:
                await self._leave(found.moved_from, found.reading.key)
            reading = found.reading
            if found.exchange_id.startswith(LOG_PREFIX):
                reading = replace(
                    reading, joined_by=None
                )  # of records alone: there was no wire to be tied to
            kept = await self._memory.readings(found.exchange_id)
            kept[reading.key] = reading
            await self._settle(found.exchange_id, reading)

    async def _leave(self, exchange_id: str, key: str) -> None:
        """A record turned out to be of another exchange. What was made of it alone is undone."""
        kept = await self._memory.readings(exchange_id)
        kept.pop(key, None)
        if kept or not exchange_id.startswith(LOG_PREFIX):
            await self._settle(exchange_id)
            return
        alone = await self._memory.exchange(exchange_id)
        self._memory.forget(exchange_id)

        async def forget(connection: AsyncConnection) -> None:
            await exchange_rows.forget(connection, exchange_id)

        if alone is not None:
            await self._keeper.change(lambda book: book.withdrawn(alone), Extra(forget))

    async def _settle(self, exchange_id: str, *fresh: Reading) -> None:
        """Settles an exchange with all that is known of it; `fresh` readings are kept with it."""
        before = await self._memory.exchange(exchange_id)
        after = before
        if before is not None and before.ended_at is not None:
            after = settling.settle(before, await self.readings(before))
            after = settling.described(after, list((await self._memory.readings(exchange_id)).values()))
        if after is None or after == before:
            if fresh:
                self._store.put(reading_rows.saving(exchange_id, *fresh))
            return
        await self._save(after, before, fresh)
        self._hub.publish("fusion:updated", exchange_json(after))
        if before is None or settling.figures(after) != settling.figures(before):
            await self._settled(after)
        if self._lessons is not None:
            await self._lessons.learn(after)

    async def _alone(self, reading: Reading) -> None:
        exchange = made_of(reading)
        kept = await self._memory.readings(exchange.id)
        kept[reading.key] = reading
        before = await self._memory.exchange(exchange.id)
        found = list(kept.values())
        exchange = settling.described(settling.settle(exchange, found), found)
        session_id = before.session_id if before else await self._place(exchange)
        exchange = replace(exchange, session_id=session_id)
        if exchange == before:
            return
        await self._save(exchange, before, [reading])
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
        at = exchange.started_at if self._settings.offline else self._clock()
        return (await self._keeper.change(lambda book: book.place(seen, at))).session_id

    async def _save(self, exchange: Exchange, before: Exchange | None, fresh: Sequence[Reading]) -> None:
        async def save(connection: AsyncConnection) -> None:
            await exchange_rows.save(connection, [exchange])

        self._memory.know(exchange)
        extras = [Extra(save)]
        if fresh:
            extras.append(Extra(reading_rows.saving(exchange.id, *fresh)))
        at = (exchange.ended_at or exchange.started_at) if self._settings.offline else self._clock()
        await self._keeper.change(lambda book: book.settled(exchange, at, before=before), *extras)

    async def _describe(self, reading: Reading) -> None:
        if reading.client_session_id is None:
            return
        for session in list(self._keeper.book.live()):
            if session.client_session_id == reading.client_session_id:
                await self._keeper.change(_describing(session.session_id, reading))


def _describing(session_id: str, reading: Reading) -> Callable[[SessionBook], Changes]:
    title = redact.text(reading.title) if reading.title else None
    return lambda book: book.describe(session_id, name=title, folder=reading.folder)
