"""Sessions as they are stored: one, a page, the current ones; and what the flag did."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import and_, or_, select
from sqlalchemy.ext.asyncio import AsyncEngine

from kimi_mitm.sessions.flag import FlagChange
from kimi_mitm.sessions.record import EndReason, Session
from kimi_mitm.sessions.rows import flag_from_row, from_row
from kimi_mitm.store.exchanges import BadCursor
from kimi_mitm.store.session_writes import SessionWrites
from kimi_mitm.store.tables import sessions as tables

_SESSIONS = tables.sessions


async def get(engine: AsyncEngine, session_id: str) -> Session | None:
    """One session, None when there is none or it was cleared."""
    async with engine.connect() as connection:
        found = await connection.execute(select(_SESSIONS).where(_SESSIONS.c.session_id == session_id))
        row = found.mappings().first()
    if row is None or row["end_reason"] == EndReason.CLEARED.value:
        return None
    return from_row(dict(row))


async def page(
    engine: AsyncEngine,
    *,
    user: str | None = None,
    status: str | None = None,
    provider: str | None = None,
    after: str | None = None,
    limit: int = 100,
) -> tuple[Sequence[Session], str | None]:
    """Sessions, most recently active first, and the cursor after them (None at the end)."""
    c = _SESSIONS.c
    statement = select(_SESSIONS).where(or_(c.end_reason.is_(None), c.end_reason != EndReason.CLEARED.value))
    if user is not None:
        statement = statement.where(c.user == user)
    if status is not None:
        statement = statement.where(c.status == status)
    if provider is not None:
        statement = statement.where(c.provider == provider)
    if after is not None:
        at, session_id = _place(after)
        same = and_(c.last_activity_at == at, c.session_id < session_id)
        statement = statement.where(or_(c.last_activity_at < at, same))
    statement = statement.order_by(c.last_activity_at.desc(), c.session_id.desc()).limit(limit + 1)
    async with engine.connect() as connection:
        rows = (await connection.execute(statement)).mappings().all()
    found = [from_row(dict(row)) for row in rows[:limit]]
    return found, _cursor(rows[limit - 1]) if len(rows) > limit else None


async def current_ids(engine: AsyncEngine) -> frozenset[str]:
    """The sessions that are some scope's current one."""
    async with engine.connect() as connection:
        found = await connection.execute(select(tables.currents.c.session_id))
        return frozenset(found.scalars())


async def flag_history(engine: AsyncEngine, limit: int) -> Sequence[FlagChange]:
    """The flag's changes, newest first."""
    statement = select(tables.flags).order_by(tables.flags.c.version.desc()).limit(limit)
    async with engine.connect() as connection:
        rows = (await connection.execute(statement)).mappings().all()
    return [flag_from_row(dict(row)) for row in rows]


async def flag_counts(engine: AsyncEngine) -> dict[str, int]:
    """What the flag did, over all sessions: see `SessionWrites.flag_counts`."""
    async with engine.connect() as connection:
        return await connection.run_sync(SessionWrites(tables).flag_counts)


def _cursor(row: Mapping[Any, Any]) -> str:
    text = f"{row['last_activity_at']} {row['session_id']}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _place(cursor: str) -> tuple[str, str]:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
        at, session_id = text.split(" ")
    except (binascii.Error, ValueError, UnicodeError) as e:
        raise BadCursor("not a cursor of ours") from e
    return at, session_id
