"""Reading other programs' SQLite files without leaving a trace beside them.  [I/O]"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any


def rows(
    db: sqlite3.Connection, sql: str, parameters: dict[str, Any] | tuple[Any, ...] = ()
) -> Iterator[sqlite3.Row]:
    """The rows of a query; none when a table or column that it names is not there."""
    try:
        yield from db.execute(sql, parameters)
    except sqlite3.OperationalError as error:
        if "no such" not in str(error):
            raise


def columns(db: sqlite3.Connection, table: str) -> frozenset[str]:
    """The names of a table's columns; none when there is no such table."""
    return frozenset(row[0] for row in db.execute("SELECT name FROM pragma_table_info(?)", (table,)))
