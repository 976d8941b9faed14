"""The sessions of one process: which one each exchange belongs to, and what people ask for.

As `session_life` says, every method works in one open transaction that the caller stores and then
commits. Use it from one task at a time, from the first call of a transaction to its end:

    placement = book.place(seen, now)
    found = await store.apply(book.changes())  # None: it is stored
    events = book.commit() if found is None else ...  # rollback(), adopt(found), place again

An exception that a method raises for what it knows (`FlagForced`, `SessionEnded`) is true if the store
takes `book.changes()` as they are then; otherwise adopt and ask again. Then roll back, as after any
exception.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from kimi_mitm.records import Exchange
from kimi_mitm.sessions.flag import Flag
from kimi_mitm.sessions.ledger import Changes, Ledger
from kimi_mitm.sessions.life import SessionLife, overdue
from kimi_mitm.sessions.names import scope_of, tidy
from kimi_mitm.sessions.record import RESTARTED, EndReason, Kind, OpenedBy, Session
from kimi_mitm.sessions.rules import Create, Decision, decide
from kimi_mitm.sessions.seen import ANY_CLIENT, Rules, Seen, line_scope, tidied
from kimi_mitm.sessions.switch import begin, flag_summary, follow, resume, switch
from kimi_mitm.sessions.views import Route, Views


class SessionEnded(Exception):
    """The session has ended; it can't be switched to."""


@dataclass(frozen=True, slots=True)
class Placement:
    """The session that was asked for, whether it is new, and why it is this one."""

    session_id: str
    created: bool
    why: str


