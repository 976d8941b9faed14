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
    found = []
    for row in rows:
        try:
            found.append(msgspec.json.decode(row, type=Reading))
        except msgspec.DecodeError:
            continue
    return found
