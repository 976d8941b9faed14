"""Our cursors give what aiosqlite's own give, and cross to the connection's thread less often."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from kimi_mitm.store import sqlite as module
from kimi_mitm.store.database import StoreError, connect
from kimi_mitm.store.sqlite import Connection, open_file


@pytest.fixture
async def connection(tmp_path: Path) -> AsyncIterator[Connection]:
    connection = await open_file(tmp_path / "some.db", 5.0)
    cursor = connection.cursor()
    await cursor.execute("create table t (n integer primary key, x text)")
    await cursor.executemany("insert into t (x) values (?)", [(str(i),) for i in range(200)])
    yield connection
    await connection.close()


async def select(connection: Connection, count: int) -> Any:
    return await connection.cursor().execute(f"select n from t order by n limit {count}")


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 128, 200])
async def test_all_rows_come_however_many(connection: Connection, count: int) -> None:
    cursor = await select(connection, count)

    assert [row[0] for row in await cursor.fetchall()] == list(range(1, count + 1))
    assert await cursor.fetchall() == []
    assert await cursor.fetchone() is None


@pytest.mark.parametrize("size", [1, 7, 64, 1000])
async def test_rows_come_piece_by_piece(connection: Connection, size: int) -> None:
    cursor = await select(connection, 150)
    found: list[int] = []
    while rows := await cursor.fetchmany(size):
        assert len(rows) <= size
        found += [row[0] for row in rows]

    assert found == list(range(1, 151))


async def test_one_by_one_then_the_rest(connection: Connection) -> None:
    cursor = await select(connection, 100)

    assert (await cursor.fetchone())[0] == 1
    assert len(await cursor.fetchmany(80)) == 80
    assert len(await cursor.fetchall()) == 19
    await cursor.close()


async def test_what_was_not_fetched_is_let_go(connection: Connection) -> None:
    cursor = await select(connection, 200)
    await cursor.close()

    assert await cursor.fetchall() == []
    await connection.cursor().execute("drop table t")


async def test_what_a_statement_did_is_known(connection: Connection) -> None:
    cursor = await connection.cursor().execute("insert into t (x) values ('y')")
    assert (cursor.lastrowid, cursor.rowcount, cursor.description) == (201, 1, None)
    cursor = await connection.cursor().execute("update t set x = 'z' where n > 100")
    assert cursor.rowcount == 101
    cursor = await select(connection, 1)
    assert cursor.description[0][0] == "n"


async def test_an_error_comes_through(connection: Connection) -> None:
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        await connection.cursor().execute("select * from missing")


async def test_a_statement_crosses_once(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    crossed = []
    cross = Connection.cross

    async def counted(self: Connection, work: Any) -> Any:
        crossed.append(work)
        return await cross(self, work)

    monkeypatch.setattr(module.Connection, "cross", counted)
    async with connection.cursor() as cursor:
        await cursor.execute("select 1")
        await cursor.fetchall()
        await cursor.close()

    assert len(crossed) == 1


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done in the connection's thread."""
    crossed: list[str] = []
    cross = Connection.cross

    async def noted(self: Connection, work: Any) -> Any:
        crossed.append(
            next(name for name in ("commit", "rollback", "_run") if name in work.__code__.co_names)
        )
        return await cross(self, work)

    monkeypatch.setattr(module.Connection, "cross", noted)
    return crossed


async def test_where_the_lock_is_held_only_the_begin_and_the_commit_cross(
    connection: Connection, threads: list[str]
) -> None:
    await connection.cursor().execute("BEGIN IMMEDIATE")
    await connection.cursor().executemany("insert into t (x) values (?)", [("a",)] * 64)
    cursor = await connection.cursor().execute("select count(*) from t")
    await connection.commit()

    assert await cursor.fetchone() == (264,)
    assert threads == ["_run", "commit"]


@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_without_the_lock_everything_crosses(
    connection: Connection, threads: list[str], end: str
) -> None:
    await connection.cursor().execute("BEGIN IMMEDIATE")
    await getattr(connection, end)()
    await connection.cursor().execute("BEGIN DEFERRED")
    await connection.cursor().execute("insert into t (x) values ('y')")
    await connection.rollback()

    assert threads == ["_run", end, "_run", "_run", "rollback"]


async def test_where_there_is_nothing_to_roll_back_nothing_crosses(
    connection: Connection, threads: list[str]
) -> None:
    await connection.rollback()
    await connection.cursor().execute("BEGIN IMMEDIATE")
    await connection.commit()
    await connection.rollback()

    assert threads == ["_run", "commit"]


async def test_a_transaction_whose_begin_was_given_up_is_rolled_back(connection: Connection) -> None:
    begun = asyncio.create_task(connection.cursor().execute("BEGIN IMMEDIATE"))
    await asyncio.sleep(0)
    begun.cancel()
    with pytest.raises(asyncio.CancelledError):
        await begun
    await connection.rollback()

    assert not connection.in_transaction
    assert not connection.locked


async def test_many_rows_cross(connection: Connection, threads: list[str]) -> None:
    await connection.cursor().execute("BEGIN IMMEDIATE")
    await connection.cursor().executemany("insert into t (x) values (?)", [("a",)] * 65)
    await connection.rollback()

    assert threads == ["_run", "_run", "rollback"]


async def test_a_statement_that_fails_under_the_lock_leaves_the_rest_to_be_rolled_back(
    connection: Connection,
) -> None:
    await connection.cursor().execute("BEGIN IMMEDIATE")
    await connection.cursor().execute("insert into t (x) values ('y')")
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        await connection.cursor().execute("insert into missing values (1)")
    await connection.rollback()

    cursor = await connection.cursor().execute("select count(*) from t")
    assert await cursor.fetchone() == (200,)


async def test_through_sqlalchemy_rows_stream_and_errors_are_its_own(tmp_path: Path) -> None:
    engine = await connect(str(tmp_path / "kimi.db"))
    async with engine.begin() as connection:
        rows = [{"name": str(i), "value": "v"} for i in range(500)]
        await connection.execute(text("insert into facts values (:name, :value)"), rows)
    async with engine.connect() as connection:
        result = await connection.stream(text("select name from facts order by rowid"))
        streamed = [row.name async for row in result]
        whole = (await connection.execute(text("select count(*) from facts"))).scalar()
        with pytest.raises(OperationalError, match="no such table"):
            await connection.execute(text("select * from missing"))
    await engine.dispose()

    assert streamed == [str(i) for i in range(500)]
    assert whole == 500


async def test_a_url_with_wishes_of_its_own_goes_through_the_usual_driver(tmp_path: Path) -> None:
    engine = await connect(f"sqlite+aiosqlite:///{tmp_path}/kimi.db?timeout=3")
    async with engine.begin() as connection:
        await connection.execute(text("insert into facts values ('a', 'b')"))
    await engine.dispose()


@pytest.mark.parametrize("where", ["sqlite://", ":memory:", "sqlite+aiosqlite:///:memory:"])
async def test_a_database_in_memory_is_refused(where: str) -> None:
    with pytest.raises(StoreError, match="in memory"):
        await connect(where)
