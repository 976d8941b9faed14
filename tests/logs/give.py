"""Gives readers what they read, out of values in a test."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from kimi_mitm.logs.source import DatabaseReader, File, LineReader, ReadDocument, State, Tally
from kimi_mitm.records import Reading

MODIFIED = datetime(2026, 3, 2, 10, tzinfo=UTC)


def at(clock: str) -> datetime:
    """A time on 2 March 2026, UTC."""
    return datetime.fromisoformat(f"2026-03-02T{clock}+00:00")


def ms(clock: str) -> int:
    """The same in milliseconds since 1970."""
    return round(at(clock).timestamp() * 1000)


def file(path: str = "/logs/file", beside: Mapping[str, Any] | None = None) -> File:
    """A file with others beside it, by relative name: bytes, or a value to be written as JSON."""
    others = {
        name: value if isinstance(value, bytes) else json.dumps(value).encode()
        for name, value in (beside or {}).items()
    }
    return File(path=path, modified=MODIFIED, tally=Tally(), beside=others.get)


def lines(
    reader: Callable[[File, State], LineReader], given: Iterable[Any], about: File | None = None
) -> list[Reading]:
    """What a reader makes of lines: text as it is, anything else as JSON. It is made anew for every
    line, out of its own state as JSON keeps it, as after a restart."""
    about = about or file()
    found: list[Reading] = []
    state: State = {}
    for number, line in enumerate(given, 1):
        raw = line if isinstance(line, str) else json.dumps(line)
        made = reader(about, json.loads(json.dumps(dict(state))))
        found += made.feed(raw.encode(), number)
        state = made.state()
    return found


def document(read: ReadDocument, doc: Any, about: File | None = None) -> list[Reading]:
    """What a reader makes of a whole file."""
    return list(read(doc.encode() if isinstance(doc, str) else json.dumps(doc).encode(), about or file()))


class Database:
    """A database in memory, read again and again by readers that go on from the last one's state."""

    def __init__(self, reader: Callable[[File, State], DatabaseReader], about: File | None = None) -> None:
        self.db = sqlite3.connect(":memory:")
        self.db.row_factory = sqlite3.Row
        self.file = about or file()
        self._reader = reader
        self._state: State = {}

    def __del__(self) -> None:
        self.db.close()

    def table(self, name: str, columns: str) -> None:
        self.db.execute(f"CREATE TABLE {name} ({columns})")

    def add(self, table: str, **values: Any) -> None:
        row: Sequence[Any] = [json.dumps(v) if isinstance(v, (dict, list)) else v for v in values.values()]
        marks = ", ".join("?" for _ in row)
        self.db.execute(f"INSERT OR REPLACE INTO {table} ({', '.join(values)}) VALUES ({marks})", row)

    def read(self, since: datetime | None = None) -> list[Reading]:
        reader = self._reader(self.file, json.loads(json.dumps(dict(self._state))))
        found = list(reader.read(self.db, since))
        self._state = reader.state()
        return found
