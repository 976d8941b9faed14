"""A session book on a real SQLite database, as a process of the proxy would hold it."""

from __future__ import annotations

import atexit
import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine, MetaData, create_engine, delete, event, select
from sqlalchemy.pool import StaticPool

from kimi_mitm.records import Exchange
from kimi_mitm.sessions.book import SessionBook, SessionEnded
from kimi_mitm.sessions.flag import FlagForced
from kimi_mitm.sessions.ledger import Changes, Event, Found
from kimi_mitm.sessions.record import Session
from kimi_mitm.sessions.rows import from_row
from kimi_mitm.sessions.seen import Rules, Seen
from kimi_mitm.store.session_tables import SessionTables, define
from kimi_mitm.store.session_writes import SessionWrites

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
_ATTEMPTS = 5


def _in_memory() -> Engine:
    engine = create_engine(
        "sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False, "isolation_level": None}
    )
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    atexit.register(engine.dispose)
    return engine


_ENGINE = _in_memory()
_METADATA = MetaData()
_TABLES = define(_METADATA)


def database() -> tuple[Engine, SessionTables]:
    """The database, emptied: there is one, for one test at a time."""
    _METADATA.create_all(_ENGINE)
    with _ENGINE.begin() as connection:
        for table in _METADATA.sorted_tables:
            connection.execute(delete(table))
    return _ENGINE, _TABLES


class Desk:
    """One process: its book, its clock, and what it told."""

    _owners = itertools.count(1)

    def __init__(
        self,
        rules: Rules | None = None,
        *,
        first_flag: bool = True,
        base: tuple[Engine, SessionTables] | None = None,
        ids: Iterator[str] | None = None,
    ) -> None:
        self.base = base or database()
        self.engine, self.tables = self.base
        self.writes = SessionWrites(self.tables)
        self.owner = f"owner-{next(self._owners)}"
        self.ids = ids or (f"s{n}" for n in itertools.count(1))
        self.rules = rules or Rules()
        self.now = START
        self.told: list[Event] = []
        self.refused = 0
        self._exchanges = itertools.count(1)
        self.book = SessionBook(
            owner=self.owner, new_id=lambda: next(self.ids), rules=self.rules, first_flag=first_flag
        )

    def beside(self, rules: Rules | None = None, *, first_flag: bool = True) -> Desk:
        """Another process on the same database."""
        other = Desk(rules or self.rules, first_flag=first_flag, base=self.base, ids=self.ids)
        other.now = self.now
        return other

    def store(self, changes: Changes) -> bool:
        """Stores an open transaction and commits it; False when it was refused, the store's truth adopted."""
        found = None
        if changes:
            with self.engine.connect() as connection, connection.begin() as transaction:
                found = self.writes.apply(connection, changes)
                if found is not None:
                    transaction.rollback()
        if found is None:
            self.told += self.book.commit()
            return True
        self.refused += 1
        self.book.rollback()
        self.book.adopt(found)
        return False

    def confirmed(self) -> bool:
        """Whether a refusal rests on what is stored; what is stored is adopted otherwise."""
        with self.engine.connect() as connection, connection.begin() as transaction:
            found = self.writes.apply(connection, self.book.changes())
            transaction.rollback()
        self.book.rollback()
        if found is not None:
            self.book.adopt(found)
        return found is None

    def run[T](self, act: Callable[[], T]) -> T:
        """Does it until the store takes it."""
        for _ in range(_ATTEMPTS):
            try:
                result = act()
            except (FlagForced, SessionEnded):
                if self.confirmed():
                    raise
                continue
            if self.store(self.book.changes()):
                return result
        raise AssertionError("the store refuses for ever")

    def place(self, **known: Any) -> str:
        """The session of an exchange by alice with `claude-code` on anthropic, unless told otherwise."""
        return self.run(lambda: self.book.place(self.seen(**known), self.now)).session_id

    def seen(self, **known: Any) -> Seen:
        defaults = {
            "exchange_id": f"{self.owner}-x{next(self._exchanges)}",
            "user": "alice",
            "client": "claude-code",
            "provider": "anthropic",
        }
        return Seen(**{**defaults, **known})

    def settle(self, session_id: str, exchange_id: str = "x", **known: Any) -> None:
        exchange = Exchange(id=exchange_id, started_at=self.now, session_id=session_id, **known)
        self.run(lambda: self.book.settled(exchange, self.now))

    def turn(self, **known: Any) -> str:
        """An exchange that is placed and settled at once."""
        seen = self.seen(**known)
        session_id = self.run(lambda: self.book.place(seen, self.now)).session_id
        self.settle(session_id, seen.exchange_id, side=seen.side)
        return session_id

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def sweep(self) -> None:
        self.run(lambda: self.book.sweep(self.now))

    def archive(self) -> None:
        """Archives what is due, as `archive-<session>`."""
        for session in self.book.unarchived():
            name = f"archive-{session.session_id}"
            self.run(lambda session=session, name=name: self.book.archived(session.session_id, name))

    def unfinished(self) -> Found:
        with self.engine.connect() as connection:
            return self.writes.unfinished(connection)

    def recover(self, gone: Callable[[str], bool] = lambda owner: True) -> None:
        found = self.unfinished()
        self.run(lambda: self.book.recover(found, self.now, gone))

    def stored(self, session_id: str) -> Session:
        return self.all()[session_id]

    def all(self) -> dict[str, Session]:
        with self.engine.connect() as connection:
            rows = connection.execute(select(self.tables.sessions)).mappings().all()
        return {row["session_id"]: from_row(dict(row)) for row in rows}

    def currents(self) -> dict[str, str]:
        with self.engine.connect() as connection:
            return {row.scope: row.session_id for row in connection.execute(select(self.tables.currents))}

    def events(self, type: str) -> list[dict[str, Any]]:
        return [data for told, data in self.told if told == type]
