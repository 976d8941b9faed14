"""What logs said of exchanges, kept so that figures can be settled anew after a restart."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from kimi_mitm.records import Reading
from kimi_mitm.render import instant
from kimi_mitm.store.exchanges import upsert
from kimi_mitm.store.tables import readings
from kimi_mitm.store.writer import Change


def saving(exchange_id: str, reading: Reading) -> Change:
    """The change that writes a reading over the one with the same key."""
    row = {
        "key": reading.key,
        "exchange_id": exchange_id,
        "source": reading.source.value,
        "client": reading.client,
        "at": instant(reading.at),
        "state": reading.joined_by or "alone",
        "document": msgspec.json.encode(reading).decode(),
    }

    async def change(connection: AsyncConnection) -> None:
        await connection.execute(upsert(connection, readings, "key"), [row])

    return change


async def of(engine: AsyncEngine, exchange_id: str) -> Sequence[Reading]:
    """The readings of an exchange; one that can't be read any more is left out."""
    async with engine.connect() as connection:
        statement = select(readings.c.document).where(readings.c.exchange_id == exchange_id)
        rows = (await connection.execute(statement)).scalars().all()
    return [reading for row in rows if (reading := _read(row)) is not None]


async def by_exchange(engine: AsyncEngine) -> dict[str, list[Reading]]:
    """All readings, by exchange id."""
    found: dict[str, list[Reading]] = {}
    async with engine.connect() as connection:
        result = await connection.stream(select(readings.c.exchange_id, readings.c.document))
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
