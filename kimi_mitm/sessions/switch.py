"""The steps by which sessions change in a ledger, each with what is to be told of it.

`switch` is the one door for the current session of a scope; the other steps begin, resume, touch
and end a session. All of it is part of the ledger's open transaction.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from kimi_mitm.render import instant
from kimi_mitm.sessions.flag import Flag
from kimi_mitm.sessions.ledger import Ledger
from kimi_mitm.sessions.record import EndReason, OpenedBy, Session, ended, idle, resumed
from kimi_mitm.sessions.rules import Create, Decision, End, Resume, Switch, Touch, touched
from kimi_mitm.sessions.seen import Seen


def switch(ledger: Ledger, scope: str, session: Session) -> None:
    """Makes it the current session of the scope. The one that was current stays live, idle, until its
    own end."""
    before = ledger.current(scope)
    ledger.point(scope, session.session_id)
    if before is None or not before.live or before.session_id == session.session_id:
        return
    if before.scope == scope:
        ledger.put(idle(before))
    told = {"user_id": session.user, "client": session.client}
    ledger.tell(
        "session:switched",
        {"old_session": before.session_id, "new_session": session.session_id, **told},
    )


def begin(ledger: Ledger, session: Session, before: Session | None) -> Session:
    """A new session; `before` is the one that the flag leaves for it, if the flag made it."""
    made = ledger.put(session)
    ledger.tell("session:started", summary(made))
    if session.opened_by is OpenedBy.FLAG:
        old = {"old_session": before.session_id, "old_provider": before.provider} if before else {}
        ledger.tell("auto_session:created", {**summary(made), **old})
    return made


def resume(ledger: Ledger, session: Session, now: datetime, owner: str) -> Session:
    """An ended session goes on."""
    going = ledger.put(resumed(session, now, owner))
    ledger.tell("session:started", summary(going))
    return going


def end(
    ledger: Ledger, session: Session, reason: EndReason, now: datetime, timeout: timedelta, owner: str
) -> Session:
    """The session ends, and this process is the one that archives it. It is told when that is done; at
    once when there is nothing to archive."""
    done = ledger.put(replace(ended(session, reason, now, timeout), owner=owner))
    if not done.archive_due:
        tell_end(ledger, done)
    return done


def tell_end(ledger: Ledger, session: Session) -> None:
    """Tells of an end, with the name of the archive if there is one."""
    reason = session.end_reason.value if session.end_reason else None
    ledger.tell("session:ended", {**summary(session), "archive_id": session.archive_id, "end_reason": reason})


def follow(ledger: Ledger, decision: Decision, seen: Seen, now: datetime, owner: str) -> None:
    """Takes a decision's steps, in order."""
    for step in decision.steps:
        match step:
            case Create(session):
                before = session.previous_session_id
                begin(
                    ledger, replace(session, owner=owner), ledger.peek(before) if before is not None else None
                )
            case Switch(scope, session_id):
                switch(ledger, scope, _known(ledger, session_id))
            case Resume(session_id):
                resume(ledger, _known(ledger, session_id), now, owner)
            case End(session_id, reason, timeout):
                end(ledger, _known(ledger, session_id), reason, now, timeout, owner)
            case Touch(session_id):
                ledger.put(touched(_known(ledger, session_id), step, seen, now, owner))


def summary(session: Session) -> dict[str, Any]:
    """What events say of a session, in JSON's own types."""
    return {
        "session_id": session.session_id,
        "config_id": session.config_id,
        "user_id": session.user,
        "client": session.client,
        "client_session_id": session.client_session_id,
        "provider": session.provider,
        "model": session.model,
        "name": session.name,
        "kind": session.kind.value,
        "session_status": session.status.value,
        "started_at": instant(session.started_at),
        "updated_at": instant(session.last_activity_at),
        "previous_session_id": session.previous_session_id,
        "resumed": session.resumed,
    }


def flag_summary(flag: Flag) -> dict[str, Any]:
    """What events say of the flag, in JSON's own types."""
    last = flag.last
    return {
        "enabled": flag.enabled,
        "forced": flag.forced,
        "providers": dict(flag.providers),
        "updated_at": instant(last.at) if last else None,
        "updated_by": last.by if last else None,
        "provider": last.provider if last else None,
    }


def _known(ledger: Ledger, session_id: str) -> Session:
    session = ledger.peek(session_id)
    if session is None:
        raise LookupError("a step names a session that isn't in memory")
    return session
