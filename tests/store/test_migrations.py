"""Migrations: what they make is exactly what the tables say, and what can't be migrated is refused."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text

from kimi_mitm.store.database import HEAD, StoreError, connect, upgrade
from kimi_mitm.store.tables import metadata


def differences(connection: Connection) -> list[object]:
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return list(compare_metadata(context, metadata))


def schema(path: Path) -> list[object]:
    """Tables, columns and indexes, the unnamed ones by what they are on."""
    with closing(sqlite3.connect(path)) as database:
        found: list[object] = []
        for (table,) in database.execute("select name from sqlite_master where type = 'table' order by 1"):
            found += [table, *database.execute(f"pragma table_info('{table}')")]
            for _, index, unique, origin, partial in database.execute(f"pragma index_list('{table}')"):
                on = database.execute(f"pragma index_info('{index}')").fetchall()
                found.append((index, unique, origin, partial, on))
        return sorted(found, key=str)


def test_the_migrations_make_exactly_the_schema_of_the_tables() -> None:
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        upgrade(connection)
        found = differences(connection)
    engine.dispose()

    assert found == []


async def test_a_new_database_has_the_schema_that_the_migrations_make(tmp_path: Path) -> None:
    await (await connect(str(tmp_path / "new.db"))).dispose()
    engine = create_engine(f"sqlite:///{tmp_path / 'migrated.db'}")
    with engine.begin() as connection:
        upgrade(connection)
    engine.dispose()

    assert schema(tmp_path / "new.db") == schema(tmp_path / "migrated.db")


def test_the_newest_migration_is_the_one_that_the_store_takes_for_it() -> None:
    folder = Path(__file__).parents[2] / "kimi_mitm" / "store" / "migrations"

    assert ScriptDirectory(str(folder)).get_heads() == [HEAD]


async def test_opening_it_again_changes_nothing(tmp_path: Path) -> None:
    for _ in range(2):
        engine = await connect(str(tmp_path / "kimi.db"))
        async with engine.connect() as connection:
            version = (await connection.execute(text("select version_num from alembic_version"))).scalar()
        await engine.dispose()

    assert version == HEAD


async def test_a_newer_schema_is_refused_with_what_to_do(tmp_path: Path) -> None:
    engine = await connect(str(tmp_path / "kimi.db"))
    async with engine.begin() as connection:
        await connection.execute(text("update alembic_version set version_num = '9999'"))
    await engine.dispose()

    with pytest.raises(StoreError, match="schema 9999, newer than this version's 0001: update kimi-mitm"):
        await connect(str(tmp_path / "kimi.db"))


async def test_a_migration_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "kimi.db") as other:
        other.execute("create table sessions (mine text)")
    other.close()

    with pytest.raises(StoreError, match="can't be opened: table sessions already exists"):
        await connect(str(tmp_path / "kimi.db"))

    with sqlite3.connect(tmp_path / "kimi.db") as other:
        tables = other.execute("select name from sqlite_master where type = 'table'").fetchall()
    other.close()
    assert tables == [("sessions",)]


async def test_several_that_open_a_new_database_at_once_make_it_once(tmp_path: Path) -> None:
    engines = await asyncio.gather(*(connect(str(tmp_path / "kimi.db")) for _ in range(4)))

    async with engines[0].connect() as connection:
        assert await connection.run_sync(differences) == []
    for engine in engines:
        await engine.dispose()
