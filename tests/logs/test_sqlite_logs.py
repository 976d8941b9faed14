"""Other programs' databases are read as they stand, and left as they were."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from kimi_mitm.logs import sqlite


def count(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT count(*) FROM t").fetchone()[0])


def make(path: Path, mode: str = "WAL") -> sqlite3.Connection:
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA journal_mode = {mode}")
    db.execute("CREATE TABLE t (x)")
    db.execute("INSERT INTO t VALUES (1)")
    db.commit()
    return db


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a b#c?.db"


@pytest.fixture
def untouched(path: Path) -> Iterator[None]:
    """Nothing beside the database is made by a test's reading that was not there before it."""
    yield
    assert {name.name for name in path.parent.iterdir()} <= {
        path.name + suffix for suffix in ("", "-wal", "-shm", "-journal")
    }


@pytest.mark.usefixtures("untouched")
def test_a_live_write_ahead_log_is_read(path: Path) -> None:
    with closing(make(path)) as db:
        before = sorted(os.listdir(path.parent))
        assert sqlite.read(str(path), count) == 1

        db.execute("INSERT INTO t VALUES (2)")
        db.commit()

        assert sqlite.read(str(path), count) == 2
        assert sorted(os.listdir(path.parent)) == before


@pytest.mark.parametrize("mode", ["WAL", "DELETE", "TRUNCATE", "PERSIST"])
def test_a_closed_database_is_read_and_nothing_made(path: Path, mode: str) -> None:
    make(path, mode).close()
    before = sorted(os.listdir(path.parent))

    assert sqlite.read(str(path), count) == 1

    assert sorted(os.listdir(path.parent)) == before


def test_a_log_that_a_crash_left_is_read(path: Path, tmp_path: Path) -> None:
    """The log without its shared memory, as after a restore from a backup."""
    left = tmp_path / "left"
    left.mkdir()
    with closing(make(path)):
        for suffix in ("", "-wal"):
            shutil.copyfile(f"{path}{suffix}", left / f"x.db{suffix}")

    assert sqlite.read(str(left / "x.db"), count) == 1
    assert sorted(os.listdir(left)) == ["x.db", "x.db-wal"]


def test_stale_shared_memory_is_no_obstacle(path: Path, tmp_path: Path) -> None:
    left = tmp_path / "left"
    left.mkdir()
    with closing(make(path)):
        for suffix in ("", "-wal", "-shm"):
            shutil.copyfile(f"{path}{suffix}", left / f"x.db{suffix}")
    before = {name: (left / name).read_bytes() for name in os.listdir(left)}

    assert sqlite.read(str(left / "x.db"), count) == 1
    assert {name: (left / name).read_bytes() for name in os.listdir(left)} == before


def test_an_open_transaction_is_not_seen(path: Path) -> None:
    """Neither is its writer made to wait: reading takes no lock."""
    with closing(make(path, "DELETE")) as db:
        db.execute("PRAGMA cache_size = 1")
        db.execute("BEGIN IMMEDIATE")
        db.executemany("INSERT INTO t VALUES (?)", [("x" * 1000,)] * 2000)

        assert sqlite.read(str(path), count) == 1

        db.commit()
        assert sqlite.read(str(path), count) == 2001


def test_a_reader_holds_no_lock_that_its_owner_would_meet(path: Path) -> None:
    with closing(make(path, "DELETE")) as db:
        db.execute("PRAGMA busy_timeout = 0")

        def meanwhile(reading: sqlite3.Connection) -> int:
            found = count(reading)
            if found == 1:
                db.execute("INSERT INTO t VALUES (2)")
                db.commit()
            return found

        assert sqlite.read(str(path), meanwhile) == 2


def test_the_database_can_not_be_written(path: Path) -> None:
    make(path).close()

    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        sqlite.read(str(path), lambda db: db.execute("INSERT INTO t VALUES (3)").fetchall())


def test_what_is_no_database_is_an_error(path: Path) -> None:
    path.write_bytes(b"no database" * 500)

    with pytest.raises(sqlite3.DatabaseError):
        sqlite.read(str(path), count)


def test_a_missing_file_is_an_error_and_stays_missing(path: Path) -> None:
    with pytest.raises((sqlite3.Error, OSError)):
        sqlite.read(str(path), count)

    assert not path.exists()


def test_missing_tables_and_columns_are_passed_over(path: Path) -> None:
    make(path).close()

    def use(db: sqlite3.Connection) -> tuple[list[sqlite3.Row], list[sqlite3.Row], frozenset[str]]:
        nothing = list(sqlite.rows(db, "SELECT * FROM nowhere"))
        no_column = list(sqlite.rows(db, "SELECT y FROM t"))
        return nothing, no_column, sqlite.columns(db, "t") | sqlite.columns(db, "nowhere")

    assert sqlite.read(str(path), use) == ([], [], frozenset({"x"}))


def test_a_stamp_changes_with_the_log(path: Path) -> None:
    with closing(make(path)) as db:
        before = sqlite.stamp(str(path))
        db.execute("INSERT INTO t VALUES (2)")
        db.commit()

        assert sqlite.stamp(str(path)) != before
