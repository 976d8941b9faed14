"""The life of one process's sessions: what is live, how it ends, what a crash left behind.

A pure state machine: time is an argument, nothing is stored here. Each method that changes anything
adds to the open transaction, `changes()`, and most return it; the caller stores that, then calls
`commit()` and tells its events, or `rollback()`. When the store holds something else than the
transaction expects, the caller calls `rollback()`, `adopt()`s what was found, and does its work again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from kimi_mitm.records import Exchange
from kimi_mitm.sessions.flag import Flag
from kimi_mitm.sessions.ledger import Changes, Event, Found, Ledger
from kimi_mitm.sessions.names import tidy
from kimi_mitm.sessions.record import EndReason, Session, Status, idle
from kimi_mitm.sessions.seen import Rules
from kimi_mitm.sessions.switch import end, flag_summary, tell_end
from kimi_mitm.sessions.views import Route, Views

MAX_LIVE = 10_000
"""More live sessions than this, and the least recently used one ends: a client that sends a new id
with every request must not fill the memory."""


class SessionLife:
    """See the module. `owner` names this process, unlike any other's; `first_flag` is the flag's value
    until somebody changes it."""

    def __init__(self, *, owner: str, rules: Rules | None = None, first_flag: bool = True) -> None:
        self.owner = owner
        self.rules = rules or Rules()
        self._ledger = Ledger(first_flag)
        self._views = Views()

    def session(self, session_id: str) -> Session | None:
        """A session that is in memory: live, or waiting for its archive."""
        return self._ledger.peek(session_id)

    def live(self) -> Iterator[Session]:
        """The live sessions in memory."""
        return (session for session in self._ledger.sessions() if session.live)

    def is_current(self, session: Session) -> bool:
        """Whether it is the current session of its scope."""
        return self._ledger.is_current(session)

    def unarchived(self) -> tuple[Session, ...]:
        """Sessions that this process ended and has to archive still."""
        return tuple(session for session in self._ledger.sessions() if self._to_archive(session))

    def recent(self, session_id: str) -> tuple[Exchange, ...]:
        """A live session's last exchanges, at most 100, oldest first."""
        return self._views.recent(session_id)

    @property
    def routes(self) -> dict[str, Route]:
        """The routes to the providers of the ten sessions used last, by session id."""
        return dict(self._views.routes)

    @property
    def flag(self) -> Flag:
        """The flag now."""
        return self._ledger.flag_now

    def changes(self) -> Changes:
        """The open transaction."""
        return self._ledger.changes()

    def commit(self) -> tuple[Event, ...]:
        """The transaction is stored. Returns its events, to be told now."""
        return self._ledger.commit(self._to_archive)

    def rollback(self) -> None:
        """The transaction was not stored: nothing of it has happened."""
        self._ledger.rollback()

    def adopt(self, found: Found) -> None:
        """Takes over what the store holds; not while a transaction is open. A flag that another process
        changed is told of with the next commit."""
        if self._ledger.open:
            raise RuntimeError("a transaction is open: commit or roll it back first")
        before = self.flag.version
        self._ledger.adopt(found)
        if self.flag.version > before:
            self._ledger.learn("auto_session:toggled", flag_summary(self.flag))

    def sweep(self, now: datetime) -> Changes:
        """Looks for sessions without activity: ends the overdue ones, and those that only others use are
        forgotten here. A clock that was set back counts from where it is now. The flag is compared too:
        so another process' change is known here after one look."""
        self._ledger.check_flag()
        for session in list(self.live()):
            if session.owner != self.owner:
                if self._overdue(session, now):
                    self._ledger.then(partial(self._forget, session.session_id))
            elif session.last_activity_at > now + self.rules.timeout:
                self._ledger.put(replace(session, last_activity_at=now))
            elif self._overdue(session, now):
                self._end(session, EndReason.TIMEOUT, now)
            elif self._quiet(session, now):
                self._ledger.put(idle(session))
        return self.changes()

    def end(self, session_id: str, reason: EndReason, now: datetime) -> Changes:
        """Ends a live session; nothing for one that has ended. The store checks an unknown one."""
        session = self._session(session_id)
        if session is not None and session.live:
            self._end(session, reason, now)
        elif session is not None:
            self._ledger.check(session)
        return self.changes()

    def clear(self, session_id: str, now: datetime) -> Changes:
        """Ends a session without an archive, or takes an ended one's claim to one away."""
        session = self._session(session_id)
        if session is not None and session.end_reason is not EndReason.CLEARED:
            self._end(session, EndReason.CLEARED, now)
        elif session is not None:
            self._ledger.check(session)
        return self.changes()

    def shutdown(self, now: datetime) -> Changes:
        """Ends the live sessions that this process used last; those that others use go on."""
        for session in list(self.live()):
            if session.owner == self.owner:
                self._end(session, EndReason.SHUTDOWN, now)
        return self.changes()

    def disconnected(self, connection: str, now: datetime) -> Changes:
        """A client's connection is gone, its exchanges settled: by option, the sessions that have no
        other one end."""
        for session_id in self._views.disconnect(connection):
            session = self._ledger.peek(session_id)
            if self.rules.archive_on_disconnect and session is not None and session.live:
                self._end(session, EndReason.DISCONNECT, now)
        return self.changes()

    def recover(self, found: Found, now: datetime, gone: Callable[[str], bool]) -> Changes:
        """Ends the live sessions of processes that are gone (`gone(owner)`), and takes over the archives
        that they owe. `found`: the stored sessions that are live or have an archive due."""
        self._ledger.adopt(found)
        for stored in found.sessions:
            session = self._ledger.peek(stored.session_id)
            if session is None or session.owner == self.owner or not gone(session.owner):
                continue
            if session.live:
                self._end(session, EndReason.CRASH, now)
            elif session.archive_due:
                self._ledger.put(replace(session, owner=self.owner))
        return self.changes()

    def archived(self, session_id: str, archive_id: str | None) -> Changes:
        """An ended session's archive is written, or there will be none (None): only now its end is told."""
        session = self._session(session_id)
        if session is None or not session.archive_due:
            return self.changes()
        done = self._ledger.put(replace(session, archive_id=archive_id, archive_due=False))
        tell_end(self._ledger, done)
        return self.changes()

    def _session(self, session_id: str) -> Session | None:
        return self._ledger.session(tidy(session_id))

    def _end(self, session: Session, reason: EndReason, now: datetime) -> Session:
        self._ledger.then(partial(self._views.forget, session.session_id))
        return end(self._ledger, session, reason, now, self.rules.timeout, self.owner)

    def _forget(self, session_id: str) -> None:
        self._views.forget(session_id)
        self._ledger.forget(session_id)

    def _to_archive(self, session: Session) -> bool:
        return session.archive_due and session.owner == self.owner

    def _overdue(self, session: Session, now: datetime) -> bool:
        return overdue(session, self._views, self.rules.timeout, now)

    def _quiet(self, session: Session, now: datetime) -> bool:
        return (
            session.status is not Status.IDLE
            and now - session.last_activity_at >= self.rules.check_interval
            and not self._views.busy(session.session_id, now)
        )

    def _make_room(self, now: datetime) -> None:
        if len(self._ledger) < MAX_LIVE:
            return
        mine = [session for session in self.live() if session.owner == self.owner]
        if mine:
            self._end(min(mine, key=lambda session: session.last_activity_at), EndReason.LIMIT, now)


def overdue(session: Session, views: Views, timeout: timedelta, now: datetime) -> bool:
    """Whether a session had no activity for longer than the timeout; an exchange under way is activity."""
    return now - session.last_activity_at >= timeout and not views.busy(session.session_id, now)
