"""What a log source is: where a client keeps its log, and how records in it become readings.

A source is one row in `logs.SOURCES` and a reader in one module of this package. Readers have no I/O
and no clock: they get bytes, or an open read-only database, and give `records.Reading`. Whatever the
bytes hold, they raise nothing; what they don't know they pass over, and count in a `Tally`.

Keys of readings are stable: the same record read again, or grown in the meantime, has the same key,
and the later reading replaces the earlier one (see `Distinct`).

A reading without figures, ids and problem is a note on its session: a title, a folder, a branch that
the client wrote down apart from its answers. It is no exchange (see `is_note`).
"""

from __future__ import annotations

import enum
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol, runtime_checkable

from kimi_mitm.records import Reading

_KEYS_KEPT: Final = 10_000

type State = Mapping[str, Any]
"""What a reader must know to go on where it stopped; JSON can hold it."""


def is_note(reading: Reading) -> bool:
    """True for a reading that says something of a session and nothing of any exchange."""
    return not reading.usage and not reading.ids and reading.problem is None


class Distinct:
    """Leaves out a reading that would take the place of a better one: some clients write the same call
    into two files, under one key, and only one of them has the ids that tie it to the wire."""

    def __init__(self) -> None:
        self._with_ids: dict[str, None] = {}

    def of(self, readings: Iterable[Reading]) -> tuple[Reading, ...]:
        """The readings worth keeping, in order."""
        kept = []
        for reading in readings:
            if reading.ids:
                self._with_ids[reading.key] = None
            elif reading.key in self._with_ids:
                continue
            kept.append(reading)
        while len(self._with_ids) > _KEYS_KEPT:
            del self._with_ids[next(iter(self._with_ids))]
        return tuple(kept)


class Kind(enum.StrEnum):
    """How a client writes the file, and so how it is followed."""

    LINES = "lines"
    """Only ever appended to, line by line."""
    DOCUMENT = "document"
    """Rewritten whole whenever something changes."""
    DATABASE = "database"
    """SQLite."""


@dataclass(slots=True)
class Tally:
    """What one source saw. A source whose `seen` grows while `understood` stays at nought has met a
    format that it doesn't know.

    `seen`: records (lines, messages, rows) looked at; `understood`: those of a known kind, with or
    without figures; `readings`: those that gave one; `rejected`: single figures out of bounds or of a
    wrong type, left out of a record that was otherwise kept; `failed`: records at which the reader
    itself failed, which is our mistake.
    """

    seen: int = 0
    understood: int = 0
    readings: int = 0
    rejected: int = 0
    failed: int = 0

    def add(self, other: Tally) -> None:
        """Adds what another tally counted."""
        self.seen += other.seen
        self.understood += other.understood
        self.readings += other.readings
        self.rejected += other.rejected
        self.failed += other.failed


def _nothing_beside(name: str) -> bytes | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """The file a reader is made for.

    `path`: as text, with the system's separators; readers take ids that only the name holds from it.
    `source`: the source's name, for `Reading.log`; where a reader leaves that out it is added later.
    `modified`: UTC; the time of records that have none of their own.
    `beside`: gives the bytes of a file relative to this one's folder (`state.json`,
    `../session.json`), None when there is none; for titles and the like, asked for sparingly.
    """

    path: str
    source: str | None = None
    modified: datetime | None = None
    tally: Tally = field(default_factory=Tally)
    beside: Callable[[str], bytes | None] = _nothing_beside


class LineReader(Protocol):
    """Reads a file of kind `LINES`, whole lines in order."""

    def feed(self, line: bytes, number: int) -> Iterable[Reading]:
        """Takes one line without its end; `number` counts from 1. A record spanning lines may give
        a reading early and again, under the same key, when more of it is known."""

    def state(self) -> State:
        """What the next reader of this file needs. Small: it is stored after every batch."""


@runtime_checkable
class SkippingReader(LineReader, Protocol):
    """Reads a file whose short lines mostly say nothing: finding the others is quicker than reading all."""

    def skip(self, data: bytes, start: int, end: int) -> int:
        """Where between `start` and `end` the next line begins that must be fed, `end` when none does.
        Both are beginnings of lines."""


class DatabaseReader(Protocol):
    """Reads a file of kind `DATABASE`."""

    def read(self, db: sqlite3.Connection, since: datetime | None) -> Iterable[Reading]:
        """Gives what is new or changed since the state it was made with; with an empty state, what is
        not older than `since` (all, when None). Rows are `sqlite3.Row`. Giving a row twice is allowed,
        missing one is not. A missing table or column is passed over (see `sqlite.rows`)."""

    def state(self) -> State:
        """As in `LineReader`."""


type ReadDocument = Callable[[bytes, File], Iterable[Reading]]
"""Reads a whole file of kind `DOCUMENT`."""

type OpenLines = Callable[[File, State], LineReader]
type OpenDatabase = Callable[[File, State], DatabaseReader]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Files of one source: a glob below a root.

    `root`: begins with `{home}`, `{data}` (XDG's, on every system), `{config}` (likewise), `{appdata}`
    (the system's own: `~/.config`, `~/Library/Application Support`, `%APPDATA%`) or `{vscode}` (the
    `User` folder of every VS Code, fork and server). `env`: a variable that names the root instead.
    `pattern`: glob below the root; `**` goes any number of folders down.
    `registry`: `pattern` holds for folders that a file names, not below the root: the root is that
    file, and `registry` reads it.
    `watch`: False where the root is too wide for change notices; it is polled then.
    """

    root: str
    pattern: str
    env: str | None = None
    registry: Callable[[bytes], Iterable[str]] | None = None
    watch: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSource:
    """One row of the table: exactly one of `lines`, `document` and `database` is given.

    `name` is what `kimi_logs` and `/health` call it; `client` is the client's name as on the wire, and
    names it in `kimi_logs` too.
    """

    name: str
    client: str
    places: tuple[Place, ...]
    lines: OpenLines | None = None
    document: ReadDocument | None = None
    database: OpenDatabase | None = None

    @property
    def kind(self) -> Kind:
        if self.lines:
            return Kind.LINES
        return Kind.DOCUMENT if self.document else Kind.DATABASE
