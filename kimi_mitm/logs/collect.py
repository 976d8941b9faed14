"""All files of one log source: which of them changed, and what is new in them.  [I/O]

History isn't wanted here: a file that was there at the first start is taken as read up to its end.
What was there but can't be told from what is new (a file that changed while we were away and whose
place nobody saved) is read whole, and its readings from before the first start are left out.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import msgspec

from kimi_mitm.logs import sqlite
from kimi_mitm.logs.find import Finder, Found
from kimi_mitm.logs.jsonl import decode, table
from kimi_mitm.logs.source import Kind, LogSource, Tally
from kimi_mitm.logs.tail import DocumentTail, LineTail, Tail, mark, tail
from kimi_mitm.records import Reading

log: Final = logging.getLogger(__name__)

READ_AT_ONCE: Final = 4 * 1024 * 1024
_OPEN_TAILS: Final = 256
_REST: Final = 20
"""A file that must be read whole each time is left alone for this many times as long as that took: some
clients rewrite megabytes several times a second."""
_WORTH_SAVING: Final = 1024 * 1024
"""A file larger than this has its place saved at first sight; a smaller one is cheaper to read again."""
_BASELINE_FILES: Final = 500
_BASELINE_SIZE: Final = 8 * 1024 * 1024
_RECENT_NS: Final = 30 * 86_400 * 1_000_000_000

type Stamp = tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Readings, and the places to save once they are kept: key → JSON."""

    readings: tuple[Reading, ...] = ()
    places: Mapping[str, str]


