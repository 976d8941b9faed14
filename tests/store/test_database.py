"""Opening a database: what is taken, what is refused and in which words."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from kimi_mitm.store.database import StoreError, connect, url_of
from tests.disks import Disk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    yield from Disk.at(tmp_path / "disk", megabytes=8)


@pytest.mark.parametrize(
    ("given", "driver", "database"),
    [
        ("/tmp/kimi.db", "sqlite+aiosqlite", "/tmp/kimi.db"),
        ("kimi.db", "sqlite+aiosqlite", "kimi.db"),
        ("~/kimi.db", "sqlite+aiosqlite", str(Path("~/kimi.db").expanduser())),
        ("with?question and #hash%20.db", "sqlite+aiosqlite", "with?question and #hash%20.db"),
        ("C:\\data\\kimi.db", "sqlite+aiosqlite", "C:\\data\\kimi.db"),
        ("sqlite:////tmp/kimi.db", "sqlite+aiosqlite", "/tmp/kimi.db"),
        ("sqlite+aiosqlite:///kimi.db", "sqlite+aiosqlite", "kimi.db"),
        ("postgresql://me:secret@box/kimi", "postgresql+asyncpg", "kimi"),
        ("postgres://box/kimi", "postgresql+asyncpg", "kimi"),
        ("postgresql+psycopg://box/kimi", "postgresql+psycopg", "kimi"),
    ],
)
def test_files_and_urls_name_a_database(given: str, driver: str, database: str) -> None:
    url = url_of(given)

    assert (url.drivername, url.database) == (driver, database)


def test_what_is_no_url_is_refused_without_repeating_what_may_hold_a_password() -> None:
    with pytest.raises(StoreError) as refused:
        url_of("://me:secret@box")

    assert "secret" not in str(refused.value)


async def test_a_driver_that_is_not_there_is_said() -> None:
    with pytest.raises(StoreError, match="driver can't be loaded"):
        await connect("nosuchthing://box/kimi")


async def test_a_new_database_is_its_owners_alone_and_keeps_a_log_ahead(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "kimi.db"
    engine = await connect(str(path))
    async with engine.connect() as connection:
        mode = (await connection.execute(text("pragma journal_mode"))).scalar()
    await engine.dispose()

    assert mode == "wal"
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_reading_only_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no database at"):
        await connect(str(tmp_path / "none" / "kimi.db"), create=False)

    assert not (tmp_path / "none").exists()


async def test_reading_only_refuses_a_file_without_our_tables(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "kimi.db").close()
    (tmp_path / "kimi.db").touch()

    with pytest.raises(StoreError, match="no tables of ours"):
        await connect(str(tmp_path / "kimi.db"), create=False)


def no_database(path: Path) -> None:
    path.write_text("Dear diary,\n" * 500)


def torn(path: Path) -> None:
    """A database whose pages after the first are gone to pieces."""
    database = sqlite3.connect(path)
    database.executescript("create table t (a); pragma journal_mode = delete")
    database.executemany("insert into t values (?)", [("x" * 100,)] * 500)
    database.commit()
    database.close()
    data = bytearray(path.read_bytes())
    data[100:4096] = os.urandom(3996)
    path.write_bytes(data)


def folder(path: Path) -> None:
    path.mkdir()


def below_a_file(path: Path) -> None:
    path.parent.rmdir()
    path.parent.write_text("a file")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (no_database, "file is not a database"),
        (torn, "malformed"),
        (folder, "Is a directory|unable to open"),
        (below_a_file, "can't be written"),
    ],
)
async def test_a_file_that_is_none_of_ours_is_refused_in_one_line(
    tmp_path: Path, damage: Callable[[Path], None], words: str
) -> None:
    path = tmp_path / "data" / "kimi.db"
    path.parent.mkdir()
    damage(path)

    with pytest.raises(StoreError, match=words) as refused:
        await connect(str(path))

    assert len(str(refused.value).splitlines()) == 1


async def test_a_disk_that_is_read_only_is_refused_in_one_line(disk: Disk) -> None:
    path = disk.path / "kimi.db"
    await (await connect(str(path))).dispose()
    disk.freeze()

    with pytest.raises(StoreError, match="can't be written: Read-only file system"):
        await connect(str(path))
    with pytest.raises(StoreError, match="can't be written: Read-only file system"):
        await connect(str(disk.path / "new" / "kimi.db"))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everything")
async def test_a_file_that_may_not_be_written_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "kimi.db"
    await (await connect(str(path))).dispose()
    path.chmod(0o400)

    with pytest.raises(StoreError, match="can't be written: Permission denied"):
        await connect(str(path))


async def test_another_process_reads_while_this_one_writes(tmp_path: Path) -> None:
    engine = await connect(str(tmp_path / "kimi.db"))
    async with engine.connect() as connection:
        connection = await connection.execution_options(kimi_begin="IMMEDIATE")
        async with connection.begin():
            await connection.execute(text("insert into facts values ('a', '1')"))
            during = _read_elsewhere(tmp_path / "kimi.db")
    after = _read_elsewhere(tmp_path / "kimi.db")
    await engine.dispose()

    assert (during, after) == ("[]", "[('a', '1')]")


def _read_elsewhere(path: Path) -> str:
    script = (
        f"import sqlite3; print(sqlite3.connect({str(path)!r}).execute('select * from facts').fetchall())"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, timeout=60)
    return done.stdout.decode().strip()
