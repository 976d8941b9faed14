"""Sessions in memory and in the database together: two keepers at once, a database that is away."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from kimi_mitm import owner
from kimi_mitm.engine.session_keeper import SessionKeeper
from kimi_mitm.events import Hub
from kimi_mitm.records import Exchange
from kimi_mitm.sessions.book import SessionBook, SessionEnded
from kimi_mitm.sessions.flag import FlagForced
from kimi_mitm.sessions.record import EndReason
from kimi_mitm.sessions.seen import Seen
from kimi_mitm.settings import Settings
from kimi_mitm.store import Extra, Store
from kimi_mitm.store import sessions as session_rows
from kimi_mitm.store import writer as writer_module

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Process:
    """One keeper with its store, as a process would have them. While `away`, the database refuses."""

    def __init__(self, store: Store, said: list[str]) -> None:
        self.store = store
        self.said = said
        self.away = False
        self.told: list[tuple[str, dict[str, Any]]] = []
        hub = Hub()
        hub.publish = lambda kind, data, at=None: self.told.append((kind, dict(data)))
        settings = Settings(db="", auto_session=True)
        self.keeper = SessionKeeper(settings, store, hub)
        writer = store._writer
        assert writer is not None
        transact = writer.transact

        async def maybe[T](work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
            if self.away:
                cause = sqlite3.OperationalError("database or disk is full")
                cause.sqlite_errorname = "SQLITE_FULL"
                raise OperationalError("insert", {}, cause)
            return await transact(work)

        writer.transact = maybe

    async def place(self, user: str = "alice", **more: Any) -> str:
        seen = Seen(exchange_id=f"x{len(self.told)}", user=user, client="codex", provider="openai", **more)
        return (await self.keeper.change(lambda book: book.place(seen, NOW))).session_id

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.told]


type Begin = Callable[..., Awaitable[Process]]


@pytest.fixture
async def begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Begin]:
    """Begins another process on one database."""
    monkeypatch.setattr(writer_module, "_RETRY_S", 0.05)
    made: list[Process] = []

    async def one(pid: int | None = None) -> Process:
        name = f"{pid or (os.getpid(), os.getppid(), 1)[len(made)]}@"
        monkeypatch.setattr(owner, "this_process", lambda: name)
        said: list[str] = []
        process = Process(await Store.open(str(tmp_path / "kimi.db"), said.append), said)
        await process.keeper.open(NOW)
        made.append(process)
        return process

    yield one
    for process in made:
        process.away = False
        await process.store.close(10)


async def test_what_two_decide_at_once_ends_as_one_session(begin: Begin) -> None:
    one, two = await begin(), await begin()

    found = await asyncio.gather(*(p.place() for p in (one, two) * 10))

    assert len(set(found)) == 1
    kept, _ = await session_rows.page(one.store.engine)
    assert [s.exchanges for s in kept] == [20]


async def test_a_flag_that_both_toggle_has_every_change_in_its_history(begin: Begin) -> None:
    one, two = await begin(), await begin()

    await asyncio.gather(*(p.keeper.change(lambda b: b.toggle_flag("x", NOW)) for p in (one, two) * 5))
    await asyncio.gather(*(p.keeper.change(lambda b: b.sweep(NOW)) for p in (one, two)))

    history = await session_rows.flag_history(one.store.engine, 100)
    assert [c.version for c in history] == list(range(10, 0, -1))
    assert one.keeper.book.flag.enabled is two.keeper.book.flag.enabled is True


async def test_events_come_only_when_it_is_stored_and_once(begin: Begin) -> None:
    one, two = await begin(), await begin()
    during: list[list[str]] = []

    async def look(connection: AsyncConnection) -> None:
        during.append(one.kinds())

    await two.place()
    seen = Seen(exchange_id="x", user="bob", client="codex", provider="openai")
    await one.keeper.change(lambda book: book.place(seen, NOW), Extra(look))

    assert during == [[]]
    assert one.kinds() == ["session:started"]


async def test_what_fails_changes_nothing_and_tells_nothing(begin: Begin) -> None:
    one = await begin()

    async def fail(connection: AsyncConnection) -> None:
        raise TypeError("ours")

    seen = Seen(exchange_id="x", user="bob", client="codex", provider="openai")
    with pytest.raises(TypeError):
        await one.keeper.change(lambda book: book.place(seen, NOW), Extra(fail))

    assert one.told == []
    assert list(one.keeper.book.live()) == []
    assert await one.place("bob")


async def test_an_extra_is_stored_with_the_sessions_or_not_at_all(begin: Begin) -> None:
    one = await begin()
    stored: list[int] = []

    async def extra(connection: AsyncConnection) -> None:
        await connection.execute(text("insert into facts values ('a', 'b')"))

    seen = Seen(exchange_id="x", user="bob", client="codex", provider="openai")

    def work(book: SessionBook) -> object:
        return book.place(seen, NOW)

    await one.keeper.change(work, Extra(extra), stored=lambda: stored.append(1))

    assert await one.store.fact("a") == "b"
    assert stored == [1]


async def test_a_refusal_rests_on_what_is_stored_not_on_memory(begin: Begin) -> None:
    one, two = await begin(), await begin()
    await one.keeper.change(lambda book: book.force_flag(True, "admin", NOW))
    await two.keeper.change(lambda book: book.sweep(NOW))
    await one.keeper.change(lambda book: book.force_flag(None, "admin", NOW))

    await two.keeper.change(lambda book: book.set_flag(False, "bob", NOW))

    assert two.keeper.book.flag.enabled is False
    await one.keeper.change(lambda book: book.force_flag(True, "admin", NOW))
    with pytest.raises(FlagForced):
        await two.keeper.change(lambda book: book.set_flag(True, "bob", NOW))


async def test_a_session_that_another_process_ended_cannot_be_switched_to(begin: Begin) -> None:
    one, two = await begin(), await begin()
    session_id = await one.place(client_session_id="c" * 20)
    await two.place(client_session_id="c" * 20)
    await one.keeper.change(lambda book: book.end(session_id, EndReason.REQUEST, NOW))

    with pytest.raises(SessionEnded):
        await two.keeper.change(lambda book: book.activate(session_id, NOW))


async def test_while_the_database_is_away_memory_goes_on_and_all_is_stored_later(
    begin: Begin, tmp_path: Path
) -> None:
    one = await begin()
    first = await one.place()
    one.away = True

    assert await one.place() == first
    other = await one.place("bob")
    await one.keeper.change(lambda book: book.toggle_flag("alice", NOW))
    await one.keeper.change(lambda book: book.toggle_flag("alice", NOW))
    await one.keeper.change(lambda book: book.end(first, EndReason.REQUEST, NOW))
    assert one.kinds().count("auto_session:toggled") == 2
    one.away = False
    await one.place("carol")

    with closing(sqlite3.connect(tmp_path / "kimi.db")) as database:
        rows = database.execute("select session_id, status, exchanges, user from sessions").fetchall()
        flags = database.execute("select version, enabled from flag_history").fetchall()
    kept = {session_id: (status, count) for session_id, status, count, user in rows if user != "carol"}
    assert kept == {first: ("ended", 2), other: ("active", 1)}
    assert flags == [(1, 0), (2, 1)]


async def test_records_that_had_to_wait_are_not_overtaken_by_later_ones(begin: Begin, tmp_path: Path) -> None:
    one = await begin()

    def saving(value: str) -> Extra:
        async def write(connection: AsyncConnection) -> None:
            await connection.execute(
                text("insert into facts values ('x', :v) on conflict do update set value = :v"), {"v": value}
            )

        return Extra(write)

    one.away = True
    await one.keeper.change(lambda book: book.changes(), saving("old"))
    one.away = False
    await one.keeper.change(lambda book: book.changes(), saving("new"))
    await one.store.flush()

    assert await one.store.fact("x") == "new"


async def test_a_day_without_a_database_owes_one_transaction(begin: Begin) -> None:
    one = await begin()
    one.away = True

    for i in range(300):
        await one.place(f"user{i % 7}")

    assert len(one.keeper._owed) == 1
    assert len(one.keeper._owed[0].saves) == 7


async def test_trouble_is_said_once_and_its_end_too(begin: Begin) -> None:
    one = await begin()

    async def nothing(connection: AsyncConnection) -> None:
        return None

    one.away = True
    for _ in range(20):
        await one.keeper.change(lambda book: book.sweep(NOW), Extra(nothing))
        await asyncio.sleep(0.02)
    one.away = False
    await one.store.flush(again=True)

    assert len(one.said) == 2
    assert "disk is full" in one.said[0]
    assert one.said[1] == "the database can be written again"


async def test_after_a_crash_the_next_process_ends_what_was_live(begin: Begin) -> None:
    dead = await begin(pid=999_999_999)
    session_id = await dead.place()
    exchange = Exchange(id="x", started_at=NOW, session_id=session_id, input_tokens=5)
    await dead.keeper.change(lambda book: book.settled(exchange, NOW))

    alive = await begin()
    found = await session_rows.get(alive.store.engine, session_id)

    assert found is not None
    assert (found.live, found.end_reason, found.archive_due) == (False, EndReason.CRASH, True)
    assert [s.session_id for s in alive.keeper.book.unarchived()] == [session_id]
    assert alive.told == []
    await alive.keeper.change(lambda book: book.archived(session_id, "alice/now"))
    assert alive.kinds() == ["session:ended"]


async def test_two_that_start_after_a_crash_archive_it_once(begin: Begin) -> None:
    dead = await begin(pid=999_999_999)
    session_id = await dead.place()

    one, two = await begin(), await begin()

    assert [len(p.keeper.book.unarchived()) for p in (one, two)] == [1, 0]
    assert one.keeper.book.unarchived()[0].session_id == session_id


async def test_an_idle_session_of_another_process_is_not_ended_here(begin: Begin) -> None:
    one, two = await begin(), await begin()
    session_id = await one.place(client_session_id="c" * 20)

    await two.keeper.change(lambda book: book.sweep(NOW + timedelta(hours=1)))

    found = await session_rows.get(one.store.engine, session_id)
    assert found is not None
    assert found.live
