"""An INSERT that can meet a row that is there already, in the words of whichever database it is."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from sqlalchemy import Table
from sqlalchemy.ext.asyncio import AsyncConnection


def insert(connection: AsyncConnection, table: Table) -> Any:
    """The dialect's own INSERT, which has `on_conflict_do_update` and `on_conflict_do_nothing`; only the
    dialect in use is loaded."""
    name = "postgresql" if connection.dialect.name == "postgresql" else "sqlite"
    return import_module(f"sqlalchemy.dialects.{name}").insert(table)
