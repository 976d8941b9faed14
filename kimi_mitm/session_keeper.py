"""Sessions in memory and in the database, changed together: one transaction at a time.

What several processes on one database decide at once, the database decides: whoever comes second
finds something else than it expected, takes that over and decides again. Where there is no usable
database, memory alone goes on, and what it owes is written once there is one.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from kimi_mitm import owner
from kimi_mitm.events import Hub
from kimi_mitm.flag import FlagForced
from kimi_mitm.session_book import SessionBook, SessionEnded
from kimi_mitm.session_ledger import Changes, Found
from kimi_mitm.session_seen import Policy, Rules, SessionBy
from kimi_mitm.settings import Settings
from kimi_mitm.store import Store, StoreError
from kimi_mitm.store.session_writes import SessionWrites
from kimi_mitm.store.tables import sessions as tables

_TRIES = 8
_OWED = 10_000

type Extra = Callable[[AsyncConnection], Awaitable[None]]


class _Refused(Exception):
    def __init__(self, found: Found) -> None:
        super().__init__("the store holds something else")
        self.found = found


class SessionKeeper:
    """The one place that changes sessions. Events are published after they are stored."""

    def __init__(self, settings: Settings, store: Store, hub: Hub) -> None:
        self._store = store
        self._hub = hub
        self._writes = SessionWrites(tables)
        self._lock = asyncio.Lock()
        self._owed: deque[Changes] = deque(maxlen=_OWED)
        self.book = SessionBook(
            owner=owner.this_process(),
            new_id=lambda: f"s_{secrets.token_hex(10)}",
            rules=_rules(settings),
            first_flag=settings.auto_session,
        )

    async def open(self, now: datetime) -> None:
        """Takes over what is stored; ends what processes that are gone left live."""
        if self._store.engine is None:
            return
        async with self._store.engine.connect() as connection:
            found = await connection.run_sync(self._writes.unfinished)
        await self.change(lambda book: book.recover(found, now, owner.is_gone))

    async def change[T](self, work: Callable[[SessionBook], T], extra: Extra | None = None) -> T:
        """Does `work` on the book and stores what it changed, with `extra` in the same transaction; then
        its events are told. `work` may run several times and must have no other effect."""
        async with self._lock:
            for _ in range(_TRIES):
                try:
                    result = work(self.book)
                except (FlagForced, SessionEnded):
                    if await self._rests_on_the_store():
                        raise
                    continue
                except BaseException:
                    self.book.rollback()
                    raise
                found = await self._save(self.book.changes(), extra)
                if found is None:
                    for kind, data in self.book.commit():
                        self._hub.publish(kind, data)
                    return result
                self.book.rollback()
                self.book.adopt(found)
            raise StoreError("the database is too busy to agree on a session")

    async def _rests_on_the_store(self) -> bool:
        """Whether a refusal is what the store says, too; else what the store says is adopted."""
        changes = self.book.changes()

        async def look(connection: AsyncConnection) -> None:
            raise _Refused(await connection.run_sync(self._writes.apply, changes) or Found())

        try:
            await self._store.transact(look)
        except _Refused as e:
            found = e.found
        except (SQLAlchemyError, StoreError, OSError):
            found = Found()
        self.book.rollback()
        if found != Found():
            self.book.adopt(found)
        return found == Found()

    async def _save(self, changes: Changes, extra: Extra | None) -> Found | None:
        """Stores; None when that is done, or put off since the database can't be written."""
        if not changes and extra is None:
            return None

        async def work(connection: AsyncConnection) -> None:
            for owed in [*self._owed, changes]:
                found = await connection.run_sync(self._writes.apply, owed) if owed else None
                if found is not None:
                    raise _Refused(found)
            if extra is not None:
                await extra(connection)

        try:
            await self._store.transact(work)
        except _Refused as e:
            self._owed.clear()
            return e.found
        except IntegrityError:
            return await self._look_again(changes)
        except (SQLAlchemyError, StoreError, OSError):
            if changes:
                self._owed.append(changes)
            if extra is not None:
                self._store.put(extra)
            return None
        self._owed.clear()
        return None

    async def _look_again(self, changes: Changes) -> Found:
        async def work(connection: AsyncConnection) -> Found:
            found = await connection.run_sync(self._writes.apply, changes)
            if found is None:
                raise StoreError("stored after all")
            return found

        return await self._store.transact(work)


def _rules(settings: Settings) -> Rules:
    return Rules(
        by=SessionBy(settings.session_by),
        policy=Policy(settings.auto_session_policy),
        timeout=timedelta(seconds=settings.session_timeout),
        check_interval=timedelta(seconds=settings.session_check_interval),
        archive_on_disconnect=settings.archive_on_disconnect,
        realm="file" if settings.offline else "",
    )
