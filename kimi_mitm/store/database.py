"""Opening a database: SQLite file or URL, made if missing, brought to our schema, or a clear refusal."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, OperationalError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from kimi_mitm.store.sqlite import open_file
from kimi_mitm.store.tables import metadata

HEAD = "0001"
"""The newest migration, so that Alembic need not be loaded to find that there is nothing to do."""

_BUSY_S = 5.0
"""How long to wait for another process' transaction."""
_TRIES = 10
_CACHE_KB = 1024
"""Of a file's pages in each connection's memory; what it reads again is in the system's, too."""
_MIGRATIONS = Path(__file__).parent / "migrations"

logging.getLogger("aiosqlite").setLevel(logging.WARNING)


class StoreError(Exception):
    """The database can't be used; the message says why and what to do, in one line."""


def url_of(text_: str) -> URL:
    """The URL of a database given as one, or as the path of an SQLite file. Raises `StoreError`."""
    if "://" not in text_:
        return URL.create("sqlite+aiosqlite", database=str(Path(text_).expanduser()))
    try:
        url = make_url(text_)
    except ArgumentError as e:
        raise StoreError("kimi_db is neither a file nor a database URL") from e
    if url.drivername == "sqlite":
        return url.set(drivername="sqlite+aiosqlite")
    if url.drivername in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+asyncpg")
    return url


async def connect(where: str, *, create: bool = True) -> AsyncEngine:
    """An engine on a database with our schema. `create` False only reads and makes nothing.

    Raises `StoreError` when the place can't be opened or written, when the schema is newer than ours,
    or (`create` False) when there is no database yet.
    """
    url = url_of(where)
    path = Path(url.database or ":memory:") if url.get_backend_name() == "sqlite" else None
    if path is not None and str(path) == ":memory:":
        raise StoreError("kimi_db is a database in memory, which nobody else could read: name a file")
    if path is not None:
        await asyncio.to_thread(_prepare, path, create)
    try:
        engine = _engine(url)
    except (SQLAlchemyError, ImportError, TypeError) as e:
        raise StoreError(f"the database driver can't be loaded: {_short(e)}") from e
    if path is not None:
        _configure_sqlite(engine)
    try:
        await _checked(engine, create)
    except StoreError:
        await engine.dispose()
        raise
    except (SQLAlchemyError, OSError) as e:
        await engine.dispose()
        raise StoreError(f"the database can't be opened: {_short(e)}") from e
    return engine


async def _checked(engine: AsyncEngine, create: bool) -> None:
    """Checks the schema; another process that makes the database just now is waited for."""
    for left in reversed(range(_TRIES)):
        try:
            async with engine.connect() as connection:
                await _check(connection, create)
        except OperationalError as e:
            if not left or "locked" not in str(e.orig):
                raise
            await asyncio.sleep(0.5)
        else:
            return


def _engine(url: URL) -> AsyncEngine:
    if url.drivername != "sqlite+aiosqlite" or url.query:
        return create_async_engine(url, pool_size=4, max_overflow=4)
    creator = partial(open_file, url.database or "", _BUSY_S)
    return create_async_engine(
        url,
        pool_size=4,
        max_overflow=4,
        pool_use_lifo=True,  # one warm connection rather than four in turn
        async_creator=creator,
    )


async def _check(connection: AsyncConnection, create: bool) -> None:
    version = await connection.run_sync(_version)
    if version == HEAD:
        return
    if version is not None and version > HEAD:
        raise StoreError(
            f"the database has schema {version}, newer than this version's {HEAD}: update kimi-mitm, "
            "or choose another file with kimi_db"
        )
    if not create:
        raise StoreError("the database has no tables of ours, or older ones: run the proxy once")
    await connection.rollback()
    connection = await connection.execution_options(kimi_begin="IMMEDIATE")
    async with connection.begin():
        version = await connection.run_sync(_version)  # another process may have come first
        if version != HEAD:
            await connection.run_sync(_new_schema if version is None else upgrade)


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(text("select version_num from alembic_version")).scalar()
    return None if found is None else str(found)


def _new_schema(connection: Connection) -> None:
    """A new database gets today's schema at once; a test holds the migrations to the same result."""
    metadata.create_all(connection, checkfirst=False)
    connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
    connection.execute(text("insert into alembic_version values (:head)"), {"head": HEAD})


def upgrade(connection: Connection) -> None:
    """Migrates a database from wherever it is to `HEAD`."""
    from alembic import command
    from alembic.config import Config

    logging.getLogger("alembic").setLevel(logging.WARNING)
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _prepare(path: Path, create: bool) -> None:
    """Makes the file, or finds that it can't be used: once it is in the pool's hands, a connection that
    fails leaves a thread behind."""
    if create:
        _make(path)
    elif not path.is_file():
        raise StoreError(f"there is no database at {path}")
    try:
        with closing(sqlite3.connect(path, timeout=_BUSY_S)) as probe:
            probe.execute("select count(*) from sqlite_master").fetchall()
    except (sqlite3.Error, OSError) as e:
        raise StoreError(f"the database can't be opened: {_short(e)}") from e


def _make(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        existed = path.exists()
        path.touch()
        if not existed:
            path.chmod(0o600)
        elif not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as e:
        raise StoreError(f"{path} can't be written: {e.strerror or e}") from e


def _configure_sqlite(engine: AsyncEngine) -> None:
    """WAL lets others read while we write; the driver's own BEGIN comes too late for a write lock, so
    transactions are begun here, IMMEDIATE where the connection asks for it."""

    @event.listens_for(engine.sync_engine, "connect")
    def on_connect(dbapi: Any, record: object) -> None:
        dbapi.isolation_level = None
        cursor = dbapi.cursor()
        cursor.execute(f"PRAGMA busy_timeout={_BUSY_S * 1000:.0f}")
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.execute(f"PRAGMA cache_size=-{_CACHE_KB}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def on_begin(connection: Connection) -> None:
        mode = connection.get_execution_options().get("kimi_begin", "DEFERRED")
        connection.exec_driver_sql(f"BEGIN {mode}")


def _short(error: BaseException) -> str:
    return str(getattr(error, "orig", None) or error).splitlines()[0][:200]
