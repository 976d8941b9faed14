"""The one writer of a database: small changes gathered into a transaction every tenth of a second.

A change that the disk refuses waits and is tried again, within a bound, while everything else goes on;
`trouble` says so in one line. A change that the database refuses for what it is, is lost, and said.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sqlalchemy import exc
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

log = logging.getLogger(__name__)

type Change = Callable[[AsyncConnection], Awaitable[None]]

GATHER_S = 0.1
_RETRY_S = 2.0
_BOUND = 50_000
_WEIGHT_BOUND = 64 * 1024 * 1024
_BATCH = 500
_MOST_SAID = 20

_AWAY = (
    *("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN"),
    *("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_NOMEM", "SQLITE_PROTOCOL", "SQLITE_PERM", "SQLITE_AUTH"),
)
"""SQLite's errors that are no fault of the statement (sqlite.org/rescode.html); it may work later."""


@dataclass(frozen=True, slots=True)
class Extra:
    """A change with the bytes of memory that it holds on to while it waits."""

    write: Change
    weight: int = 0


class Writer:
    """Takes changes in order and writes them in order."""

    def __init__(self, engine: AsyncEngine, said: Callable[[str], None]) -> None:
        self._engine = engine
        self._said = said
        self._waiting: deque[Extra] = deque()
        self._in_hand = 0
        self._weight = 0
        self._wake = asyncio.Event()
        self._lock = asyncio.Lock()
        self._batch_lock = asyncio.Lock()
        self._connection: AsyncConnection | None = None
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        self._refused: set[str] = set()
        self.trouble: str | None = None
        self.dropped = 0

    @property
    def depth(self) -> int:
        """Changes that wait or are being written."""
        return len(self._waiting) + self._in_hand

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="kimi writer")

    def put(self, change: Change, weight: int = 0) -> None:
        """Queues a change; it is on disk a tenth of a second later. `weight`: bytes it holds on to. Too
        many changes, and the oldest is lost; too much weight, and this one is."""
        if weight and self._weight + weight > _WEIGHT_BOUND:
            self.dropped += 1
            return
        if len(self._waiting) >= _BOUND:
            self._weight -= self._waiting.popleft().weight
            self.dropped += 1
        self._waiting.append(Extra(change, weight))
        self._weight += weight
        self._wake.set()

    async def transact[T](self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Runs `work` at once in a transaction of its own that holds the write lock; what it raises
        rolls back. On SQLite no other process writes meanwhile."""
        async with self._lock:
            stored = False
            try:
                connection = self._connection or await self._connect()
                async with connection.begin():
                    found = await work(connection)
                stored = True
                return found
            finally:
                if not stored or self._task is None:
                    await self._disconnect()

    async def _connect(self) -> AsyncConnection:
        """A connection that is kept while the writer runs: to take one and to give it back costs as much as
        a small transaction."""
        connection = self._connection = await self._engine.connect().start()
        return await connection.execution_options(kimi_begin="IMMEDIATE")

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await asyncio.shield(connection.close())

    async def close(self, limit_s: float) -> None:
        """Writes what waits, for at most so long."""
        self._closing = True
        self._wake.set()
        if self._task:
            try:
                async with asyncio.timeout(limit_s):
                    await self._task
            except TimeoutError:
                self._task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await self._task
        async with self._lock:
            self._task = None
            await self._disconnect()
        if self._waiting:
            self._said(f"{len(self._waiting)} changes could not be written: {self.trouble}")

    async def flush(self, *, again: bool = False) -> None:
        """Writes what waits now; returns when it is on disk or can't be. While the disk is known to refuse
        it, nothing is tried, unless `again`."""
        while self.depth and (again or self.trouble is None) and await self._write_batch():
            pass

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            if not self._closing:
                await asyncio.sleep(GATHER_S)
            self._wake.clear()
            while self._waiting:
                if not await self._write_batch():
                    if self._closing:
                        return
                    await self._pause()
            if self._closing:
                return

    async def _pause(self) -> None:
        """Waits before the next try; the end does not wait."""
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_RETRY_S):
                while not self._closing:
                    await self._wake.wait()
                    self._wake.clear()

    async def _write_batch(self) -> bool:
        """Writes the oldest changes that wait; False when the disk refuses them, and they wait on."""
        async with self._batch_lock:
            batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
            self._in_hand = len(batch)
            left = batch
            try:
                left = await self._write(batch)
            finally:
                self._in_hand = 0
                self._waiting.extendleft(reversed(left))
                self._weight -= sum(extra.weight for extra in batch[: len(batch) - len(left)])
            if not left and self.trouble:
                self._said("the database can be written again")
                self.trouble = None
            return not left

    async def _write(self, batch: list[Extra]) -> list[Extra]:
        """Writes in order, and gives back what must wait: together, or one by one where one is refused."""
        if not batch:
            return []
        try:
            await self._transact_all(batch)
        except Exception as e:
            if is_away(e):
                self._in_trouble(e)
                return batch
            if len(batch) == 1:
                self._lose(e)
                return []
        else:
            return []
        for i, extra in enumerate(batch):
            if await self._write([extra]):
                return batch[i:]
        return []

    async def _transact_all(self, batch: list[Extra]) -> None:
        async def work(connection: AsyncConnection) -> None:
            for extra in batch:
                await extra.write(connection)

        await self.transact(work)

    def _lose(self, error: Exception) -> None:
        self.dropped += 1
        word = reason(error)
        if word not in self._refused and len(self._refused) < _MOST_SAID:
            self._refused.add(word)
            self._said(f"a change was refused by the database and is lost: {word}")

    def _in_trouble(self, error: Exception) -> None:
        word = reason(error)
        if self.trouble is None:
            self._said(
                f"the database can't be written ({word}); what comes is kept in memory and tried again"
            )
        self.trouble = word


def is_away(error: BaseException) -> bool:
    """Whether the database, not the statement, is to blame: the same may work later."""
    if isinstance(error, exc.DBAPIError):
        name = getattr(error.orig, "sqlite_errorname", None)
        if name is not None:
            return str(name).startswith(_AWAY)
        return error.connection_invalidated or isinstance(error, exc.OperationalError | exc.InterfaceError)
    return isinstance(error, OSError | exc.TimeoutError)


def reason(error: BaseException) -> str:
    """One line without statement or parameters."""
    if isinstance(error, exc.DBAPIError):
        return str(error.orig).splitlines()[0][:200]
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
