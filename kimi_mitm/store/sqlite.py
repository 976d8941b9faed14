"""SQLite through aiosqlite, crossing to its thread as seldom as possible: each crossing wakes two threads.

aiosqlite's own cursors cross to be made, to execute, to fetch and to be closed; these do all of it at once,
as long as the rows are few. Many rows are fetched as they are asked for. Inside a transaction that holds
the write lock a small statement doesn't cross at all: it waits for nobody, and what it writes stays in
memory till the commit, which does cross, for it may wait for the disk.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import aiosqlite

_AHEAD = 64
"""Rows that are fetched with the statement itself, or written without a crossing."""
_LOCKING = "BEGIN IMMEDIATE"


class Cursor:
    """What SQLAlchemy's adapter asks of a cursor."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._open: sqlite3.Cursor | None = None
        self._rows: deque[Any] = deque()
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None
        self.arraysize = 1

    async def __aenter__(self) -> Cursor:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def execute(self, sql: str, parameters: Any = ()) -> Cursor:
        """Executes one statement."""
        return await self._connection.do(lambda raw: self._run(raw.cursor(), "execute", sql, parameters))

    async def executemany(self, sql: str, parameters: Sequence[Any]) -> Cursor:
        """Executes one statement with many sets of parameters."""
        return await self._connection.do(
            lambda raw: self._run(raw.cursor(), "executemany", sql, parameters), len(parameters)
        )

    def _run(self, cursor: sqlite3.Cursor, how: str, sql: str, parameters: Any) -> Cursor:
        getattr(cursor, how)(sql, parameters)
        self._connection.locked = self._connection.locked or sql == _LOCKING
        self.description, self.rowcount = cursor.description, cursor.rowcount
        self.lastrowid = cursor.lastrowid
        self._rows = deque(cursor.fetchmany(_AHEAD))
        if len(self._rows) < _AHEAD:
            cursor.close()
        else:
            self._open = cursor
        return self

    async def fetchone(self) -> Any:
        """The next row, None at the end."""
        rows = await self.fetchmany(1)
        return rows[0] if rows else None

    async def fetchmany(self, size: int | None = None) -> list[Any]:
        """The next rows, none at the end."""
        size = size or self.arraysize
        found = [self._rows.popleft() for _ in range(min(size, len(self._rows)))]
        if len(found) < size and (cursor := self._open) is not None:
            missing = size - len(found)
            found += await self._connection.cross(lambda raw: cursor.fetchmany(missing))
        return found

    async def fetchall(self) -> list[Any]:
        """All rows that are left."""
        found = list(self._rows)
        self._rows.clear()
        if (cursor := self._open) is not None:
            found += await self._connection.cross(lambda raw: cursor.fetchall())
        return found

    async def close(self) -> None:
        """Lets go of what was not fetched."""
        self._rows.clear()
        if (cursor := self._open) is not None:
            self._open = None
            await self._connection.cross(lambda raw: cursor.close())


class Connection(aiosqlite.Connection):
    """A connection with such cursors. For one task at a time."""

    locked = False
    """Whether a transaction of this connection holds the write lock."""
    _sent = 0
    _done = 0
    """Crossings begun, and ended: who is cancelled does not wait for the end of its own."""

    def cursor(self) -> Any:
        """A cursor; nothing happens before it executes."""
        return Cursor(self)

    async def do[T](self, work: Callable[[sqlite3.Connection], T], rows: int = 1) -> T:
        """Does the work here where that can't take long, else in the connection's thread."""
        if self.locked and rows <= _AHEAD:
            return work(self._conn)
        return await self.cross(work)

    async def commit(self) -> None:
        """Commits, in the connection's thread."""
        await self.cross(lambda raw: self._end(raw.commit))

    async def rollback(self) -> None:
        """Rolls back, in the connection's thread, if there is anything to roll back: a pool asks for it
        whenever it gets a connection back."""
        if self._sent != self._done or self._conn.in_transaction:
            await self.cross(lambda raw: self._end(raw.rollback))

    def _end(self, transaction: Callable[[], None]) -> None:
        self.locked = False
        transaction()

    async def cross[T](self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Does the work in the connection's thread."""
        self._sent += 1
        # aiosqlite leaves this method without types
        return await self._execute(lambda: self._worked(work))  # type: ignore[no-any-return,no-untyped-call]

    def _worked[T](self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return work(self._conn)
        finally:
            self._done += 1


async def open_file(path: Path | str, busy_s: float) -> Connection:
    """Connects to a file; its thread doesn't keep the process alive."""

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(path, timeout=busy_s, isolation_level=None, check_same_thread=False)

    connection = Connection(connect, iter_chunk_size=_AHEAD)
    connection._thread.daemon = True
    await connection
    return connection
