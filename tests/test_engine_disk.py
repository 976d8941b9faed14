"""The whole engine on a disk that fills up, and a database that somebody else holds or that breaks."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from kimi_mitm.store import database
from kimi_mitm.store import writer as writer_module
from tests.disks import Disk
from tests.engine_rig import Rig, chat_answer, engine
from tests.waiting import until

FULL = "database or disk is full"


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    monkeypatch.setattr(writer_module, "_RETRY_S", 0.1)
    yield from Disk.at(tmp_path / "disk", megabytes=2)


def rows(path: Path, table: str = "exchanges", what: str = "id, input_tokens") -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as other:
        return other.execute(f"select {what} from {table} order by 1").fetchall()


async def long_chat(rig: Rig, text: str) -> str:
    """A chat with a long prompt; its id, whether it could be stored or not."""
    n = await rig.open({"model": "gpt-4o", "messages": [{"role": "user", "content": text}]}, user="alice")
    await rig.answer(n, chat_answer())
    await rig.end(n)
    return str(rig.events("exchange:completed")[-1]["id"])


async def test_a_full_disk_loses_nothing_and_is_written_when_there_is_room(disk: Disk) -> None:
    path = disk.path / "kimi.db"
    async with engine(disk.path, archive_dir=str(disk.path.parent / "users")) as rig:
        ids = [await long_chat(rig, "before")]
        ballast = disk.fill()
        ids += [await long_chat(rig, f"message {i} " * 2000) for i in range(30)]
        assert rig.desk.store.state == "full"
        assert (ids[0], 12) in rows(path)
        ballast.unlink()
        await until(lambda: rig.desk.store.trouble is None)
        ids.append(await long_chat(rig, "after"))
        await rig.desk.store.flush()

        assert {name for name, _ in rows(path)} == set(ids)
        assert {tokens for _, tokens in rows(path)} == {12}
        assert len(rows(path, "sessions", "session_id")) == 1
        assert rows(path, "sessions", "exchanges") == [(32,)]
        said = rows(path, "messages", "role")
        assert [role for (role,) in said].count("user") == 32
        assert rig.downward.words() == [
            f"the database can't be written ({FULL}); what comes is kept in memory and tried again",
            "the database can be written again",
        ]


async def test_what_comes_while_the_disk_is_full_is_bounded_but_rows_are_kept(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "_WEIGHT_BOUND", 100_000)
    async with engine(disk.path, archive_dir=str(disk.path.parent / "users")) as rig:
        await long_chat(rig, "before")
        ballast = disk.fill()
        ids = [await long_chat(rig, f"{i} " + "x" * 30_000) for i in range(20)]
        writer = rig.desk.store._writer
        assert writer is not None
        assert writer._weight <= 100_000
        assert rig.desk.store.dropped >= 10
        ballast.unlink()
        await until(lambda: rig.desk.store.trouble is None)
        await rig.desk.store.flush()

        assert {name for name, _ in rows(disk.path / "kimi.db")} >= set(ids)


async def test_an_engine_that_ends_on_a_full_disk_says_what_is_lost_and_ends(disk: Disk) -> None:
    async with engine(disk.path, archive_dir=str(disk.path.parent / "users")) as rig:
        await long_chat(rig, "before")
        disk.fill()
        for i in range(10):
            await long_chat(rig, f"{i} " + "x" * 30_000)

    assert len(rig.downward.words()) == 2
    assert "could not be written: database or disk is full" in rig.downward.words()[1]
    assert len(rows(disk.path / "kimi.db")) >= 1


async def test_somebody_who_holds_the_database_delays_only_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_BUSY_S", 0.2)
    monkeypatch.setattr(writer_module, "_RETRY_S", 0.1)
    async with engine(tmp_path) as rig:
        await long_chat(rig, "before")
        with closing(sqlite3.connect(tmp_path / "kimi.db", isolation_level=None)) as other:
            other.execute("begin immediate")
            ids = [await long_chat(rig, f"message {i}") for i in range(10)]
            await until(lambda: rig.desk.store.trouble)
            assert len(rig.events("exchange:completed")) == 11
            other.execute("rollback")
        await until(lambda: rig.desk.store.trouble is None)
        await long_chat(rig, "after")
        await rig.desk.store.flush()

        assert {name for name, _ in rows(tmp_path / "kimi.db")} >= set(ids)
        assert rows(tmp_path / "kimi.db", "sessions", "exchanges") == [(12,)]


async def test_a_database_that_turns_corrupt_is_said_once_and_traffic_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "_RETRY_S", 0.1)
    async with engine(tmp_path) as rig:
        await long_chat(rig, "before")
        path = tmp_path / "kimi.db"
        with closing(sqlite3.connect(path)) as other:
            other.execute("pragma wal_checkpoint(truncate)")
        data = bytearray(path.read_bytes())
        data[4096:] = b"\x55" * (len(data) - 4096)
        path.write_bytes(data)
        for i in range(10):
            await long_chat(rig, f"message {i}")
        await until(lambda: rig.desk.store.trouble)

        assert len(rig.events("exchange:completed")) == 11
        assert "malformed" in (rig.desk.store.trouble or "")
    assert len([w for w in rig.downward.words() if "can't be written" in w]) == 1
    assert len(rig.downward.words()) <= 3
