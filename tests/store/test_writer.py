"""The writer: in order, at once, and what happens when the disk won't take it."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from kimi_mitm.store import writer as module
from kimi_mitm.store.database import connect
from kimi_mitm.store.writer import Change, Writer, is_away, reason
from tests.disks import Disk
from tests.waiting import until


class Said(list[str]):
    def __call__(self, line: str) -> None:
        self.append(line)


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    engine = await connect(str(tmp_path / "kimi.db"))
    yield engine
    await engine.dispose()


@pytest.fixture
def said() -> Said:
    return Said()


@pytest.fixture
async def writer(engine: AsyncEngine, said: Said) -> AsyncIterator[Writer]:
    writer = Writer(engine, said)
    writer.start()
    yield writer
    await writer.close(5)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    yield from Disk.at(tmp_path / "disk", megabytes=2)


def fact(name: str, value: str = "") -> Change:
    async def change(connection: AsyncConnection) -> None:
        statement = text("insert into facts values (:name, :value)")
        await connection.execute(statement, {"name": name, "value": value})

    return change


def failing(times: int, error: Exception) -> tuple[Change, list[int]]:
    left = [times]

    async def change(connection: AsyncConnection) -> None:
        if left[0]:
            left[0] -= 1
            raise error

    return change, left


def full() -> OperationalError:
    cause = sqlite3.OperationalError("database or disk is full")
    cause.sqlite_errorname = "SQLITE_FULL"
    return OperationalError("insert", {}, cause)


def names(path: Path) -> list[str]:
    """What another process finds."""
    with closing(sqlite3.connect(path)) as database:
        return [row[0] for row in database.execute("select name from facts order by rowid")]


async def test_what_comes_within_a_tenth_of_a_second_is_one_transaction(
    writer: Writer, engine: AsyncEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transactions = []
    transact = writer.transact
    monkeypatch.setattr(writer, "transact", lambda work: transactions.append(work) or transact(work))
    started = time.monotonic()

    for i in range(50):
        writer.put(fact(str(i)))
    await until(lambda: names(tmp_path / "kimi.db"))

    assert names(tmp_path / "kimi.db") == [str(i) for i in range(50)]
    assert len(transactions) == 1
    assert module.GATHER_S <= 0.1
    assert time.monotonic() - started < 5


async def test_flushing_while_the_writer_writes_keeps_order_and_loses_nothing(
    writer: Writer, tmp_path: Path
) -> None:
    for i in range(2000):
        writer.put(fact(str(i)))
        if i % 100 == 0:
            await asyncio.gather(writer.flush(), writer.flush(), asyncio.sleep(0))
    await writer.flush()

    assert names(tmp_path / "kimi.db") == [str(i) for i in range(2000)]
    assert writer.depth == 0


async def test_a_change_that_is_refused_is_lost_alone_and_said_once(
    writer: Writer, said: Said, tmp_path: Path
) -> None:
    for name in ("a", "b", "a", "a", "c"):
        writer.put(fact(name))
    await writer.flush()

    assert names(tmp_path / "kimi.db") == ["a", "b", "c"]
    assert said == ["a change was refused by the database and is lost: UNIQUE constraint failed: facts.name"]
    assert (writer.dropped, writer.trouble, writer.depth) == (2, None, 0)


@pytest.mark.parametrize(
    "error", [TypeError("ours"), OverflowError("too large"), UnicodeEncodeError("u", "", 0, 0, "no")]
)
async def test_an_error_of_ours_in_a_change_stops_nobody(
    writer: Writer, said: Said, tmp_path: Path, error: Exception
) -> None:
    broken, _ = failing(99, error)
    for change in (fact("a"), broken, fact("b")):
        writer.put(change)
    await until(lambda: names(tmp_path / "kimi.db") == ["a", "b"])

    assert writer.dropped == 1
    assert len(said) == 1


async def test_a_full_disk_is_said_once_and_what_comes_is_kept_until_there_is_room(
    writer: Writer, said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_RETRY_S", 0.05)
    blocked, left = failing(4, full())
    writer.put(fact("before"))
    await writer.flush()
    writer.put(blocked)
    for i in range(3):
        writer.put(fact(str(i)))
        await asyncio.sleep(0.1)
    await until(lambda: not left[0] and not writer.depth)

    assert names(tmp_path / "kimi.db") == ["before", "0", "1", "2"]
    assert said == [
        "the database can't be written (database or disk is full); what comes is kept in memory and tried "
        "again",
        "the database can be written again",
    ]
    assert writer.trouble is None


async def test_a_disk_that_is_really_full_loses_nothing_and_is_written_again(
    disk: Disk, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_RETRY_S", 0.05)
    path = disk.path / "kimi.db"
    engine = await connect(str(path))
    writer = Writer(engine, said)
    writer.start()
    writer.put(fact("before"))
    await writer.flush()
    ballast = disk.fill()

    for i in range(40):
        writer.put(fact(str(i), "x" * 20_000))
    await until(lambda: writer.trouble)
    assert "full" in (writer.trouble or "")
    assert names(path)[0] == "before"
    ballast.unlink()
    await until(lambda: not writer.depth)

    assert names(path) == ["before", *map(str, range(40))]
    assert len(said) == 2
    await writer.close(5)
    await engine.dispose()


async def test_another_process_transaction_is_waited_for(
    writer: Writer, said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(sqlite3.connect(tmp_path / "kimi.db", isolation_level=None)) as other:
        other.execute("begin immediate")
        writer.put(fact("a"))
        await asyncio.sleep(0.3)
        assert names(tmp_path / "kimi.db") == []
        other.execute("rollback")
    await until(lambda: names(tmp_path / "kimi.db") == ["a"])

    assert said == []


async def test_beyond_the_bound_the_oldest_is_lost(
    engine: AsyncEngine, said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BOUND", 3)
    writer = Writer(engine, said)
    for i in range(5):
        writer.put(fact(str(i)))
    await writer.flush()

    assert names(tmp_path / "kimi.db") == ["2", "3", "4"]
    assert writer.dropped == 2


async def test_heavy_changes_are_bounded_in_bytes_and_light_ones_still_taken(
    engine: AsyncEngine, said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WEIGHT_BOUND", 100)
    writer = Writer(engine, said)
    for name, weight in (("a", 60), ("b", 60), ("c", 0), ("d", 40)):
        writer.put(fact(name), weight)
    await writer.flush()
    writer.put(fact("e"), 100)
    await writer.flush()

    assert names(tmp_path / "kimi.db") == ["a", "c", "d", "e"]
    assert writer.dropped == 1


async def test_a_change_put_during_a_write_is_not_taken_for_a_written_one(
    engine: AsyncEngine, said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BOUND", 2)
    writer = Writer(engine, said)

    async def slow(connection: AsyncConnection) -> None:
        for name in ("x", "y", "z"):
            writer.put(fact(name))

    writer.put(slow)
    await writer.flush()

    assert names(tmp_path / "kimi.db") == ["y", "z"]
    assert writer.dropped == 1


async def test_the_end_writes_what_waits_and_does_not_wait_for_the_next_try(
    engine: AsyncEngine, said: Said, tmp_path: Path
) -> None:
    writer = Writer(engine, said)
    writer.start()
    blocked, _ = failing(1, full())
    writer.put(blocked)
    await until(lambda: writer.trouble)
    writer.put(fact("late"))
    started = time.monotonic()
    await writer.close(30)

    assert names(tmp_path / "kimi.db") == ["late"]
    assert time.monotonic() - started < module._RETRY_S


async def test_the_end_says_what_could_not_be_written(engine: AsyncEngine, said: Said) -> None:
    writer = Writer(engine, said)
    writer.start()
    blocked, _ = failing(99, full())
    writer.put(blocked)
    await writer.close(30)

    assert said[-1] == "1 changes could not be written: database or disk is full"


async def test_the_end_does_not_wait_for_ever(engine: AsyncEngine, said: Said) -> None:
    writer = Writer(engine, said)
    writer.start()

    async def stuck(connection: AsyncConnection) -> None:
        await asyncio.Event().wait()

    writer.put(stuck)
    await writer.close(0.3)

    assert writer.depth == 1
    assert len(said) == 1


def named(name: str) -> OperationalError:
    cause = sqlite3.OperationalError("x")
    cause.sqlite_errorname = name
    return OperationalError("s", {}, cause)


@pytest.mark.parametrize(
    ("error", "away"),
    [
        (named("SQLITE_BUSY_SNAPSHOT"), True),
        (named("SQLITE_IOERR_WRITE"), True),
        (named("SQLITE_CANTOPEN"), True),
        (named("SQLITE_CORRUPT"), True),
        (named("SQLITE_ERROR"), False),
        (named("SQLITE_TOOBIG"), False),
        (OperationalError("s", {}, Exception("server closed the connection")), True),
        (IntegrityError("s", {}, Exception("duplicate")), False),
        (ConnectionRefusedError(), True),
        (TimeoutError(), True),
        (ValueError(), False),
    ],
)
def test_the_database_or_the_statement_is_to_blame(error: Exception, away: bool) -> None:
    assert is_away(error) is away


def test_a_reason_has_neither_statement_nor_values() -> None:
    error = OperationalError("insert into t values (?)", {"a": "secret"}, Exception("no room\nat all"))

    assert reason(error) == "no room"
    assert reason(KeyError()) == "KeyError"


async def test_the_writer_keeps_one_connection_until_a_transaction_fails(
    writer: Writer, engine: AsyncEngine, tmp_path: Path
) -> None:
    used: list[object] = []

    async def work(connection: AsyncConnection) -> None:
        used.append(connection.sync_connection)
        await fact(str(len(used)))(connection)
        if len(used) == 3:
            raise ValueError

    for _ in range(2):
        await writer.transact(work)
    with pytest.raises(ValueError):
        await writer.transact(work)
    await writer.transact(work)

    assert used[0] is used[1] is used[2] is not used[3]
    assert names(tmp_path / "kimi.db") == ["1", "2", "4"]
