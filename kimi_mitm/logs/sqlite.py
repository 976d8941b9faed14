"""Reading other programs' SQLite files without a lock, a change or a file of ours beside them.  [I/O]

- With a live write-ahead log (`-wal` and `-shm` are there): read-only, shared memory read-only too.
- With a write-ahead log and no shared memory, or a journal to roll back: a copy in a folder of ours.
- Else nobody has written what the file itself does not hold: it is read as immutable, which takes no
  lock that could make its owner wait, and thrown away if it changed meanwhile.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

_TRIES: Final = 3
_LARGEST_COPY: Final = 2 * 1024**3
_JOURNAL_MAGIC: Final = bytes.fromhex("d9d505f920a163d7")  # sqlite.org/fileformat2.html, section 3

type Stamp = tuple[tuple[int, int], ...]


def stamp(path: str) -> Stamp:
    """Size and time of the database, its write-ahead log and its journal; (-1, -1) for what is missing."""
    return tuple(_look(path + suffix) for suffix in ("", "-wal", "-journal"))


def read[T](path: str, use: Callable[[sqlite3.Connection], T]) -> T:
    """What `use` makes of the database. It may be called again when the file changed under it, so it
    must not keep anything between calls.

    Raises `sqlite3.Error` or `OSError` when the file can't be read, or never kept still.
    """
    for attempt in range(_TRIES):
        before = stamp(path)
        try:
            if _live(path):
                return _use(f"{_uri(path)}?mode=ro&readonly_shm=1", use)
            if _unsettled(path):
                result = _copied(path, use)
            else:
                result = _use(f"{_uri(path)}?mode=ro&immutable=1", use)
        except sqlite3.Error:
            # A log left behind by a crash can't be recovered read-only, and a page may be half-written.
            if attempt + 1 == _TRIES:
                return _copied(path, use)
            continue
        if stamp(path) == before:
            return result
    raise sqlite3.OperationalError("the database changed at every try")


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


def _look(path: str) -> tuple[int, int]:
    try:
        stat = os.stat(path)
    except OSError:
        return (-1, -1)
    return (stat.st_size, stat.st_mtime_ns)


def _uri(path: str) -> str:
    return Path(path).absolute().as_uri()


def _live(path: str) -> bool:
    return os.path.exists(path + "-wal") and os.path.exists(path + "-shm")


def _unsettled(path: str) -> bool:
    """True if the file alone isn't the whole database."""
    if _look(path + "-wal")[0] > 0:
        return True
    try:
        with open(path + "-journal", "rb") as journal:
            return journal.read(len(_JOURNAL_MAGIC)) == _JOURNAL_MAGIC
    except OSError:
        return False


def _use[T](uri: str, use: Callable[[sqlite3.Connection], T]) -> T:
    with closing(sqlite3.connect(uri, uri=True, timeout=1.0, isolation_level=None)) as db:
        db.row_factory = sqlite3.Row
        db.text_factory = lambda raw: raw.decode("utf-8", "replace")
        db.execute("PRAGMA query_only = ON")
        return use(db)


def _copied[T](path: str, use: Callable[[sqlite3.Connection], T]) -> T:
    if os.path.getsize(path) > _LARGEST_COPY:
        raise sqlite3.OperationalError("too large to copy")
    with tempfile.TemporaryDirectory(prefix="kimi-mitm-", ignore_cleanup_errors=True) as folder:
        copy = os.path.join(folder, "copy.db")
        for suffix in ("", "-wal", "-journal"):
            if os.path.exists(path + suffix):
                shutil.copyfile(path + suffix, copy + suffix)
        return _use(_uri(copy), use)
