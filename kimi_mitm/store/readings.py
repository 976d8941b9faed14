"""What logs said of exchanges, kept so that figures can be settled anew after a restart."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import and_, bindparam, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from kimi_mitm.records import Reading
from kimi_mitm.render import instant
from kimi_mitm.store.dialect import insert_new, upsert
from kimi_mitm.store.tables import readings
from kimi_mitm.store.writer import Change

_WAITING = "waiting"
_OWED = "owed"
_KEYS_AT_ONCE = 500


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


def owing(keys: Sequence[str]) -> Change:
    """The change that leaves waiting readings to the next run, however much later that is."""
    return _moving(keys, _WAITING, _OWED)


def owing_no_more(keys: Sequence[str]) -> Change:
    """The change that ends that for those that are still of no exchange."""
    return _moving(keys, _OWED, _WAITING)


def _moving(keys: Sequence[str], old: str, new: str) -> Change:
    rows = [{"named": key} for key in keys]
    statement = update(readings).where(readings.c.key == bindparam("named"), readings.c.state == old)

    async def change(connection: AsyncConnection) -> None:
        await connection.execute(statement.values(state=new), rows)

    return change


async def still_waiting(engine: AsyncEngine, since: datetime) -> Sequence[Reading]:
    """The readings since then that are of no exchange yet, and those that an earlier run left to this one,
    oldest first."""
    new = and_(readings.c.state == _WAITING, readings.c.at >= instant(since))
    statement = select(readings.c.document).where(or_(new, readings.c.state == _OWED))
    async with engine.connect() as connection:
        rows = (await connection.execute(statement.order_by(readings.c.at))).scalars().all()
    return [reading for row in rows if (reading := _read(row)) is not None]


async def homes(engine: AsyncEngine, keys: Sequence[str]) -> list[tuple[str, str, str]]:
    """Key, exchange and what tied them, of the readings with these keys that are of an exchange."""
    found: list[tuple[str, str, str]] = []
    wanted = select(readings.c.key, readings.c.exchange_id, readings.c.state)
    async with engine.connect() as connection:
        for begin in range(0, len(keys), _KEYS_AT_ONCE):
            some = readings.c.key.in_(keys[begin : begin + _KEYS_AT_ONCE])
            rows = await connection.execute(wanted.where(some, readings.c.exchange_id.is_not(None)))
            found += [
                (key, exchange_id, "id" if state == "id" else "time") for key, exchange_id, state in rows
            ]
    return found


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
