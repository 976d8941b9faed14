"""The one writer of a database: small changes gathered into a transaction every tenth of a second.

A change that the disk refuses waits and is tried again, within a bound, while everything else goes on;
`trouble` says so in one line.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable

from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

log = logging.getLogger(__name__)

type Change = Callable[[AsyncConnection], Awaitable[None]]

GATHER_S = 0.1
_RETRY_S = 2.0
_BOUND = 50_000
_BATCH = 500


class Writer:
    """Takes changes in order and writes them in order."""

    def __init__(self, engine: AsyncEngine, said: Callable[[str], None]) -> None:
        self._engine = engine
        self._said = said
        self._waiting: deque[Change] = deque()
        self._wake = asyncio.Event()
        self._lock = asyncio.Lock()
        self._batch_lock = asyncio.Lock()
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        self.trouble: str | None = None
        self.dropped = 0

    @property
    def depth(self) -> int:
        """Changes that wait."""
        return len(self._waiting)

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="kimi writer")

    def put(self, change: Change) -> None:
        """Queues a change; it is on disk a tenth of a second later."""
        if len(self._waiting) >= _BOUND:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(change)
        self._wake.set()

    async def transact[T](self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Runs `work` at once in a transaction of its own that holds the write lock; what it raises
        rolls back. On SQLite no other process writes meanwhile."""
        async with self._lock, self._engine.connect() as connection:
            connection = await connection.execution_options(kimi_begin="IMMEDIATE")
            async with connection.begin():
                return await work(connection)

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
        if self._waiting:
            self._said(f"{len(self._waiting)} changes could not be written: {self.trouble}")

    async def flush(self) -> None:
        """Writes what waits now; returns when it is on disk or can't be."""
        while self._waiting and await self._write_batch():
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
                    await asyncio.sleep(_RETRY_S)
            if self._closing:
                return

    async def _write_batch(self) -> bool:
        """Writes the oldest changes that wait; False when the disk refuses them."""
        async with self._batch_lock:
            return not self._waiting or await self._write_waiting()

    async def _write_waiting(self) -> bool:
        batch = [self._waiting[i] for i in range(min(_BATCH, len(self._waiting)))]
        try:
            await self._write(batch)
        except (OperationalError, OSError) as e:
            self._in_trouble(e)
            return False
        except SQLAlchemyError:
            await self._write_one_by_one(batch)
        for _ in batch:
            self._waiting.popleft()
        if self.trouble:
            self._said("the database can be written again")
            self.trouble = None
        return True

    async def _write(self, batch: list[Change]) -> None:
        async def work(connection: AsyncConnection) -> None:
            for change in batch:
                await change(connection)

        await self.transact(work)

    async def _write_one_by_one(self, batch: list[Change]) -> None:
        for change in batch:
            try:
                await self._write([change])
            except SQLAlchemyError as e:
                self.dropped += 1
                self._said(f"a change was refused by the database and is lost: {reason(e)}")

    def _in_trouble(self, error: Exception) -> None:
        word = reason(error)
        if self.trouble is None:
            self._said(
                f"the database can't be written ({word}); what comes is kept in memory and tried again"
            )
        self.trouble = word


def reason(error: Exception) -> str:
    """One line without statement or parameters."""
    if isinstance(error, DBAPIError):
        return str(error.orig).splitlines()[0][:200]
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
