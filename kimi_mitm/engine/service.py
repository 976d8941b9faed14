"""The engine as the control endpoint sees it: every route's answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from kimi_mitm import __version__
from kimi_mitm.archive import transcript
from kimi_mitm.control.figures import (
    ExchangeQuery,
    FusedView,
    Fusion,
    ModelTotals,
    ProviderTotals,
    ReadingView,
    Stats,
)
from kimi_mitm.control.models import (
    AutoSession,
    AutoSessionChange,
    FlagCounts,
    Health,
    NewSession,
    SessionList,
    SessionQuery,
    StatsQuery,
)
from kimi_mitm.control.models import Session as SessionView
from kimi_mitm.control.service import Caller, ControlError, Metrics
from kimi_mitm.engine.service_views import log_source, session_view
from kimi_mitm.events import Subscription
from kimi_mitm.fusion import rules as fusion
from kimi_mitm.fusion import settling
from kimi_mitm.records import Exchange
from kimi_mitm.sessions.book import SessionBook, SessionEnded
from kimi_mitm.sessions.flag import FlagAction, FlagForced
from kimi_mitm.sessions.ledger import Changes
from kimi_mitm.sessions.record import EndReason
from kimi_mitm.store import exchanges as exchange_rows
from kimi_mitm.store import sessions as session_rows
from kimi_mitm.store.exchanges import BadCursor, Wanted
from kimi_mitm.store.totals import Tally

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from kimi_mitm.engine.desk import Desk
    from kimi_mitm.engine.session_keeper import SessionKeeper


class EngineService:
    """Implements `control.service.Service` on a desk that is open."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    @property
    def _keeper(self) -> SessionKeeper:
        return self._desk.keeper

    @property
    def _db(self) -> AsyncEngine:
        engine = self._desk.store.engine
        if engine is None:
            raise ControlError(503, "no_store", "There is no database to read from.")
        return engine

    async def auto_session(self) -> AutoSession:
        flag, engine = self._keeper.book.flag, self._desk.store.engine
        counts = await session_rows.flag_counts(engine) if engine is not None else {}
        return AutoSession(
            enabled=flag.enabled,
            updated_at=flag.last.at if flag.last else None,
            updated_by=flag.last.by if flag.last else None,
            forced=flag.forced,
            providers=dict(flag.providers),
            counts=FlagCounts(**{k: v for k, v in counts.items() if k in FlagCounts.model_fields}),
        )

    async def set_auto_session(self, enabled: bool, caller: Caller) -> AutoSession:
        now = self._desk.clock()
        await self._flagged(lambda book: book.set_flag(enabled, caller.name, now))
        return await self.auto_session()

    async def toggle_auto_session(self, caller: Caller) -> AutoSession:
        now = self._desk.clock()
        await self._flagged(lambda book: book.toggle_flag(caller.name, now))
        return await self.auto_session()

    async def set_provider_auto_session(
        self, provider: str, enabled: bool | None, caller: Caller
    ) -> AutoSession:
        now = self._desk.clock()
        if enabled is None:
            await self._flagged(lambda book: book.unset_flag(provider, caller.name, now))
        else:
            await self._flagged(lambda book: book.set_flag(enabled, caller.name, now, provider))
        return await self.auto_session()

    async def force_auto_session(self, enabled: bool | None, caller: Caller) -> AutoSession:
        now = self._desk.clock()
        await self._flagged(lambda book: book.force_flag(enabled, caller.name, now))
        return await self.auto_session()

    async def auto_session_history(self, limit: int) -> Sequence[AutoSessionChange]:
        return [
            AutoSessionChange(
                enabled=c.value if c.action is not FlagAction.SET else c.enabled,
                updated_at=c.at,
                updated_by=c.by,
                provider=c.provider,
                forced=c.action is FlagAction.FORCE,
            )
            for c in await session_rows.flag_history(self._db, limit)
        ]

    async def sessions(self, query: SessionQuery) -> SessionList:
        current = await session_rows.current_ids(self._db)
        try:
            found, after = await session_rows.page(
                self._db,
                user=query.user,
                status=query.status.value if query.status else None,
                provider=query.provider,
                after=query.after,
                limit=query.limit,
            )
        except BadCursor as e:
            raise ControlError(404, "no_such_page", "after: not a cursor of ours") from e
        return SessionList(sessions=[session_view(s, s.session_id in current) for s in found], next=after)

    async def active_sessions(self, user: str | None) -> Sequence[SessionView]:
        book = self._keeper.book
        found = [s for s in book.live() if book.is_current(s) and (user is None or s.user == user)]
        found.sort(key=lambda s: s.last_activity_at, reverse=True)
        return [session_view(s, True) for s in found]

    async def session(self, session_id: str) -> SessionView | None:
        book = self._keeper.book
        live = book.session(session_id)
        found = live if live and live.live else await session_rows.get(self._db, session_id)
        return session_view(found, book.is_current(found)) if found else None

    async def create_session(self, wanted: NewSession, caller: Caller) -> tuple[SessionView, bool]:
        now, user = self._desk.clock(), wanted.user_id or caller.name
        placement = await self._keeper.change(
            lambda book: book.get_or_create(
                user, wanted.config_id, now, name=wanted.name, provider=wanted.provider, model=wanted.model
            )
        )
        session = self._keeper.book.session(placement.session_id)
        assert session is not None
        return session_view(session, True), placement.created

    async def activate_session(self, session_id: str, caller: Caller) -> SessionView | None:
        if await self.session(session_id) is None:
            return None
        now = self._desk.clock()
        try:
            await self._keeper.change(lambda book: book.activate(session_id, now))
        except SessionEnded as e:
            raise ControlError(409, "ended", "The session has ended.") from e
        return await self.session(session_id)

    async def end_session(self, session_id: str, caller: Caller) -> SessionView | None:
        if await self.session(session_id) is None:
            return None
        now = self._desk.clock()
        await self._keeper.change(lambda book: book.end(session_id, EndReason.REQUEST, now))
        await self._desk.archivist.archive_ended()
        return await self.session(session_id)

    async def clear_session(self, session_id: str, caller: Caller) -> bool:
        if await self.session(session_id) is None:
            return False
        now = self._desk.clock()
        await self._keeper.change(lambda book: book.clear(session_id, now))
        await self._desk.store.transact(lambda connection: transcript.forget(connection, session_id))
        return True

    async def exchanges(self, query: ExchangeQuery) -> tuple[Sequence[Exchange], str | None]:
        await self._desk.store.flush()
        wanted = Wanted(
            session=query.session,
            provider=query.provider,
            since=query.since,
            after=query.after,
            newest_first=query.order == "desc",
            limit=query.limit,
        )
        try:
            return await exchange_rows.page(self._db, wanted)
        except BadCursor as e:
            raise ControlError(404, "no_such_page", "after: not a cursor of ours") from e

    async def exchange(self, exchange_id: str) -> Exchange | None:
        await self._desk.store.flush()
        return await exchange_rows.get(self._db, exchange_id)

    async def stats(self, query: StatsQuery) -> Stats:
        tally = Tally()
        wanted = Wanted(session=query.session, since=query.since)
        async for rows in exchange_rows.figures(self._db, wanted):
            tally.add(rows)
        return Stats(
            **tally.all.shown(),
            by_provider=[ProviderTotals(provider=p, **t.shown()) for p, t in tally.by_provider()],
            by_model=[ModelTotals(provider=p, model=m, **t.shown()) for (p, m), t in tally.by_model()],
        )

    async def fusion(self, session_id: str | None) -> Fusion | None:
        exchange = await self._last_exchange(session_id)
        if exchange is None:
            return None
        fused = fusion.settle(await self._desk.logs.readings(exchange))
        winner = fused.winner
        reading = None
        if winner is not None:
            reading = FusedView(
                source=fused.source,
                via=fused.via,
                rule=settling.RULES[fused.rule or 3],
                stale=fused.stale,
                at=winner.at,
                **settling.tokens(fused.usage),
            )
        views = [ReadingView.of(c.reading, stale=not c.fresh) for c in fused.candidates]
        return Fusion(
            session_id=exchange.session_id, exchange_id=exchange.id, reading=reading, candidates=views
        )

    async def health(self) -> Health:
        store, vitals = self._desk.store, self._desk.vitals
        warnings = vitals.warnings()
        return Health(
            status="failing" if store.trouble else ("degraded" if warnings else "ok"),
            version=__version__,
            uptime_s=round(vitals.uptime_s, 3),
            active_sessions=sum(1 for _ in self._keeper.book.live()),
            exchanges=vitals.exchanges,
            queue_depth=store.depth,
            dropped=vitals.dropped,
            store=store.state,
            log_sources=[log_source(s) for s in self._desk.logs.health()],
            warnings=warnings,
        )

    async def metrics(self) -> Metrics:
        return Metrics(self._desk.vitals.metrics())

    async def _last_exchange(self, session_id: str | None) -> Exchange | None:
        await self._desk.store.flush()
        wanted = Wanted(session=session_id, newest_first=True, limit=1)
        found, _ = await exchange_rows.page(self._db, wanted)
        return found[0] if found else None

    def subscribe(self, last_id: str | None) -> Subscription:
        return self._desk.hub.subscribe(last_id)

    async def _flagged(self, work: Callable[[SessionBook], Changes]) -> None:
        try:
            await self._keeper.change(work)
        except FlagForced as e:
            raise ControlError(403, "forced", "An admin holds the flag.") from e
