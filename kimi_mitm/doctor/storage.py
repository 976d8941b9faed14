"""The database: there, open, ours, writable, with room to grow.  [I/O]"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from kimi_mitm.doctor.finding import Finding, fault, ok, warning
from kimi_mitm.store import tables
from kimi_mitm.store.database import HEAD, StoreError, connect
from kimi_mitm.store.rows import moment

_ROOM = 200 * 1024 * 1024
_SUBJECT = "database"


def check(where: str, health: Mapping[str, Any] | None) -> list[Finding]:
    """The database as the proxy sees it (`health`, None when none runs) and as it is found from here."""
    complaints = [w for w in (health or {}).get("warnings") or () if str(w).startswith("The store")]
    found = [
        fault(_SUBJECT, str(w).removeprefix("The store: ").rstrip("."), _mend(where)) for w in complaints
    ]
    if found:
        return found
    path = None if "://" in where else Path(where).expanduser()
    if path is not None and not path.exists():
        return [_not_there(path)]
    if path is not None and (trouble := _unwritable(path)):
        return [fault(_SUBJECT, f"{path} can't be written: {trouble}", _mend(where))]
    return [_opened(where, path)]


async def newest(engine: AsyncEngine) -> datetime | None:
    """The latest start of an exchange; None when there is none."""
    async with engine.connect() as connection:
        at = (await connection.execute(select(func.max(tables.exchanges.c.started_at)))).scalar()
    return moment(at)


def _opened(where: str, path: Path | None) -> Finding:
    try:
        count = asyncio.run(_count(where))
    except StoreError as e:
        return fault(_SUBJECT, str(e), _mend(where))
    except SQLAlchemyError as e:
        return fault(_SUBJECT, f"can't be read: {str(e).splitlines()[0][:200]}", _mend(where))
    text = f"{count} {'exchange' if count == 1 else 'exchanges'}, schema {HEAD}"
    if path is None:
        return ok(_SUBJECT, text)
    room = shutil.disk_usage(path.parent).free
    if room < _ROOM:
        return warning(_SUBJECT, f"only {room // 2**20} MB are free where {path} is")
    return ok(_SUBJECT, f"{path}: {text}, {path.stat().st_size / 2**20:.1f} MB")


async def _count(where: str) -> int:
    engine = await connect(where, create=False)
    try:
        async with engine.connect() as connection:
            counted = await connection.execute(select(func.count()).select_from(tables.exchanges))
            return int(counted.scalar_one())
    finally:
        await engine.dispose()


def _not_there(path: Path) -> Finding:
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as e:
        return fault(_SUBJECT, f"{path} can't be written: {e.strerror or e}", _mend(str(folder / path.name)))
    return warning(_SUBJECT, f"there is none yet at {path}; the first start of the proxy makes it")


def _unwritable(path: Path) -> str | None:
    """Why SQLite can't write to its file, None when it can."""
    if not path.is_file():
        return "it is no file"
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=5, isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            db.execute("ROLLBACK")
    except sqlite3.Error as e:
        return str(e)
    return None


def _mend(where: str) -> str:
    if "://" in where:
        return "--set kimi_db=… names another one"
    folder = Path(where).expanduser().parent
    return f"chmod -R u+rwX '{folder}', or another file: --set kimi_db=…"
