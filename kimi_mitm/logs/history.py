"""Reading what the clients' logs already hold, on request.  [I/O]"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Final

from kimi_mitm.logs.collect import READ_AT_ONCE
from kimi_mitm.logs.find import Finder, Found
from kimi_mitm.logs.follow import Take
from kimi_mitm.logs.source import Distinct, LogSource, Tally
from kimi_mitm.logs.tail import LineTail, Tail, tail
from kimi_mitm.records import Reading

log: Final = logging.getLogger(__name__)

_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the reading has come; `unreadable` files were passed over."""

    source: str = ""
    files_done: int = 0
    files: int = 0
    bytes_done: int = 0
    bytes: int = 0
    readings: int = 0
    unreadable: int = 0


async def import_logs(
    sources: Sequence[LogSource],
    home: Path,
    take: Take,
    *,
    since: datetime | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
    env: Mapping[str, str] | None = None,
    platform: str = sys.platform,
) -> Progress:
    """Gives every record in every file that is there, from `since` on, and says how far it is after each
    file. It moves no place that `follow` saved; giving a record twice is harmless, its key is the same.
    """
    if env is None:
        env = os.environ if home == Path.home() else {}
    finders = [Finder(source, home, env, platform) for source in sources]
    work = await asyncio.to_thread(lambda: [(one.source, file) for one in finders for file in one.files()])
    state = Progress(files=len(work), bytes=sum(file.size for _, file in work))
    distinct = Distinct()
    for source, found in work:
        readings = read_whole(source, found, since, Tally())
        count, failed = 0, 0
        try:
            while some := await asyncio.to_thread(lambda left: list(islice(left, _AT_ONCE)), readings):
                if kept := distinct.of(some):
                    await take(kept)
                    count += len(kept)
        except Exception as error:  # whatever is wrong with one file, the others are read
            log.warning("%s: can't read %s: %r", source.name, found.path, error)
            failed = 1
        state = replace(
            state,
            source=source.name,
            files_done=state.files_done + 1,
            bytes_done=state.bytes_done + found.size,
            readings=state.readings + count,
            unreadable=state.unreadable + failed,
        )
        progress(state)
    return state


def read_whole(source: LogSource, found: Found, since: datetime | None, tally: Tally) -> Iterator[Reading]:
    """Every reading in one file, from `since` on, its last line included even if it has no end yet.

    Raises `OSError` or `sqlite3.Error` when the file can't be read.
    """
    reader = tail(source, found.path, {}, tally, since)
    for reading in _all(reader, found):
        if since is None or reading.at >= since:
            yield reading if reading.log else replace(reading, log=source.name)


def _all(reader: Tail, found: Found) -> Iterator[Reading]:
    yield from reader.advance(found, READ_AT_ONCE)
    while reader.more:
        yield from reader.advance(found, READ_AT_ONCE)
    if isinstance(reader, LineTail):
        yield from reader.finish()
