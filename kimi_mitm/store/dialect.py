"""INSERTs that can meet a row that is there already, in the words of whichever database it is.

They are made once: SQLAlchemy takes longer to build and to compare one than the database to run it. Only
the dialect in use is loaded.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

from sqlalchemy import Table
from sqlalchemy.ext.asyncio import AsyncConnection


def upsert(connection: AsyncConnection, table: Table, key: str) -> Any:
    """Writes over the row with the same `key`."""
    return _upsert(_name(connection), table, key)


def insert_new(connection: AsyncConnection, table: Table) -> Any:
    """Leaves a row that is there already as it is."""
    return _insert_new(_name(connection), table)


def _name(connection: AsyncConnection) -> str:
    return "postgresql" if connection.dialect.name == "postgresql" else "sqlite"


def _insert(dialect: str, table: Table) -> Any:
    return import_module(f"sqlalchemy.dialects.{dialect}").insert(table)


@cache
def _upsert(dialect: str, table: Table, key: str) -> Any:
    statement = _insert(dialect, table)
    kept = {column.name for column in table.primary_key.columns} | {key}
    changed = {c.name: statement.excluded[c.name] for c in table.columns if c.name not in kept}
    return statement.on_conflict_do_update(index_elements=[key], set_=changed)


@cache
def _insert_new(dialect: str, table: Table) -> Any:
    return _insert(dialect, table).on_conflict_do_nothing()
