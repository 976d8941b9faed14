"""An engine that keeps everything in memory: what the control endpoint's tests and demo run on."""

from __future__ import annotations

import base64
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from kimi_mitm.control.figures import (
    ExchangeQuery,
    FusedView,
    Fusion,
    ModelTotals,
    ProviderTotals,
    ReadingView,
    Stats,
    Totals,
)
from kimi_mitm.control.models import (
    Accuracy,
    AutoSession,
    AutoSessionChange,
    ContextLevel,
    Health,
    LogSource,
    NewSession,
    Session,
    SessionFigures,
    SessionList,
    SessionQuery,
    SessionStatus,
    StatsQuery,
)
from kimi_mitm.control.service import Caller, ControlError, Metrics
from kimi_mitm.events import Hub, Subscription
from kimi_mitm.records import Exchange, Source
from kimi_mitm.render import exchange_json

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class FakeService:
    """The `Service` of the control endpoint. `fail` set to an exception is raised by every call."""

    def __init__(self, hub: Hub | None = None, *, live_clock: bool = False) -> None:
        self.hub = hub or Hub()
        self.flag = AutoSession(enabled=True)
        self.history: list[AutoSessionChange] = []
        self.known: dict[str, Session] = {}
        self.records: dict[str, Exchange] = {}
        self.fail: Exception | None = None
        self.store = "ok"
        self._live_clock = live_clock
        self._ticks = itertools.count()
        self._ids = itertools.count(1)
        self._before_force: bool | None = None

    def now(self) -> datetime:
        if self._live_clock:
            return datetime.now(UTC)
        return START + timedelta(milliseconds=next(self._ticks))

    # The flag

    async def auto_session(self) -> AutoSession:
        self._check()
        return self.flag

    async def set_auto_session(self, enabled: bool, caller: Caller) -> AutoSession:
        self._check()
        if self.flag.forced and not caller.admin:
            raise ControlError(403, "forced", "An admin holds the flag.")
        return self._change(caller, {"enabled": enabled}, enabled=enabled)

    async def toggle_auto_session(self, caller: Caller) -> AutoSession:
        return await self.set_auto_session(not self.flag.enabled, caller)

    async def set_provider_auto_session(
        self, provider: str, enabled: bool | None, caller: Caller
    ) -> AutoSession:
        self._check()
        providers = {name: value for name, value in self.flag.providers.items() if name != provider}
        if enabled is not None:
            providers[provider] = enabled
        return self._change(caller, {"providers": providers}, enabled=enabled, provider=provider)

    async def force_auto_session(self, enabled: bool | None, caller: Caller) -> AutoSession:
        self._check()
        change: dict[str, object] = {"forced": enabled is not None}
        if enabled is not None:
            change["enabled"] = enabled
        return self._change(caller, change, enabled=enabled, forced=True)

    async def auto_session_history(self, limit: int) -> Sequence[AutoSessionChange]:
        self._check()
        return self.history[:limit]

    def _change(
        self,
        caller: Caller,
        update: dict[str, object],
        *,
        enabled: bool | None,
        provider: str | None = None,
        forced: bool = False,
    ) -> AutoSession:
        at = self.now()
        self.flag = self.flag.model_copy(update={**update, "updated_at": at, "updated_by": caller.name})
        change = AutoSessionChange(
            enabled=enabled, updated_at=at, updated_by=caller.name, provider=provider, forced=forced
        )
        self.history.insert(0, change)
        self.hub.publish("auto_session:toggled", self.flag.model_dump(mode="json"))
        return self.flag

    # Sessions

    async def sessions(self, query: SessionQuery) -> SessionList:
        self._check()
        wanted = [
            session
            for session in sorted(self.known.values(), key=lambda one: one.updated_at, reverse=True)
            if (query.user is None or session.user_id == query.user)
            and (query.status is None or session.session_status is query.status)
            and (query.provider is None or query.provider in session.providers)
        ]
        start = _offset(query.after)
        following = _cursor(start + query.limit) if start + query.limit < len(wanted) else None
        return SessionList(sessions=wanted[start : start + query.limit], next=following)

    async def active_sessions(self, user: str | None) -> Sequence[Session]:
        self._check()
        return [one for one in self.known.values() if one.current and user in (None, one.user_id)]

    async def session(self, session_id: str) -> Session | None:
        self._check()
        return self.known.get(session_id)

    async def create_session(self, wanted: NewSession, caller: Caller) -> tuple[Session, bool]:
        self._check()
        user = wanted.user_id or caller.name
        for session in self.known.values():
            if (session.config_id, session.user_id) == (wanted.config_id, user) and _live(session):
                return session, False
        session = self.add_session(
            user, "api", wanted.provider, wanted.model, config_id=wanted.config_id, name=wanted.name
        )
        return session, True

    def add_session(
        self,
        user: str,
        client: str,
        provider: str | None,
        model: str | None,
        *,
        quiet: bool = False,
        **more: object,
    ) -> Session:
        """A new current session of this user and client, told to everybody unless `quiet`."""
        at = self.now()
        session = Session.model_validate(
            {
                "session_id": f"s_{next(self._ids):04d}",
                "user_id": user,
                "client": client,
                "provider": provider,
                "providers": [provider] if provider else [],
                "model": model,
                "session_status": SessionStatus.STARTED,
                "started_at": at,
                "updated_at": at,
                "current": True,
                **more,
            }
        )
        for other in list(self.known.values()):
            if (other.user_id, other.client) == (user, client) and other.current:
                self._keep(other, current=False)
        self.known[session.session_id] = session
        if not quiet:
            self.hub.publish("session:started", session.model_dump(mode="json"))
        return session

    async def activate_session(self, session_id: str, caller: Caller) -> Session | None:
        self._check()
        session = self.known.get(session_id)
        if session is None:
            return None
        if not _live(session):
            raise ControlError(409, "ended", "This session has ended.")
        old = None
        for other in list(self.known.values()):
            if (other.user_id, other.client) == (session.user_id, session.client) and other.current:
                old = other.session_id
                self._keep(other, current=False)
        self.hub.publish("session:switched", {"old_session": old, "new_session": session_id})
        return self._keep(self.known[session_id], current=True, session_status=SessionStatus.ACTIVE)

    async def end_session(self, session_id: str, caller: Caller) -> Session | None:
        self._check()
        session = self.known.get(session_id)
        if session is None or not _live(session):
            return session
        archive = f"2026-03-01-12-00-{session_id[-2:]}"
        self.hub.publish("session:ended", {"session_id": session_id, "archive_id": archive})
        at = self.now()
        return self._keep(
            session, session_status=SessionStatus.ENDED, ended_at=at, archive_id=archive, current=False
        )

    async def clear_session(self, session_id: str, caller: Caller) -> bool:
        self._check()
        if self.known.pop(session_id, None) is None:
            return False
        self.hub.publish("session:ended", {"session_id": session_id, "archive_id": None})
        return True

    def _keep(self, session: Session, **update: object) -> Session:
        kept = session.model_copy(update=update)
        self.known[session.session_id] = kept
        return kept

    # Exchanges

    async def exchanges(self, query: ExchangeQuery) -> tuple[Sequence[Exchange], str | None]:
        self._check()
        wanted = [
            record
            for record in self.records.values()
            if query.session in (None, record.session_id)
            and query.provider in (None, record.provider)
            and (query.since is None or record.started_at >= query.since)
        ]
        if query.order == "desc":
            wanted.reverse()
        start = _offset(query.after)
        page = wanted[start : start + query.limit]
        return page, _cursor(start + query.limit) if start + query.limit < len(wanted) else None

    async def exchange(self, exchange_id: str) -> Exchange | None:
        self._check()
        return self.records.get(exchange_id)

    def put_exchange(self, exchange: Exchange, event: str) -> Exchange:
        """Records it and tells everybody; figures of its session follow."""
        self.records[exchange.id] = exchange
        if exchange.session_id in self.known:
            self._count(self.known[exchange.session_id], exchange)
        self.hub.publish(event, exchange_json(exchange))
        return exchange

    def _count(self, session: Session, last: Exchange) -> None:
        own = [one for one in self.records.values() if one.session_id == session.session_id]
        totals = _totals(own)
        percent = session.statistics.context_percent
        if not last.side and last.context_percent is not None:
            percent = last.context_percent
        figures = SessionFigures(
            **{name: totals[name] for name in SessionFigures.model_fields if name in totals},
            context_tokens=last.input_tokens or last.estimated_input_tokens,
            context_window=last.context_window,
            context_percent=percent,
            context_level=_level(percent),
        )
        self._keep(
            session,
            statistics=figures,
            session_status=SessionStatus.ACTIVE,
            updated_at=last.ended_at or last.started_at,
            model=session.model if last.side else last.model,
        )

    async def stats(self, query: StatsQuery) -> Stats:
        self._check()
        records = [
            one
            for one in self.records.values()
            if query.session in (None, one.session_id)
            and (query.since is None or one.started_at >= query.since)
        ]
        providers = Counter(one.provider for one in records)
        models = Counter((one.provider, one.model) for one in records)
        return Stats(
            **_totals(records),
            by_provider=[
                ProviderTotals(provider=name, **_totals([one for one in records if one.provider == name]))
                for name, _ in providers.most_common()
            ],
            by_model=[
                ModelTotals(
                    provider=name,
                    model=model,
                    **_totals([one for one in records if (one.provider, one.model) == (name, model)]),
                )
                for (name, model), _ in models.most_common()
            ],
        )

    async def fusion(self, session_id: str | None) -> Fusion | None:
        self._check()
        own = [one for one in self.records.values() if session_id in (None, one.session_id)]
        if not own:
            return None
        last = own[-1]
        reading = FusedView(
            source=last.source, rule="usage", at=last.started_at, input_tokens=last.input_tokens
        )
        candidate = ReadingView(
            source=Source.PROXY,
            reported=False,
            at=last.started_at,
            origin=f"flow:{last.flow_id}",
            input_tokens=last.estimated_input_tokens,
        )
        return Fusion(
            session_id=last.session_id, exchange_id=last.id, reading=reading, candidates=[candidate]
        )

    # The engine itself

    async def health(self) -> Health:
        self._check()
        return Health(
            status="ok" if self.store == "ok" else "failing",
            version="0.1.0",
            uptime_s=12.5,
            active_sessions=sum(map(_live, self.known.values())),
            exchanges=len(self.records),
            queue_depth=0,
            dropped=0,
            store=self.store,
            log_sources=[LogSource(name="claude-code", state="following", files=3)],
        )

    async def metrics(self) -> Metrics:
        self._check()
        return Metrics(
            {
                "kimi_exchanges": {("moonshotai", "kimi-k2.5", "ok"): len(self.records)},
                "kimi_sessions_active": {(): sum(map(_live, self.known.values()))},
                "kimi_event_readers": {(): self.hub.readers},
                "not_in_the_table": {(): 1},
            }
        )

    def subscribe(self, last_id: str | None) -> Subscription:
        self._check()
        return self.hub.subscribe(last_id)

    def _check(self) -> None:
        if self.fail is not None:
            raise self.fail