class Collector:
    """Follows the files of one source. Not thread-safe; one call at a time."""

    def __init__(self, finder: Finder, saved: Mapping[str, str], since: datetime) -> None:
        self.source: LogSource = finder.source
        self.finder = finder
        self.tally = Tally()
        self.unreadable: set[str] = set()
        self.last_reading_at: datetime | None = None
        self._since = since
        self._stamps: dict[str, Stamp] = {}
        self._rested: dict[str, Found] = {}
        self._filtered: set[str] = set()
        self._not_before: dict[str, float] = {}
        self._marks: dict[str, str] = {}
        self._tails: OrderedDict[str, Tail] = OrderedDict()
        self._saved = {path: text for path, text in saved.items() if path.startswith(f"{self.source.name}:")}

    @property
    def files(self) -> int:
        return len(self._stamps)

    def begin(self, first: bool) -> Batch:
        """Takes stock of what is there. `first`: no earlier run has ever followed these logs."""
        places = {}
        fresh = []
        since_ns = int(self._since.timestamp() * 1e9)
        for found in self.finder.files():
            key, stamp = self._key(found.path), self._stamp(found)
            if key in self._saved:
                if tuple(self._state(found.path).get("stamp", ())) == stamp:
                    self._stamps[found.path] = stamp
            elif found.modified < since_ns:
                self._stamps[found.path] = stamp
                self._rested[found.path] = found
                fresh.append(found)
                if found.size > _WORTH_SAVING and self.source.kind is Kind.LINES:
                    places[key] = self._saved[key] = _json({"stamp": stamp, "rest": found.size})
            else:
                self._filtered.add(found.path)
        newest = sorted(fresh, key=lambda found: found.modified, reverse=True)[:_BASELINE_FILES]
        if self.source.kind is Kind.DOCUMENT:
            self._baseline(newest)
        elif self.source.kind is Kind.LINES:
            self._marks = {found.path: mark(found.path, found.size) for found in newest}
        return Batch(places=places)

    def changed(self) -> list[Found]:
        """Looks at every file, and gives those that are not as they were, the longest untouched first."""
        found = sorted(self.finder.files(), key=lambda file: file.modified)
        for path in self._stamps.keys() - {file.path for file in found}:
            self._forget(path)
        return [file for file in found if self._stamps.get(file.path) != self._stamp(file)]

    def touched(self, paths: Iterable[str]) -> list[Found]:
        """Of the paths that a notice named, the files of this source that are not as they were."""
        named = {path.removesuffix("-wal").removesuffix("-journal") for path in paths}
        now = time.monotonic()
        due = (path for path in sorted(named) if self._not_before.get(path, now) <= now)
        files = (self.finder.match(path) for path in due)
        return [file for file in files if file and self._stamps.get(file.path) != self._stamp(file)]

    def read(self, found: Found) -> Iterator[Batch]:
        """What is new in one file, in batches of bounded size. A file that can't be read gives nothing,
        counts as unreadable, and is tried again at the next look."""
        stamp, began = self._stamp(found), time.monotonic()
        try:
            follower = self._tail(found)
            while True:
                readings = tuple(self._wanted(follower, found))
                reached = () if follower.more else stamp
                state: dict[str, Any] = {"stamp": reached, "tail": follower.state()}
                if found.path in self._filtered:
                    state["filtered"] = True
                self._stamps[found.path] = reached
                place = self._saved[self._key(found.path)] = _json(state)
                yield Batch(readings=readings, places={self._key(found.path): place})
                if not follower.more:
                    break
        except FileNotFoundError:
            self._forget(found.path)
        except (OSError, sqlite3.Error, MemoryError) as error:
            self._give_up(found.path, error)
        except Exception as error:  # a mistake in one reader must not end the following of all the others
            self.tally.failed += 1
            self._give_up(found.path, error)
        else:
            self.unreadable.discard(found.path)
            if self.source.kind is not Kind.LINES:
                now = time.monotonic()
                self._not_before[found.path] = now + (now - began) * _REST

    def _wanted(self, follower: Tail, found: Found) -> Iterator[Reading]:
        for reading in follower.advance(found, READ_AT_ONCE):
            if reading.at < self._since and (follower.history or found.path in self._filtered):
                continue
            if self.last_reading_at is None or reading.at > self.last_reading_at:
                self.last_reading_at = reading.at
            yield reading if reading.log else replace(reading, log=self.source.name)

    def _tail(self, found: Found) -> Tail:
        path = found.path
        if follower := self._tails.get(path):
            self._tails.move_to_end(path)
            return follower
        state = self._state(path)
        if state.get("filtered") is True:
            self._filtered.add(path)
        follower = tail(self.source, path, table(state, "tail"), self.tally, self._since)
        if rested := self._rest(found, state):
            if isinstance(follower, LineTail) and self._only_grew(rested, found):
                follower.skip(rested)
            else:
                self._filtered.add(path)
            self._rested.pop(path, None)
        self._tails[path] = follower
        while len(self._tails) > _OPEN_TAILS:
            self._tails.popitem(last=False)
        return follower

    def _only_grew(self, rested: Found, found: Found) -> bool:
        known = self._marks.pop(found.path, None)
        return (
            rested.inode == found.inode
            and rested.size <= found.size
            and known in (None, mark(found.path, rested.size))
        )

    def _rest(self, found: Found, state: Mapping[str, Any]) -> Found | None:
        """The file as it was when it was taken as read, if nothing has been read of it since."""
        match state:
            case {"rest": int(size), "stamp": [_, _, int(inode)]}:
                return replace(found, size=size, inode=inode)
        return self._rested.get(found.path)

    def _baseline(self, files: list[Found]) -> None:
        """Reads recent documents once, so that only what comes to them later is news."""
        oldest = int(self._since.timestamp() * 1e9) - _RECENT_NS
        for found in files:
            if found.modified < oldest or found.size > _BASELINE_SIZE:
                continue
            follower = tail(self.source, found.path, {}, self.tally, self._since)
            assert isinstance(follower, DocumentTail)
            try:
                follower.skip(found)
            except OSError:
                continue
            self._saved[self._key(found.path)] = _json(
                {"stamp": self._stamp(found), "tail": follower.state()}
            )
            del self._rested[found.path]

    def _give_up(self, path: str, error: Exception) -> None:
        if path not in self.unreadable:
            log.warning("%s: can't read %s: %r", self.source.name, path, error)
        self.unreadable.add(path)
        self._tails.pop(path, None)

    def _forget(self, path: str) -> None:
        self._stamps.pop(path, None)
        self._not_before.pop(path, None)
        self._tails.pop(path, None)

    def _key(self, path: str) -> str:
        return f"{self.source.name}:{path}"

    def _state(self, path: str) -> dict[str, Any]:
        return decode(self._saved.get(self._key(path), "")) or {}

    def _stamp(self, found: Found) -> Stamp:
        if self.source.kind is Kind.DATABASE:
            return tuple(number for pair in sqlite.stamp(found.path) for number in pair)
        return (found.size, found.modified, found.inode)


def _json(state: Mapping[str, Any]) -> str:
    return msgspec.json.encode(state).decode()
