"""Looking into records that may hold anything: JSON without surprises, times, and lines out of bytes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from kimi_mitm.logs.source import LineReader, SkippingReader, Tally
from kimi_mitm.records import Reading

MAX_LINE: Final = 64 * 1024 * 1024
"""Longest line that is kept; pasted images make lines of several MB."""

_decode = msgspec.json.Decoder().decode
_EARLIEST: Final = datetime(2010, 1, 1, tzinfo=UTC)  # no client is older: what is earlier is no time
_LATEST: Final = datetime(2100, 1, 1, tzinfo=UTC)
_UNITS: Final = tuple(
    (unit, _EARLIEST.timestamp() * unit, _LATEST.timestamp() * unit)
    for unit in (1, 1_000, 1_000_000, 1_000_000_000)
)


def decode(data: bytes | str) -> dict[str, Any] | None:
    """The JSON object in `data`, or None when there is none."""
    doc = decode_any(data)
    return doc if isinstance(doc, dict) else None


def decode_any(data: bytes | str) -> Any:
    """The JSON value in `data`, or None when it isn't JSON, or too deep."""
    try:
        return _decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError, ValueError):
        return None


def dig(doc: Any, *path: str) -> Any:
    """The value below `doc` along `path`, or None where something on the way is no object."""
    for name in path:
        if not isinstance(doc, dict):
            return None
        doc = doc.get(name)
    return doc


def table(doc: Any, *path: str) -> dict[str, Any]:
    """As `dig`, for an object; an empty one where there is none."""
    for name in path:  # not by way of `dig`: with `text` it is called several times for every record
        if not isinstance(doc, dict):
            return {}
        doc = doc.get(name)
    return doc if isinstance(doc, dict) else {}


def items(doc: Any, *path: str) -> list[Any]:
    """As `dig`, for an array; an empty one where there is none."""
    found = dig(doc, *path)
    return found if isinstance(found, list) else []


def text(doc: Any, *path: str) -> str | None:
    """As `dig`, for text that isn't empty."""
    for name in path:
        if not isinstance(doc, dict):
            return None
        doc = doc.get(name)
    return doc if isinstance(doc, str) and doc else None


def iso_time(value: Any) -> datetime | None:
    """UTC time from ISO 8601 text; a time without a zone is taken as UTC."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment if _EARLIEST <= moment <= _LATEST else None


def epoch_time(value: Any) -> datetime | None:
    """UTC time from seconds, milliseconds, microseconds or nanoseconds since 1970, told apart by size."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    for unit, earliest, latest in _UNITS:
        if earliest <= value <= latest:
            return datetime.fromtimestamp(value / unit, UTC)
    return None


def earlier(at: datetime, ms: Any) -> datetime | None:
    """The moment that many milliseconds before `at`, as far as a day back; None if `ms` is no such number."""
    if isinstance(ms, bool) or not isinstance(ms, (int, float)) or not 0 <= ms <= 86_400_000:
        return None
    return at - timedelta(milliseconds=ms)


class Lines:
    """Cuts bytes into lines and feeds them to a reader, however the bytes are split.

    `offset` is where the first byte lies that no complete line holds yet; reading goes on from there
    with `number` lines behind it. A line longer than `MAX_LINE` is passed over.
    """

    def __init__(self, reader: LineReader, tally: Tally, offset: int = 0, number: int = 0) -> None:
        self.reader = reader
        self._tally = tally
        self.offset = offset
        self.number = number
        self._rest = bytearray()
        self._length = 0
        self._skip = reader.skip if isinstance(reader, SkippingReader) else None

    def feed(self, data: bytes) -> Iterator[Reading]:
        """Takes the next bytes of the file; consume the iterator before the next call."""
        start, end = 0, data.rfind(b"\n") + 1
        while start < end:
            if (
                self._skip is not None
                and not self._length
                and (begin := self._skip(data, start, end)) > start
            ):
                passed = data.count(b"\n", start, begin)
                self._tally.seen += passed
                self.number += passed
                self.offset += begin - start
                start = begin
                continue
            cut = data.index(b"\n", start)
            line, length, fits = data[start:cut], cut - start, True
            if self._length:
                self._keep(line)
                line, length, fits = bytes(self._rest), self._length, self._length <= MAX_LINE
                self._rest.clear()
                self._length = 0
            self.offset += length + 1
            self.number += 1
            start = cut + 1
            if fits:
                yield from self._line(line.removesuffix(b"\r"), self.number)
        self._keep(data[start:])

    def finish(self) -> Iterator[Reading]:
        """Reads a last line that has no end yet; it will be read again once it has one."""
        if self._rest:
            yield from self._line(bytes(self._rest), self.number + 1)

    def _line(self, line: bytes, number: int) -> Iterator[Reading]:
        try:
            yield from self.reader.feed(line, number)
        except Exception:  # one line that a reader stumbles over must not stop all that follow it
            self._tally.failed += 1

    def _keep(self, data: bytes) -> None:
        self._length += len(data)
        if self._length <= MAX_LINE:
            self._rest += data
        else:
            self._rest.clear()