class SessionBook(SessionLife):
    """See the module. `new_id` gives a new session's id: unlike any other, and not to be guessed."""

    def __init__(
        self, *, owner: str, new_id: Callable[[], str], rules: Rules | None = None, first_flag: bool = True
    ) -> None:
        super().__init__(owner=owner, rules=rules, first_flag=first_flag)
        self._new_id = new_id

    def place(self, seen: Seen, now: datetime) -> Placement:
        """The session of an exchange whose request was read just now."""
        seen = tidied(seen)
        decision = decide(_Sight(self._ledger, self._views, self.rules), self.rules, seen, now, self._new_id)
        created = any(isinstance(step, Create) for step in decision.steps)
        if created:
            self._make_room(now)
        follow(self._ledger, decision, seen, now, self.owner)
        self._ledger.then(partial(self._note, decision, seen, now))
        return Placement(decision.session_id, created, decision.why)

    def settled(
        self,
        exchange: Exchange,
        now: datetime,
        *,
        issued_ids: tuple[str, ...] = (),
        before: Exchange | None = None,
    ) -> None:
        """An exchange has its figures, or better ones: `before` is its earlier version, needed only when
        that is no longer among the session's last 100. Counts in a session that ended meanwhile too."""
        session = self._session(exchange.session_id) if exchange.session_id is not None else None
        if session is None:
            return
        earlier = before or self._views.earlier(session.session_id, exchange.id)
        counted = replace(
            session,
            started_at=min(session.started_at, exchange.started_at),
            stats=session.stats.with_exchange(exchange, earlier),
        )
        counted = self._ledger.put(self._used(counted, now) if session.live else counted)
        if counted.live and counted.kind is Kind.EXCHANGE:
            self._end(counted, EndReason.EXCHANGE, now)
        self._ledger.then(partial(self._keep, exchange, session, issued_ids))

    def withdrawn(self, exchange: Exchange) -> None:
        """A settled exchange turned out to be another one: it counts no more."""
        session = self._session(exchange.session_id) if exchange.session_id is not None else None
        if session is not None:
            self._ledger.put(replace(session, stats=session.stats.without_exchange(exchange)))

    def activate(self, session_id: str, now: datetime) -> Changes:
        """Switches to a live session: it becomes the current one of its scope. One that has no client of
        its own becomes the current one of all the user's lines. Raises `SessionEnded`."""
        session = self._session(session_id)
        if session is None:
            return self.changes()
        if not session.live:
            self._ledger.check(session)
            raise SessionEnded("The session has ended.")
        session = self._ledger.put(self._used(session, now))
        for scope in self._scopes_to_activate(session):
            switch(self._ledger, scope, session)
        return self.changes()

    def get_or_create(
        self,
        user: str,
        config_id: str,
        now: datetime,
        *,
        name: str | None = None,
        provider: str | None = None,
        model: str | None = None,
    ) -> Placement:
        """The live session of this user and config; a new one if there is none. One that only the proxy's
        own stop ended goes on."""
        user, config_id = tidy(user), tidy(config_id)
        scope = scope_of("config", user, config_id)
        session = self._ledger.current(scope)
        if session is not None and session.live and self._overdue(session, now):
            session = self._end(session, EndReason.TIMEOUT, now)
        if session is not None and session.live:
            self._ledger.put(self._used(session, now))
            return Placement(session.session_id, False, "current")
        if session is not None and session.end_reason in RESTARTED:
            resume(self._ledger, session, now, self.owner)
            return Placement(session.session_id, False, "resumed")
        self._make_room(now)
        made = Session(
            session_id=self._new_id(),
            scope=scope,
            user=user,
            config_id=config_id,
            name=tidy(name),
            provider=tidy(provider),
            model=tidy(model),
            opened_by=OpenedBy.REQUEST,
            previous_session_id=session.session_id if session else None,
            started_at=now,
            last_activity_at=now,
            owner=self.owner,
        )
        switch(self._ledger, scope, begin(self._ledger, made, None))
        return Placement(made.session_id, True, "new")

    def describe(self, session_id: str, *, name: str | None = None, folder: str | None = None) -> Changes:
        """Gives a session the title or folder that a log knows; what it has already stays."""
        session = self._session(session_id)
        if session is not None:
            better = replace(session, name=session.name or tidy(name), folder=session.folder or tidy(folder))
            if better != session:
                self._ledger.put(better)
        return self.changes()

    def set_flag(self, enabled: bool, by: str | None, now: datetime, provider: str | None = None) -> Changes:
        """Sets the flag, or one provider's own value. Raises `FlagForced`."""
        flag = self._ledger.flag
        if provider is not None:
            return self._flagged(flag.with_provider(tidy(provider), enabled, tidy(by), now))
        return self._flagged(flag.with_value(enabled, tidy(by), now))

    def unset_flag(self, provider: str, by: str | None, now: datetime) -> Changes:
        """Takes a provider's own value away. Raises `FlagForced`."""
        return self._flagged(self._ledger.flag.with_provider(tidy(provider), None, tidy(by), now))

    def toggle_flag(self, by: str | None, now: datetime) -> Changes:
        """Flips the flag. Raises `FlagForced`."""
        return self._flagged(self._ledger.flag.with_value(not self._ledger.flag.enabled, tidy(by), now))

    def force_flag(self, enabled: bool | None, by: str | None, now: datetime) -> Changes:
        """Holds the flag at a value, or lets it go (None). The caller is known to be the admin."""
        return self._flagged(self._ledger.flag.with_force(enabled, tidy(by), now))

    def _flagged(self, flag: Flag) -> Changes:
        self._ledger.check_flag()
        if flag is not self._ledger.flag:
            self._ledger.set_flag(flag)
            self._ledger.tell("auto_session:toggled", flag_summary(flag))
        return self.changes()

    def _used(self, session: Session, now: datetime) -> Session:
        return replace(session, last_activity_at=max(session.last_activity_at, now), owner=self.owner)

    def _scopes_to_activate(self, session: Session) -> tuple[str, ...]:
        if session.client is not None:
            return (session.scope,)
        lines = {
            other.scope
            for other in self.live()
            if other.user == session.user and other.client is not None and other.client_session_id is None
        }
        return (session.scope, line_scope(self.rules, session.user, ANY_CLIENT), *sorted(lines))

    def _note(self, decision: Decision, seen: Seen, now: datetime) -> None:
        session_id, views = decision.session_id, self._views
        views.placed(session_id, seen.exchange_id, now)
        views.route(session_id, Route(seen.host, seen.wire_format, seen.context_window))
        for issued_id in seen.issued_ids:
            views.bind(seen.user, issued_id, session_id)
        if seen.connection is not None:
            views.connect(seen.connection, session_id)

    def _keep(self, exchange: Exchange, session: Session, issued_ids: tuple[str, ...]) -> None:
        session_id, user = session.session_id, tidy(exchange.user or session.user)
        if session.live and session.kind is not Kind.EXCHANGE:
            self._views.settled(session_id, exchange)
        for issued_id in (*issued_ids, *((exchange.response_id,) if exchange.response_id else ())):
            self._views.bind(user, issued_id, session_id)
        if exchange.context_window is not None and session_id in self._views.routes:
            self._views.route(session_id, Route(context_window=exchange.context_window))


class _Sight:
    """What the rules may see."""

    def __init__(self, ledger: Ledger, views: Views, rules: Rules) -> None:
        self._ledger = ledger
        self._views = views
        self._rules = rules

    def session(self, session_id: str) -> Session | None:
        return self._ledger.session(session_id)

    def current(self, scope: str) -> Session | None:
        return self._ledger.current(scope)

    def issued(self, user: str, issued_id: str) -> Session | None:
        session_id = self._views.issued(user, issued_id)
        return self._ledger.peek(session_id) if session_id is not None else None

    def live_in(self, scope: str) -> list[Session]:
        return self._ledger.live_in(scope)

    def overdue(self, session: Session, now: datetime) -> bool:
        return overdue(session, self._views, self._rules.timeout, now)

    @property
    def flag(self) -> Flag:
        return self._ledger.flag
