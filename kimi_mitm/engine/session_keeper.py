"""Sessions in memory and in the database, changed together: one transaction at a time.

What several processes on one database decide at once, the database decides: whoever comes second
finds something else than it expected, takes that over and decides again, in the same transaction: nobody
else can come first again. Where there is no usable database, memory alone goes on, and what it owes is
written once there is one.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter, deque
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from kimi_mitm import owner
from kimi_mitm.events import Hub
from kimi_mitm.sessions.book import SessionBook, SessionEnded
from kimi_mitm.sessions.flag import FlagForced
from kimi_mitm.sessions.ledger import Changes, Found
from kimi_mitm.sessions.owed import merged, what_holds
from kimi_mitm.sessions.seen import Policy, Rules, SessionBy
from kimi_mitm.settings import Settings
from kimi_mitm.store import Extra, Store, StoreError, is_away
from kimi_mitm.store.session_writes import SessionWrites
from kimi_mitm.store.tables import sessions as tables

_TRIES = 8
_OWED = 1_000


def _nothing() -> None:
    return


class _Decision[T]:
    """What a piece of work decides on the book, with what it changes; it can be made again."""

    result: T

    def __init__(self, book: SessionBook, work: Callable[[SessionBook], T]) -> None:
        self._book = book
        self._work = work
        self.changes = Changes()

    def make(self, found: Found | None = None) -> None:
        """Decides; `found` is what the store has instead of what the last decision expected."""
        if found is not None:
            self._book.rollback()
            self._book.adopt(found)
        self.result = self._work(self._book)
        self.changes = self._book.changes()


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
        self._behind = False
        self.told: Counter[str] = Counter()
        """How often each type of event was told."""
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

    async def change[T](
        self, work: Callable[[SessionBook], T], *extras: Extra, stored: Callable[[], None] = _nothing
    ) -> T:
        """Does `work` on the book and stores what it changed, with `extras` in the same transaction, and
        calls `stored`; then its events are told. Where the database is away all of it is stored later,
        without `stored`. `work` and extras may run several times and must have no other effect."""
        decision = _Decision(self.book, work)
        async with self._lock:
            for _ in range(_TRIES):
                try:
                    decision.make()
                    found = await self._save(decision, extras, stored)
                except (FlagForced, SessionEnded):
                    if await self._rests_on_the_store():
                        raise
                    continue
                except BaseException:
                    self.book.rollback()
                    raise
                if found is None:
                    for kind, data in self.book.commit():
                        self.told[kind] += 1
                        self._hub.publish(kind, data)
                    return decision.result
                self.book.rollback()
                self.book.adopt(found)
            raise StoreError("the database is too busy to agree on a session")

    async def _rests_on_the_store(self) -> bool:
        """Whether a refusal is what the store says, too; else what the store says is adopted."""
        changes = self.book.changes()

        async def look(connection: AsyncConnection) -> None:
            found = await connection.run_sync(self._writes.apply, changes)
            raise _Refused(Found() if found is None else found)

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

    async def _save[T](
        self, decision: _Decision[T], extras: Sequence[Extra], stored: Callable[[], None]
    ) -> Found | None:
        """Stores; None when that is done, or put off since the database is away."""
        if not decision.changes and not extras:
            return None
        if await self._is_behind():
            self._put_off(decision.changes, extras)
            return None

        async def work(connection: AsyncConnection) -> None:
            await connection.run_sync(self._agree, decision)
            for extra in extras:
                await extra.write(connection)

        try:
            await self._pay()
            await self._store.transact(work)
        except _Refused as e:
            return e.found
        except IntegrityError:
            return await self._look_again(decision.changes)
        except (SQLAlchemyError, StoreError, OSError) as e:
            if not isinstance(e, StoreError) and not is_away(e):
                raise
            self._put_off(decision.changes, extras)
            return None
        stored()
        return None

    def _agree[T](self, connection: Connection, decision: _Decision[T]) -> None:
        """Writes a decision, made again with what is stored as often as that is something else."""
        for _ in range(_TRIES):
            if not decision.changes or (found := self._writes.apply(connection, decision.changes)) is None:
                return
            decision.make(found)
        raise StoreError("a decision does not hold though nobody else writes")

    async def _pay(self) -> None:
        """Stores what is owed, as far as it still holds."""
        if self._owed:
            await self._store.transact(lambda connection: connection.run_sync(self._pay_all))
            self._owed.clear()

    def _pay_all(self, connection: Connection) -> None:
        for owed in self._owed:
            found = self._writes.apply(connection, owed)
            if found is not None:
                self._writes.apply(connection, what_holds(owed, found))

    async def _is_behind(self) -> bool:
        """Whether earlier records still wait for the database: later ones must not overtake them."""
        if self._behind and self._store.trouble is None:
            await self._store.flush()
        self._behind = self._behind and self._store.trouble is not None
        return self._behind

    def _put_off(self, changes: Changes, extras: Sequence[Extra]) -> None:
        self._behind = True
        for extra in extras:
            self._store.put(extra.write, extra.weight)
        if not changes:
            return
        together = merged(self._owed[-1], changes) if self._owed else None
        if together is None:
            self._owed.append(changes)
        else:
            self._owed[-1] = together

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