def settled(exchange: Exchange, input_tokens: int, output_tokens: int, **more: object) -> Exchange:
    """The exchange with the figures that a provider reported."""
    return replace(
        exchange,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        total_tokens=input_tokens + output_tokens,
        is_estimated=False,
        source=Source.USAGE,
        status=200,
        **more,
    )


def _live(session: Session) -> bool:
    return session.session_status is not SessionStatus.ENDED


def _level(percent: float | None) -> ContextLevel | None:
    if percent is None:
        return None
    steps = ((95, ContextLevel.CRITICAL), (90, ContextLevel.VERY_HIGH), (80, ContextLevel.HIGH))
    return next((level for floor, level in steps if percent >= floor), ContextLevel.NORMAL)


def _totals(records: Sequence[Exchange]) -> dict[str, object]:
    def total(name: str) -> int | None:
        known = [value for one in records if (value := getattr(one, name)) is not None]
        return sum(known) if known else None

    sizes = [one.total_tokens for one in records if one.total_tokens is not None]
    prices = [one.cost_usd for one in records if one.cost_usd is not None]
    wrong = sorted(
        abs(one.estimated_input_tokens - one.input_tokens) / one.input_tokens
        for one in records
        if one.input_tokens and one.estimated_input_tokens and not one.is_estimated
    )
    fields = Totals(
        requests=len(records),
        errors=sum(one.error is not None for one in records),
        max_tokens=max(sizes, default=None),
        mean_tokens=sum(sizes) / len(sizes) if sizes else None,
        total_prompt_tokens=total("input_tokens"),
        total_completion_tokens=total("output_tokens"),
        total_cached_tokens=total("cache_read_tokens"),
        total_reasoning_tokens=total("reasoning_tokens"),
        cost_usd=sum(prices, Decimal(0)) if prices else None,
        unpriced_requests=len(records) - len(prices),
        estimate_accuracy=Accuracy(
            requests=len(wrong),
            median_error=wrong[len(wrong) // 2] if wrong else None,
            p90_error=wrong[len(wrong) * 9 // 10] if wrong else None,
            last_error=wrong[-1] if wrong else None,
        ),
    )
    return dict(fields)


def _cursor(offset: int) -> str:
    return base64.urlsafe_b64encode(f"v1:{offset}".encode()).decode()


def _offset(cursor: str | None) -> int:
    if cursor is None:
        return 0
    try:
        version, offset = base64.urlsafe_b64decode(cursor).decode().split(":")
        if version == "v1":
            return int(offset)
    except ValueError:
        pass
    raise ControlError(404, "no_such_page", "There is no page after this cursor.")
