"""What is new in one log file, whatever kind it is.  [I/O]

A tail is made from the state that an earlier one left and gives readings from there on. Files are only
ever opened for reading, and never kept open.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, BinaryIO, Final, Protocol

import xxhash

from kimi_mitm.logs import sqlite
from kimi_mitm.logs.beside import Beside
from kimi_mitm.logs.find import Found
from kimi_mitm.logs.jsonl import MAX_LINE, Lines, table
from kimi_mitm.logs.source import File, LogSource, OpenDatabase, OpenLines, ReadDocument, State, Tally
from kimi_mitm.records import Reading

CHUNK: Final = 1024 * 1024
_CONTEXT: Final = 256 * 1024
"""Read from the start and from before the end of a file whose history isn't wanted: there the session,
the model and the running totals stand."""
_MARK: Final = 256
_LARGEST_DOCUMENT: Final = 128 * 1024 * 1024
_MOST_SEEN: Final = 20_000
_NO_TIME: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Tail(Protocol):
    """Follows one file. `more` is True when `advance` stopped at its limit and not at the end; `history`
    when a part that was skipped has to be read after all, because the file was written anew."""

    more: bool
    history: bool

    def advance(self, found: Found, limit: int) -> Iterator[Reading]:
        """Readings since the last call, reading about `limit` bytes at most; consume it whole.

        Raises `OSError` (or `sqlite3.Error`) when the file can't be read now; nothing is lost then.
        """

    def state(self) -> State:
        """What a later tail of the same file goes on from; JSON can hold it."""


def tail(source: LogSource, path: str, state: State, tally: Tally, since: datetime | None) -> Tail:
    """The tail of a file of `source`. `since`: a database with no state yet gives nothing older."""
    if source.lines:
        return LineTail(source, source.lines, path, state, tally)
    if source.document:
        return DocumentTail(source, source.document, path, state, tally)
    assert source.database
    return DatabaseTail(source, source.database, path, state, tally, since)


def _file(source: LogSource, path: str, modified_ns: int, tally: Tally, beside: Beside) -> File:
    modified = datetime.fromtimestamp(modified_ns / 1e9, UTC)
    return File(path=path, source=source.name, modified=modified, tally=tally, beside=beside)


class LineTail:
    """Follows a file of lines: by offset, with a mark of the bytes before it, so that a file that was
    truncated, replaced or rewritten is noticed and read anew."""

    def __init__(
        self, source: LogSource, open_reader: OpenLines, path: str, state: State, tally: Tally
    ) -> None:
        self._source = source
        self.more = False
        self.history = state.get("history") is True
        self._skipped = state.get("skipped") is True
        self._open = open_reader
        self._path = path
        self._beside = Beside(path)
        self._tally = tally
        self._lines: Lines | None = None
        self._saved = state
        self._position = 0
        self._mark = str(state.get("mark", ""))
        self._tip = ""

    def state(self) -> State:
        if self._lines is None:
            return self._saved
        return {
            "offset": self._lines.offset,
            "number": self._lines.number,
            "mark": self._mark,
            "skipped": self._skipped,
            "history": self.history,
            "reader": dict(self._lines.reader.state()),
        }

    def skip(self, found: Found) -> None:
        """Takes the file as read up to its present size; the context is looked at, nothing is given."""
        scratch = Lines(self._open(self._file(found, Tally()), {}), Tally())
        with open(self._path, "rb") as file:
            end = _line_start(file, found.size)
            head = min(end, _CONTEXT)
            file.seek(0)
            _drain(scratch.feed(file.read(head)))
            if end > head:
                begin = _line_start(file, max(head, end - _CONTEXT))
                scratch = Lines(scratch.reader, Tally(), begin)
                file.seek(begin)
                _drain(scratch.feed(file.read(end - begin)))
            number = _count_lines(file, end)
            reader = self._open(self._file(found, self._tally), scratch.reader.state())
            self._lines = Lines(reader, self._tally, end, number)
            self._position = end
            self._skipped = end > 0
            self._mark = self._tip = _fingerprint(file, end)

    def advance(self, found: Found, limit: int) -> Iterator[Reading]:
        with open(self._path, "rb") as file, self._beside.once():
            lines = self._at_offset(file, found)
            file.seek(self._position)
            read = 0
            while read < limit and (data := file.read(min(CHUNK, limit - read))):
                read += len(data)
                self._position += len(data)
                yield from lines.feed(data)
            self.more = read >= limit
            if read:
                self._mark = _fingerprint(file, lines.offset)
                self._tip = _fingerprint(file, self._position)

    def finish(self) -> Iterator[Reading]:
        """Reads a last line that has no end yet."""
        if self._lines:
            yield from self._lines.finish()

    def _file(self, found: Found, tally: Tally) -> File:
        return _file(self._source, self._path, found.modified, tally, self._beside)

    def _at_offset(self, file: BinaryIO, found: Found) -> Lines:
        size = os.fstat(file.fileno()).st_size
        lines = self._lines
        offset, number = (lines.offset, lines.number) if lines else self._place()
        fits = offset <= size and (not offset or _fingerprint(file, offset) == self._mark)
        if not fits:
            self.history = self._skipped
            offset, number = 0, 0
        half_gone = self._position > size or _fingerprint(file, self._position) != self._tip
        if lines is None or not fits or half_gone:
            if lines and fits:
                state: State = lines.reader.state()
            else:
                state = table(self._saved, "reader") if fits else {}
            reader = self._open(self._file(found, self._tally), state)
            lines = self._lines = Lines(reader, self._tally, offset, number)
            self._position = offset
        return lines

    def _place(self) -> tuple[int, int]:
        offset, number = self._saved.get("offset"), self._saved.get("number")
        return (offset, number) if isinstance(offset, int) and isinstance(number, int) else (0, 0)


class _Seen:
    """What was given already, by key: it is not given again until it says something else."""

    def __init__(self, state: State) -> None:
        self.digests = {key: value for key, value in state.items() if isinstance(value, str)}

    def new(self, readings: Iterable[Reading]) -> Iterator[Reading]:
        for reading in readings:
            digest = _digest(reading)
            if self.digests.pop(reading.key, None) != digest:
                yield reading
            self.digests[reading.key] = digest
        while len(self.digests) > _MOST_SEEN:
            del self.digests[next(iter(self.digests))]


class DocumentTail:
    """Follows a file that is rewritten whole: reads it again, and gives what differs from last time."""

    def __init__(self, source: LogSource, read: ReadDocument, path: str, state: State, tally: Tally) -> None:
        self._source = source
        self.more = False
        self.history = False
        self._read = read
        self._path = path
        self._tally = tally
        self._seen = _Seen(table(state, "seen"))

    def state(self) -> State:
        return {"seen": self._seen.digests}

    def skip(self, found: Found) -> None:
        """Takes all that the file has now as given."""
        kept, self._tally = self._tally, Tally()
        _drain(self.advance(found, 0))
        self._tally = kept

    def advance(self, found: Found, limit: int) -> Iterator[Reading]:
        if found.size > _LARGEST_DOCUMENT:
            raise OSError(f"too large: {found.size} bytes")
        with open(self._path, "rb") as file:
            data = file.read()
        about = _file(self._source, self._path, found.modified, self._tally, Beside(self._path))
        yield from self._seen.new(self._read(data, about))


class DatabaseTail:
    """Follows a SQLite database: asks its reader for what is new."""

    def __init__(
        self,
        source: LogSource,
        open_reader: OpenDatabase,
        path: str,
        state: State,
        tally: Tally,
        since: datetime | None,
    ) -> None:
        self._source = source
        self.more = False
        self.history = False
        self._open = open_reader
        self._path = path
        self._state = table(state, "reader")
        self._tally = tally
        self._since = since
        self._seen = _Seen({})

    def state(self) -> State:
        return {"reader": self._state}

    def advance(self, found: Found, limit: int) -> Iterator[Reading]:
        def use(db: sqlite3.Connection) -> tuple[list[Reading], State, Tally]:
            tally = Tally()
            about = _file(self._source, self._path, found.modified, tally, Beside(self._path))
            reader = self._open(about, self._state)
            return list(reader.read(db, self._since)), reader.state(), tally

        readings, state, tally = sqlite.read(self._path, use)
        self._state = dict(state)
        self._tally.add(tally)
        yield from self._seen.new(readings)


def _digest(reading: Reading) -> str:
    """Names what a reading says; not where it was read, nor when, for some have no time but the file's."""
    return xxhash.xxh3_64_hexdigest(repr(replace(reading, origin="", at=_NO_TIME)).encode())


def _drain(readings: Iterator[Any]) -> None:
    for _ in readings:
        pass


def mark(path: str, size: int) -> str:
    """Names a file's first bytes and those before `size`; empty when it can't be read."""
    try:
        with open(path, "rb") as file:
            return _fingerprint(file, size)
    except OSError:
        return ""


def _fingerprint(file: BinaryIO, offset: int) -> str:
    """Names the file's first bytes and those before `offset`."""
    file.seek(0)
    first = file.read(min(_MARK, offset))
    file.seek(max(0, offset - _MARK))
    return xxhash.xxh3_64_hexdigest(first + file.read(min(_MARK, offset)))


def _line_start(file: BinaryIO, end: int) -> int:
    """Where the line that goes on at `end` begins."""
    stop = max(0, end - MAX_LINE)
    while end > stop:
        begin = max(stop, end - CHUNK)
        file.seek(begin)
        cut = file.read(end - begin).rfind(b"\n")
        if cut >= 0:
            return begin + cut + 1
        end = begin
    return end


def _count_lines(file: BinaryIO, end: int) -> int:
    file.seek(0)
    count = 0
    while end > 0 and (data := file.read(min(CHUNK, end))):
        count += data.count(b"\n")
        end -= len(data)
    return count
