"""Feeding readers in tests: lines as JSON, files beside them as a table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from kimi_mitm.logs.find import Found
from kimi_mitm.logs.history import read_whole
from kimi_mitm.logs.source import Distinct, File, LogSource, OpenLines, Tally
from kimi_mitm.records import Reading

MODIFIED = datetime(2026, 3, 2, 12, tzinfo=UTC)


def feed(
    open_reader: OpenLines,
    *lines: Mapping[str, Any] | str,
    path: str = "/home/dev/log.jsonl",
    beside: Mapping[str, Any] | None = None,
    tally: Tally | None = None,
    restart_before: int | None = None,
) -> list[Reading]:
    """What a reader gives for these lines; `restart_before`: from there on another reader goes on."""

    def text_beside(name: str) -> bytes | None:
        found = (beside or {}).get(name)
        if found is None:
            return None
        return found.encode() if isinstance(found, str) else json.dumps(found).encode()

    file = File(path=path, modified=MODIFIED, tally=tally or Tally(), beside=text_beside)
    reader = open_reader(file, {})
    readings: list[Reading] = []
    for number, line in enumerate(lines, 1):
        if number == restart_before:
            state = msgspec.json.decode(msgspec.json.encode(dict(reader.state())))
            reader = open_reader(file, state)
        raw = line if isinstance(line, str) else json.dumps(line)
        readings += reader.feed(raw.encode(), number)
    return readings


def sample(source: LogSource, path: Path) -> list[Reading]:
    """The readings of one whole sample file, by key, as they stand in the end."""

    stat = path.stat()
    found = Found(str(path), stat.st_size, stat.st_mtime_ns, stat.st_ino)
    kept: dict[str, Reading] = {}
    for reading in Distinct().of(read_whole(source, found, None, Tally())):
        kept[reading.key] = reading
    return list(kept.values())


def figures(reading: Reading) -> tuple[int | None, ...]:
    """Input, output, cache read, cache write, reasoning."""
    usage = reading.usage
    return (
        usage.input_tokens,
        usage.output_tokens,
        usage.cache_read_tokens,
        usage.cache_write_tokens,
        usage.reasoning_tokens,
    )
