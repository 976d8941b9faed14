"""What logs said of exchanges, kept so that figures can be settled anew after a restart."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from kimi_mitm.records import Reading
from kimi_mitm.render import instant
from kimi_mitm.store.dialect import insert_new, upsert
from kimi_mitm.store.tables import readings
from kimi_mitm.store.writer import Change

_WAITING = "waiting"


def saving(exchange_id: str, *found: Reading) -> Change:
    """The change that writes an exchange's readings over those with the same key."""
    rows = [_row(exchange_id, reading, reading.joined_by or "alone") for reading in found]

    async def change(connection: AsyncConnection) -> None:
        await connection.execute(upsert(connection, readings, "key"), rows)

    return change


def waiting(reading: Reading) -> Change:
    """The change that keeps a reading that is of no exchange yet; one that is of an exchange stays so."""
    row = _row(None, reading, _WAITING)

    async def change(connection: AsyncConnection) -> None:
        await connection.execute(insert_new(connection, readings), [row])

    return change


async def still_waiting(engine: AsyncEngine, since: datetime) -> Sequence[Reading]:
    """The readings since then that are of no exchange yet, oldest first."""
    statement = select(readings.c.document).where(readings.c.state == _WAITING)
    async with engine.connect() as connection:
        found = await connection.execute(
            statement.where(readings.c.at >= instant(since)).order_by(readings.c.at)
        )
        rows = found.scalars().all()
    return [reading for row in rows if (reading := _read(row)) is not None]


def _row(exchange_id: str | None, reading: Reading, state: str) -> dict[str, Any]:
    return {
        "key": reading.key,
        "exchange_id": exchange_id,
        "source": reading.source.value,
        "client": reading.client,
        "at": instant(reading.at),
        "state": state,
        "document": msgspec.json.encode(reading).decode(),
    }


async def of(engine: AsyncEngine, exchange_id: str) -> Sequence[Reading]:
    """The readings of an exchange; one that can't be read any more is left out."""
    async with engine.connect() as connection:
        statement = select(readings.c.document).where(readings.c.exchange_id == exchange_id)
        rows = (await connection.execute(statement)).scalars().all()
    return [reading for row in rows if (reading := _read(row)) is not None]


async def by_exchange(engine: AsyncEngine) -> dict[str, list[Reading]]:
    """All readings that are of an exchange, by its id."""
    found: dict[str, list[Reading]] = {}
    async with engine.connect() as connection:
        picked = select(readings.c.exchange_id, readings.c.document)
        result = await connection.stream(picked.where(readings.c.exchange_id.is_not(None)))
        async for exchange_id, document in result:
            reading = _read(document)
            if reading is not None:
                found.setdefault(exchange_id, []).append(reading)
    return found


def _read(document: str) -> Reading | None:
    try:
        return msgspec.json.decode(document, type=Reading)
    except msgspec.DecodeError:
        return None
