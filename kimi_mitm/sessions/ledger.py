"""The live sessions in memory, and changes to them that hold only once they are stored.

Whatever is read or written between two commits is one transaction. `changes()` says what to store
and what the store must still hold for it to be true; a store that holds something else refuses
and answers with what it `Found`, which is adopted before the work is done again. So memory may be
out of date, as it is when two processes share a database, and never decides wrongly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from kimi_mitm.sessions.flag import Flag, FlagChange
from kimi_mitm.sessions.record import Session

type Event = tuple[str, dict[str, Any]]
"""Type and data, in JSON's own types."""


@dataclass(frozen=True, slots=True)
class Save:
    """A session's row as it shall be. `before`: the version that the store must hold now, None when it
    must hold no such session."""

    session: Session
    before: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """One transaction for the store: all of it or nothing.

    It holds only if each scope in `currents` still has that current session (None: has none), each scope
    in `live` these live sessions and no others, the sessions in `versions` have these versions, no
    session of `absent` exists, the flag's last change is number `flag_version` (None: it doesn't matter),
    and each save finds its version. Then the saves are
    written, the scopes in `switches` get their new current session, and `flag` is added to the flag's
    history. `events` are for everybody, once it is stored.
    """

    currents: Mapping[str, str | None] = field(default_factory=dict)
    live: Mapping[str, frozenset[str]] = field(default_factory=dict)
    versions: Mapping[str, int] = field(default_factory=dict)
    absent: frozenset[str] = frozenset()
    flag_version: int | None = None
    check: bool = False
    saves: tuple[Save, ...] = ()
    switches: Mapping[str, str] = field(default_factory=dict)
    flag: FlagChange | None = None
    events: tuple[Event, ...] = ()

    def __bool__(self) -> bool:
        """False when there is nothing to write, and nothing that must be compared all the same: a refusal,
        or that nothing is to be done, may rest on it."""
        written = self.saves or self.switches or self.flag
        return bool(written or self.versions or self.absent or self.check)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the store holds of what a transaction was about: the sessions (those that are current in the
    scopes among them), the ids of which there is none, the scopes' current sessions, the flag's last
    change."""

    sessions: tuple[Session, ...] = ()
    gone: frozenset[str] = frozenset()
    currents: Mapping[str, str | None] = field(default_factory=dict)
    flag: FlagChange | None = None


class Ledger:
    """Sessions, the scopes' current ones, and the flag; with the transaction that is open on them."""

    def __init__(self, first_flag: bool) -> None:
        self._sessions: dict[str, Session] = {}
        self._currents: dict[str, str] = {}
        self._scopes: dict[str, set[str]] = {}
        self._flag = Flag(first_flag)
        self._over: set[str] = set()
        self._news: list[Event] = []
        self._clear()

    def _clear(self) -> None:
        self._saves: dict[str, Session] = {}
        self._new = 0
        self._switches: dict[str, str] = {}
        self._read: dict[str, str | None] = {}
        self._read_live: dict[str, frozenset[str]] = {}
        self._versions: dict[str, int] = {}
        self._absent: set[str] = set()
        self._flag_read = False
        self._check = False
        self._new_flag: Flag | None = None
        self._events: list[Event] = []
        self._after: list[Callable[[], None]] = []

    @property
    def open(self) -> bool:
        """True while something awaits commit or rollback."""
        return bool(self._saves or self._switches or self._new_flag or self._events or self._after)

    def session(self, session_id: str) -> Session | None:
        """The session, live or ended. The store checks a None."""
        found = self.peek(session_id)
        if found is None:
            self._absent.add(session_id)
        return found

    def peek(self, session_id: str) -> Session | None:
        """The session if it is in memory."""
        return self._saves.get(session_id) or self._sessions.get(session_id)

    def current(self, scope: str) -> Session | None:
        """The scope's current session; the store checks that it is so."""
        self._read.setdefault(scope, self._currents.get(scope))
        session_id = self._switches.get(scope) or self._currents.get(scope)
        return self.peek(session_id) if session_id is not None else None

    def live_in(self, scope: str) -> list[Session]:
        """The scope's live sessions; the store checks that these are all."""
        stored = (name for name, found in self._sessions.items() if found.live and found.scope == scope)
        self._read_live.setdefault(scope, frozenset(stored))
        return [session for session in self.sessions() if session.live and session.scope == scope]

    def is_current(self, session: Session) -> bool:
        """Whether it is the current session of its scope, as far as memory knows."""
        current = self._switches.get(session.scope) or self._currents.get(session.scope)
        return current == session.session_id

    def sessions(self) -> Iterator[Session]:
        """Every session in memory."""
        return iter({**self._sessions, **self._saves}.values())

    def __len__(self) -> int:
        return len(self._sessions) + self._new

    @property
    def flag(self) -> Flag:
        """The flag; the store checks that nobody changed it meanwhile."""
        self._flag_read = True
        return self.flag_now

    @property
    def flag_now(self) -> Flag:
        """The flag as memory knows it."""
        return self._new_flag or self._flag

    def put(self, session: Session) -> Session:
        """A session's new state; the result has its new version."""
        stored = self._sessions.get(session.session_id)
        numbered = replace(session, version=(stored.version if stored else 0) + 1)
        self._new += stored is None and session.session_id not in self._saves
        self._saves[session.session_id] = numbered
        self._absent.discard(session.session_id)
        return numbered

    def point(self, scope: str, session_id: str) -> None:
        """Makes it the scope's current session. Only `sessions.switch` may call this."""
        self._read.setdefault(scope, self._currents.get(scope))
        self._switches[scope] = session_id

    def check(self, session: Session) -> None:
        """Has the store compare a session that is not to be changed."""
        stored = self._sessions.get(session.session_id)
        if stored is not None:
            self._versions[session.session_id] = stored.version

    def check_flag(self) -> None:
        """Has the store compare the flag, even if nothing else is to be stored."""
        self._flag_read = self._check = True

    def set_flag(self, flag: Flag) -> None:
        """The flag after one change."""
        self._flag_read = True
        self._new_flag = flag

    def tell(self, type: str, data: dict[str, Any]) -> None:
        """An event for when it is stored."""
        self._events.append((type, data))

    def learn(self, type: str, data: dict[str, Any]) -> None:
        """An event for the next commit, whatever is rolled back until then: it has happened elsewhere."""
        self._news.append((type, data))

    def then(self, act: Callable[[], None]) -> None:
        """Something to do in memory when it is stored; it must not fail."""
        self._after.append(act)

    def changes(self) -> Changes:
        """Everything since the last commit or rollback."""
        return Changes(
            currents=dict(self._read),
            live=dict(self._read_live),
            versions=dict(self._versions),
            absent=frozenset(self._absent),
            flag_version=self._flag.version if self._flag_read else None,
            check=self._check,
            saves=tuple(Save(session, self._before(session)) for session in self._saves.values()),
            switches=dict(self._switches),
            flag=self._new_flag.last if self._new_flag else None,
            events=tuple(self._events),
        )

    def _before(self, session: Session) -> int | None:
        stored = self._sessions.get(session.session_id)
        return stored.version if stored else None

    def commit(self, keep: Callable[[Session], bool]) -> tuple[Event, ...]:
        """It is stored: memory follows, without the ended sessions that aren't to be kept. Returns the
        events to tell."""
        events, after = (*self._news, *self._events), self._after
        self._news = []
        for session in self._saves.values():
            self._remember(session)
        for scope, session_id in self._switches.items():
            self._point(scope, session_id)
        self._flag = self._new_flag or self._flag
        self._clear()
        for act in after:
            act()
        for session_id in sorted(self._over):
            if not keep(self._sessions[session_id]):
                self.forget(session_id)
        return events

    def rollback(self) -> None:
        """It could not be stored: nothing has happened."""
        self._clear()

    def adopt(self, found: Found) -> None:
        """What the store holds is what is true."""
        for session in found.sessions:
            known = self._sessions.get(session.session_id)
            if known is None or session.version >= known.version:
                self._remember(session)
        for session_id in found.gone:
            self.forget(session_id)
        for scope, current in found.currents.items():
            self._point(scope, current)
        if found.flag is not None and found.flag.version >= self._flag.version:
            self._flag = Flag(self._flag.first, found.flag)

    def forget(self, session_id: str) -> None:
        """Drops a session from memory, with the scopes that it is current in."""
        self._sessions.pop(session_id, None)
        self._over.discard(session_id)
        for scope in self._scopes.pop(session_id, ()):
            self._currents.pop(scope, None)

    def _remember(self, session: Session) -> None:
        self._sessions[session.session_id] = session
        if session.live:
            self._over.discard(session.session_id)
        else:
            self._over.add(session.session_id)

    def _point(self, scope: str, session_id: str | None) -> None:
        old = self._currents.pop(scope, None)
        if old is not None and old in self._scopes:
            self._scopes[old].discard(scope)
            if not self._scopes[old]:
                del self._scopes[old]
        if session_id is not None:
            self._currents[scope] = session_id
            self._scopes.setdefault(session_id, set()).add(scope)
