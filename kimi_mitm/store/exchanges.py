"""Exchanges in the database: written over by id, read by page or as a stream."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, and_, delete, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from kimi_mitm import owner
from kimi_mitm.records import Exchange
from kimi_mitm.render import instant
from kimi_mitm.store.dialect import upsert
from kimi_mitm.store.rows import exchange_of, row_of
from kimi_mitm.store.tables import exchanges
from kimi_mitm.store.totals import Figures


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which exchanges, in which order: `after` is a cursor of `page`."""

    session: str | None = None
    provider: str | None = None
    user: str | None = None
    since: datetime | None = None
    after: str | None = None
    newest_first: bool = False
    limit: int = 100


class BadCursor(ValueError):
    """The cursor is none of ours."""


async def save(connection: AsyncConnection, records: Iterable[Exchange]) -> None:
    """Writes records, over those with the same id."""
    mine = owner.this_process()
    rows = [{**row_of(record), "owner": mine} for record in records]
    if rows:
        await connection.execute(upsert(connection, exchanges, "id"), rows)


async def forget(connection: AsyncConnection, exchange_id: str) -> None:
    """Deletes one exchange."""
    await connection.execute(delete(exchanges).where(exchanges.c.id == exchange_id))


async def get(engine: AsyncEngine, exchange_id: str) -> Exchange | None:
    """One exchange, None when there is none."""
    async with engine.connect() as connection:
        found = await connection.execute(select(exchanges).where(exchanges.c.id == exchange_id))
        row = found.mappings().first()
    return exchange_of(row) if row else None


async def page(engine: AsyncEngine, wanted: Wanted) -> tuple[Sequence[Exchange], str | None]:
    """A page of exchanges by start, and the cursor that goes on after it (None at the end)."""
    statement = _filtered(wanted).limit(wanted.limit + 1)
    async with engine.connect() as connection:
        rows = (await connection.execute(statement)).mappings().all()
    records = [exchange_of(row) for row in rows[: wanted.limit]]
    more = len(rows) > wanted.limit
    return records, _cursor(rows[wanted.limit - 1]) if more else None


async def stream(engine: AsyncEngine, wanted: Wanted) -> AsyncIterator[Exchange]:
    """All that match, oldest first, without holding them in memory."""
    async with engine.connect() as connection:
        result = await connection.stream(_filtered(wanted))
        async for row in result.mappings():
            yield exchange_of(row)


async def count(engine: AsyncEngine, wanted: Wanted) -> int:
    """How many match, whatever the cursor and the limit."""
    statement = select(func.count()).select_from(_filtered(wanted).order_by(None).subquery())
    async with engine.connect() as connection:
        return int((await connection.execute(statement)).scalar_one())


async def figures(engine: AsyncEngine, wanted: Wanted) -> AsyncIterator[Sequence[Figures]]:
    """The figures to sum of all that match, oldest first, in pieces."""
    async for rows in dated_figures(engine, wanted):
        yield [row for _, row in rows]


async def dated_figures(engine: AsyncEngine, wanted: Wanted) -> AsyncIterator[Sequence[tuple[str, Figures]]]:
    """The same, each with its day (`2026-03-01`, UTC)."""
    c = exchanges.c
    picked = _filtered(wanted).with_only_columns(
        c.started_at,
        *(c.provider, c.model, c.input_tokens, c.output_tokens, c.cache_read_tokens, c.reasoning_tokens),
        *(c.total_tokens, c.cost_usd, c.error.is_not(None), c.estimated_input_tokens),
        and_(c.source == "usage", c.is_estimated.is_(False)),
    )
    async with engine.connect() as connection:
        result = await connection.stream(picked)
        async for rows in result.partitions(1000):
            yield [(row[0][:10], Figures._make(row[1:])) for row in rows]


def _filtered(wanted: Wanted) -> Select[Any]:
    c = exchanges.c
    statement = select(exchanges)
    if wanted.session is not None:
        statement = statement.where(c.session_id == wanted.session)
    if wanted.provider is not None:
        statement = statement.where(c.provider == wanted.provider)
    if wanted.user is not None:
        statement = statement.where(c.user == wanted.user)
    if wanted.since is not None:
        statement = statement.where(c.started_at >= instant(wanted.since))
    if wanted.after is not None:
        started, seq = _place(wanted.after)
        same = c.started_at == started
        if wanted.newest_first:
            statement = statement.where(or_(c.started_at < started, and_(same, c.seq < seq)))
        else:
            statement = statement.where(or_(c.started_at > started, and_(same, c.seq > seq)))
    if wanted.newest_first:
        return statement.order_by(c.started_at.desc(), c.seq.desc())
    return statement.order_by(c.started_at, c.seq)


def _cursor(row: Any) -> str:
    text = f"{row['started_at']} {row['seq']}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _place(cursor: str) -> tuple[str, int]:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
        started, seq = text.split(" ")
        return started, int(seq)
    except (binascii.Error, ValueError, UnicodeError) as e:
        raise BadCursor("not a cursor of ours") from e
