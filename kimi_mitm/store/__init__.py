"""The database behind everything: one writer, many readers; it may be away, and then says so.

`Store` fails open: without a usable database the engine goes on, figures stay live, and `trouble`
says in one line what is wrong.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import datetime

from sqlalchemy import delete, select, update
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from kimi_mitm.records import Exchange
from kimi_mitm.render import instant
from kimi_mitm.store import exchanges, tables
from kimi_mitm.store.database import StoreError, connect
from kimi_mitm.store.dialect import upsert
from kimi_mitm.store.writer import Change, Extra, Writer, is_away, reason

__all__ = ["Change", "Extra", "Store", "StoreError", "connect", "is_away"]


class Store:
    """An open database, or the reason why there is none."""

    def __init__(self, engine: AsyncEngine | None, trouble: str | None, said: Callable[[str], None]) -> None:
        self.engine = engine
        self._trouble = trouble
        self._said = said
        self._writer = Writer(engine, said) if engine else None
        if self._writer:
            self._writer.start()

    @classmethod
    async def open(cls, where: str, said: Callable[[str], None]) -> Store:
        """Opens or makes the database. Never raises: a refusal is said once and kept in `trouble`."""
        try:
            return cls(await connect(where), None, said)
        except StoreError as e:
            said(f"{e}; nothing is stored, everything else goes on")
            return cls(None, str(e), said)

    async def give_up(self, error: SQLAlchemyError) -> None:
        """The database opened, but can't be read: from here on there is none."""
        self._trouble = f"the database can't be read: {reason(error)}"
        writer, engine = self._writer, self.engine
        self._writer = self.engine = None
        if writer and engine:
            self._said(f"{self._trouble}; nothing is stored, everything else goes on")
            await writer.close(1.0)
            await engine.dispose()

    @property
    def trouble(self) -> str | None:
        """Why nothing can be written just now, None when all is well."""
        return self._trouble or (self._writer.trouble if self._writer else None)

    @property
    def depth(self) -> int:
        """Changes that wait to be written."""
        return self._writer.depth if self._writer else 0

    @property
    def dropped(self) -> int:
        """Changes lost for good."""
        return self._writer.dropped if self._writer else 0

    def put(self, change: Change, weight: int = 0) -> None:
        """Queues a change that holds on to `weight` bytes; lost where there is no database."""
        if self._writer:
            self._writer.put(change, weight)

    async def transact[T](self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Runs `work` at once in a transaction of its own; raises `StoreError` without a database."""
        if self._writer is None:
            raise StoreError(self._trouble or "there is no database")
        return await self._writer.transact(work)

    async def flush(self, *, again: bool = False) -> None:
        """Writes what waits now. While there is trouble, nothing is tried, unless `again`."""
        if self._writer:
            await self._writer.flush(again=again)

    async def close(self, limit_s: float) -> None:
        """Writes what waits, then closes; aiosqlite's thread keeps the process alive otherwise."""
        try:
            if self._writer:
                await self._writer.close(limit_s)
        finally:
            if self.engine:
                await self.engine.dispose()

    def save(self, *records: Exchange) -> None:
        """Writes exchanges over those with the same id."""

        async def change(connection: AsyncConnection) -> None:
            await exchanges.save(connection, records)

        self.put(change)

    async def known_exchanges(self) -> frozenset[str]:
        """The ids of all exchanges that have ended."""
        if self.engine is None:
            return frozenset()
        async with self.engine.connect() as connection:
            rows = await connection.execute(
                select(tables.exchanges.c.id).where(tables.exchanges.c.ended_at.is_not(None))
            )
            return frozenset(rows.scalars())

    @property
    def state(self) -> str:
        """`ok`, or a word for what is wrong: `unwritable`, `full`, `newer_schema`."""
        if self.trouble is None:
            return "ok"
        if "newer than" in self.trouble:
            return "newer_schema"
        return "full" if "full" in self.trouble else "unwritable"

    async def close_open_exchanges(self, now: datetime, gone: Callable[[str], bool]) -> None:
        """Ends the exchanges that processes which are gone (`gone(owner)`) left open; a database that is
        busy or full leaves that to the next start."""
        c = tables.exchanges.c

        async def work(connection: AsyncConnection) -> None:
            owners = (
                await connection.execute(select(c.owner).where(c.ended_at.is_(None)).distinct())
            ).scalars()
            for name in [o for o in owners if gone(o or "")]:
                await connection.execute(
                    update(tables.exchanges)
                    .where(c.ended_at.is_(None), c.owner == name)
                    .values(
                        ended_at=instant(now),
                        error='{"type":"aborted","message":"the proxy ended before the answer did"}',
                    )
                )

        if self.engine is not None:
            with suppress(OperationalError):
                await self.transact(work)

    def save_learner(self, states: Mapping[str, bytes], now: datetime) -> None:
        """Writes learner states over those with the same key."""
        rows = [{"key": k, "state": v, "updated_at": instant(now)} for k, v in states.items()]

        async def change(connection: AsyncConnection) -> None:
            if rows:
                await connection.execute(upsert(connection, tables.learner_states, "key"), rows)

        self.put(change)

    async def learner(self) -> dict[str, bytes]:
        """All learner states."""
        if self.engine is None:
            return {}
        async with self.engine.connect() as connection:
            rows = (
                await connection.execute(select(tables.learner_states.c.key, tables.learner_states.c.state))
            ).all()
        return {row[0]: row[1] for row in rows}

    async def offsets(self) -> dict[str, str]:
        """Where each followed log was left: path → state as JSON."""
        if self.engine is None:
            return {}
        async with self.engine.connect() as connection:
            rows = (
                await connection.execute(select(tables.log_offsets.c.path, tables.log_offsets.c.state))
            ).all()
        return {row[0]: row[1] for row in rows}

    def save_offset(self, path: str, state: str | None) -> None:
        """Remembers where a log was left; None forgets it."""

        async def change(connection: AsyncConnection) -> None:
            if state is None:
                await connection.execute(delete(tables.log_offsets).where(tables.log_offsets.c.path == path))
            else:
                row = {"path": path, "state": state}
                await connection.execute(upsert(connection, tables.log_offsets, "path"), [row])

        self.put(change)

    async def fact(self, name: str) -> str | None:
        """A small persisted value, None when it was never set."""
        if self.engine is None:
            return None
        async with self.engine.connect() as connection:
            found = await connection.execute(select(tables.facts.c.value).where(tables.facts.c.name == name))
            return found.scalar()

    async def set_fact(self, name: str, value: str) -> None:
        """Persists a small value before it returns."""

        async def work(connection: AsyncConnection) -> None:
            row = {"name": name, "value": value}
            await connection.execute(upsert(connection, tables.facts, "name"), [row])

        await self.transact(work)
