"""A session: a stretch of work of one user with one client, as a frozen value, and its steps in life.

started → active → idle → ended. A session that ended by itself (no activity, shutdown, crash,
connections gone) goes on under the same id when its client comes back with its own id; one that a
person ended or cleared never does.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from kimi_mitm.sessions.stats import NO_FIGURES, SessionStats


class Status(enum.StrEnum):
    """Where a session is in its life. `STARTED`: made, but no conversation turn yet."""

    STARTED = "started"
    ACTIVE = "active"
    IDLE = "idle"
    ENDED = "ended"


class Kind(enum.StrEnum):
    """What a session was. `ONE_SHOT`, a client started for one prompt, and `SIDE`, nothing but side
    traffic, are known at the end only; `EXCHANGE` is one that holds a single exchange by option."""

    INTERACTIVE = "interactive"
    ONE_SHOT = "one_shot"
    EXCHANGE = "exchange"
    SIDE = "side"


class EndReason(enum.StrEnum):
    """Why a session ended. `LIMIT`: there were too many live ones, and it was the least recently used."""

    TIMEOUT = "timeout"
    REQUEST = "request"
    CLEARED = "cleared"
    DISCONNECT = "disconnect"
    SHUTDOWN = "shutdown"
    CRASH = "crash"
    EXCHANGE = "exchange"
    LIMIT = "limit"


RESUMABLE = frozenset(
    {EndReason.TIMEOUT, EndReason.DISCONNECT, EndReason.SHUTDOWN, EndReason.CRASH, EndReason.LIMIT}
)
"""Ends that nobody asked for: the client's own id, or ours, leads back to the same session."""

RESTARTED = frozenset({EndReason.SHUTDOWN, EndReason.CRASH})
"""Ends that are only the proxy's own stop: get-or-create gives the same session afterwards."""


AT_ONCE = frozenset(
    {EndReason.REQUEST, EndReason.CLEARED, EndReason.DISCONNECT, EndReason.EXCHANGE, EndReason.LIMIT}
)
"""Ends that are noticed when they happen. The others are noticed some time after, and are dated back to
when the session would have been over at the latest."""


class OpenedBy(enum.StrEnum):
    """What made a session: the first traffic of its scope, the flag, or a request for it."""

    TRAFFIC = "traffic"
    FLAG = "flag"
    REQUEST = "request"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One session. Times are UTC; `provider` and `model` are those of the last conversation turn, None
    before the first.

    `scope`: what it is the session of (see `scope_of`); each scope has one current session.
    `version`: grows by one with each stored change. `owner`: the process that last used it.
    `prompts`: the user's prompts so far; `exchanges`: exchanges placed, settled or not.
    `carried`: changes of provider that it went through without a new session; `side_kept`: side
    exchanges on another provider that opened none; `returns`: times the flag came back to it.
    `archive_due`: ended, and not archived yet.
    """

    session_id: str
    scope: str
    user: str
    started_at: datetime
    last_activity_at: datetime
    client: str | None = None
    provider: str | None = None
    model: str | None = None
    client_session_id: str | None = None
    config_id: str | None = None
    name: str | None = None
    folder: str | None = None
    kind: Kind = Kind.INTERACTIVE
    status: Status = Status.STARTED
    opened_by: OpenedBy = OpenedBy.TRAFFIC
    previous_session_id: str | None = None
    ended_at: datetime | None = None
    end_reason: EndReason | None = None
    archive_id: str | None = None
    archive_due: bool = False
    owner: str = ""
    version: int = 0
    prompts: int = 0
    last_prompt: str | None = None
    exchanges: int = 0
    turns: int = 0
    resumed: int = 0
    returns: int = 0
    carried: int = 0
    side_kept: int = 0
    stats: SessionStats = NO_FIGURES

    @property
    def live(self) -> bool:
        return self.status is not Status.ENDED


def idle(session: Session) -> Session:
    """The session after a look that found no activity."""
    return replace(session, status=Status.IDLE)


def ended(session: Session, reason: EndReason, now: datetime, timeout: timedelta) -> Session:
    """The session at its end. Its archive is due if it has anything to archive and wasn't cleared."""
    over = now if reason in AT_ONCE else min(now, session.last_activity_at + timeout)
    return replace(
        session,
        status=Status.ENDED,
        kind=_kind_at_end(session),
        ended_at=over,
        end_reason=reason,
        archive_due=session.exchanges > 0 and reason is not EndReason.CLEARED,
        archive_id=None if reason is EndReason.CLEARED else session.archive_id,
    )


def resumed(session: Session, now: datetime, owner: str) -> Session:
    """An ended session that goes on; its next archive will hold all of it."""
    return replace(
        session,
        status=Status.ACTIVE if session.turns else Status.STARTED,
        kind=Kind.EXCHANGE if session.kind is Kind.EXCHANGE else Kind.INTERACTIVE,
        last_activity_at=now,
        ended_at=None,
        end_reason=None,
        archive_due=False,
        resumed=session.resumed + 1,
        owner=owner,
    )


def _kind_at_end(session: Session) -> Kind:
    if session.kind is Kind.EXCHANGE:
        return session.kind
    if session.exchanges and not session.turns:
        return Kind.SIDE
    if session.client_session_id is not None and session.prompts == 1:
        return Kind.ONE_SHOT
    return Kind.INTERACTIVE
