"""Where everything about an exchange comes together: placed in a session, settled, stored, told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from kimi_mitm import link, notes, owner, prices, user_config
from kimi_mitm.engine import memory
from kimi_mitm.engine.archivist import Archivist
from kimi_mitm.engine.calls import Calls
from kimi_mitm.engine.door import Door
from kimi_mitm.engine.drafting import Again, Fault, News, Update
from kimi_mitm.engine.intake import Intake
from kimi_mitm.engine.known import Known
from kimi_mitm.engine.lessons import Lessons
from kimi_mitm.engine.log_desk import LogDesk
from kimi_mitm.engine.register import Register
from kimi_mitm.engine.session_keeper import SessionKeeper
from kimi_mitm.engine.shared_estimator import SharedEstimator
from kimi_mitm.engine.vitals import Vitals
from kimi_mitm.events import Hub
from kimi_mitm.faults import place_of
from kimi_mitm.outbox import Outbox
from kimi_mitm.records import Exchange
from kimi_mitm.settings import Settings
from kimi_mitm.store import Store
from kimi_mitm.store import exchanges as exchange_rows

if TYPE_CHECKING:
    from kimi_mitm.control.service import Service

log = logging.getLogger(__name__)

_UPKEEP_S = 5.0
_LEAST_UPKEEP_S = 0.2


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Desk:
    """The engine's loop side. `handle` takes the intake's news in batches, one after the other.
    `started_at` is when the proxy started, somewhat before the engine."""

    def __init__(
        self,
        settings: Settings,
        outbox: Outbox,
        started_at: datetime,
        *,
        clock: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._settings = settings
        self._started_at = started_at
        self._outbox = outbox
        self.clock = clock
        self._swept_at = clock()
        self.learned: set[str] = set()
        self.hub = Hub()
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self, emit: Callable[[News], None]) -> Intake:
        """Opens the store and everything on it; gives the intake, ready to be fed."""
        self.store = await Store.open(self._settings.db, self.say)
        try:
            await self._take_up()
        except SQLAlchemyError as e:
            await self.store.give_up(e)
            await self._take_up()
        await self._open_control()
        self.logs.follow(self._started_at)
        self._outbox.put(link.Ready(control=self.door.address, store=self.store.trouble is None))
        self.calls.refresh(now=True)
        self._tasks = [asyncio.create_task(self._look_after(), name="kimi upkeep")]
        self._warming = asyncio.create_task(asyncio.to_thread(self._warm), name="kimi warm-up")
        return Intake(self.estimator, emit, table=self._own_table(), known=self._known)

    async def _take_up(self) -> None:
        """Takes over what is stored: what was learned, live sessions and unfinished exchanges of an
        earlier run. Raises what the database raises."""
        now = self.clock()
        settings, store = self._settings, self.store
        self.estimator = SharedEstimator(await store.learner())
        self.keeper = SessionKeeper(settings, store, self.hub)
        self.archivist = Archivist(settings, store, self.keeper, self.say)
        self.lessons = Lessons(self.estimator, self.learned.update)
        self.logs = LogDesk(
            *(settings, store, self.keeper, self.hub, self._resettled, self.say),
            lessons=self.lessons,
            clock=self.clock,
        )
        self.vitals = Vitals(store, self.keeper, self.hub, self.logs, self.clock)
        self.calls = Calls(self.keeper, store, self.archivist, self._outbox)
        self._register = Register(self, settings, self._outbox, self.clock)
        await self.vitals.open()
        if not settings.offline:
            await store.close_open_exchanges(now, owner.is_gone)
        await self.keeper.open(now)
        await self.archivist.archive_ended()
        await self.logs.open()
        self._known = Known(store, await store.known_exchanges() if settings.offline else None)

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

    def _service(self) -> Service:
        from kimi_mitm.engine.service import EngineService

        return EngineService(self)

    async def _open_control(self) -> None:
        self.door = Door(self._settings, self._service, self._door_failed)
        if self._settings.offline:
            return
        try:
            await self.door.open()
        except OSError as e:
            host, port = self._settings.control or ("", 0)
            self.say(f"the control endpoint is off, {host}:{port} can't be had: {e.strerror or e}")

    def _door_failed(self, error: Exception) -> None:
        self.say(f"the control endpoint can't be served ({place_of(error)})")

    async def close(self) -> None:
        """Ends and archives the sessions, writes what waits and lets go."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._each(
            self.calls.close,
            self.logs.close,
            self._keep_learned,
            self._end_sessions,
            self.archivist.archive_ended,
            self.door.close,
        )
        self.hub.close()
        await self.store.close(30.0)

    async def _end_sessions(self) -> None:
        await self.store.flush(again=True)
        now = self.clock()
        await self.keeper.change(lambda book: book.shutdown(now))

    async def _look_after(self) -> None:
        pause = min(_UPKEEP_S, max(_LEAST_UPKEEP_S, self._settings.session_check_interval))
        while True:
            await asyncio.sleep(pause)
            await self.upkeep()
            memory.trim()

    async def upkeep(self) -> None:
        """Idle sessions, archives, unjoined log records, learner states: every few seconds, whatever
        happens."""
        await self._each(
            self._sweep,
            self.archivist.archive_ended,
            self.archivist.write_current,
            self.logs.expire,
            self._keep_learned,
        )
        self.calls.refresh()

    async def _each(self, *steps: Callable[[], Awaitable[None]]) -> None:
        """Takes every step, even after one that fails."""
        for step in steps:
            try:
                await step()
            except Exception as e:
                if self.vitals.faulty(place_of(e)):
                    self.say(f"something of the upkeep failed ({place_of(e)})")

    async def _sweep(self) -> None:
        """Ends idle sessions. Those of a file go by the file's own times."""
        now = self.clock()
        since = abs((now - self._swept_at).total_seconds())
        if since >= self._settings.session_check_interval and not self._settings.offline:
            self._swept_at = now
            await self.keeper.change(lambda book: book.sweep(now))

    async def _keep_learned(self) -> None:
        if keys := tuple(self.learned):
            self.learned.clear()
            states = await asyncio.to_thread(self.estimator.states_of, keys)
            self.store.save_learner(states, self.clock())

    def say(self, text: str) -> None:
        """One line for mitmproxy's log."""
        self._outbox.put(link.Word(text=text, level="warning"))

    def faulty(self, place: str) -> None:
        """Our own fault in an exchange, said once for each place; the next exchange is not to suffer."""
        if self.vitals.faulty(place):
            self.say(f"an exchange could not be recorded whole ({place}); its traffic is not touched")

    async def handle(self, news: Sequence[News]) -> None:
        """Takes news in order. Doesn't raise."""
        await self._register.take([n for n in news if isinstance(n, Update)])
        for item in news:
            try:
                await self._hear(item)
            except Exception as e:
                self.faulty(place_of(e))
        self.calls.refresh()

    async def _hear(self, item: News) -> None:
        match item:
            case link.Lost():
                self.vitals.lost = item
            case link.Tls():
                self.vitals.passed.append(item.host)
            case link.Gone():
                at = datetime.fromtimestamp(item.at, UTC)
                await self.keeper.change(lambda book: book.disconnected(item.conn, at))
            case Again():
                await self._again(item)
            case Fault():
                self.faulty(item.place)
            case link.Call():
                self.calls.take(item)

    async def _resettled(self, exchange: Exchange) -> None:
        """A log settled what the wire left open."""
        self._register.tell("exchange:completed", exchange, settled=True)

    async def _again(self, read: Again) -> None:
        """The flow of an exchange that is read again shows what was recorded."""
        engine = self.store.engine
        exchange = await exchange_rows.get(engine, read.exchange_id) if engine else None
        if exchange is not None:
            self._outbox.put(notes.note_again(exchange, read.flow_id))
