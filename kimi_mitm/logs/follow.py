"""Following the clients' logs as they grow.  [I/O]

Change notices say where to look; a slow poll behind them finds what they missed, and folders that
appear later. Files are looked at and read in a thread.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

from kimi_mitm.logs import SOURCES
from kimi_mitm.logs.collect import Batch, Collector
from kimi_mitm.logs.find import Finder, Found
from kimi_mitm.logs.jsonl import iso_time
from kimi_mitm.logs.source import Distinct, LogSource
from kimi_mitm.logs.watch import Watcher
from kimi_mitm.records import Reading

POLL_S: Final = 60.0
_POLL_BLIND_S: Final = 10.0
_APPEAR_S: Final = 5.0
_HOT_S: Final = 1.0
_HOT_FOR: Final = (
    60  # looks at a file after it changed: a notice may be lost, its writer seldom stops at once
)
_MOST_HOT: Final = 64
_PUZZLED_AFTER: Final = 20
_SINCE: Final = "since"

type Work = list[tuple[Collector, Found]]

type Take = Callable[[tuple[Reading, ...]], Awaitable[None]]
"""Keeps readings. Once it has returned, they are not given again; before that, they may be."""


class Offsets(Protocol):
    """Where the places in the logs are kept; the store is one."""

    async def offsets(self) -> dict[str, str]:
        """All places: key → JSON."""

    def save_offset(self, path: str, state: str | None) -> None:
        """Keeps one place, after everything that was handed over for keeping before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceHealth:
    """How one source does. `not_understood`: its files grow, but nothing in them is of a known kind.

    `unreadable`: files and folders that are there and can't be read; the rest as in `Tally`.
    """

    name: str
    files: int
    unreadable: int
    seen: int
    understood: int
    readings: int
    rejected: int
    failed: int
    not_understood: bool
    last_reading_at: datetime | None


def select(names: Sequence[str], sources: Sequence[LogSource] = SOURCES) -> tuple[LogSource, ...]:
    """The sources that `kimi_logs` means: `auto` for all, `off` for none, or names of sources or clients.

    Raises `ValueError` for a name that there isn't.
    """
    wanted = set(names) - {"off"}
    if "auto" in wanted:
        return tuple(sources)
    known = {source.name for source in sources} | {source.client for source in sources}
    if strange := sorted(wanted - known):
        raise ValueError(f"no such log source: {', '.join(strange)} (there are: {', '.join(sorted(known))})")
    return tuple(source for source in sources if {source.name, source.client} & wanted)


class Logs:
    """The logs below one home folder.

    The clients' own variables (`CLAUDE_CONFIG_DIR`, …) count only where `home` is the user's own, for
    they say nothing of another's. `env`, `platform` and `now` are for tests.
    """

    def __init__(
        self,
        sources: Sequence[LogSource],
        home: Path,
        *,
        env: Mapping[str, str] | None = None,
        platform: str = sys.platform,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        if env is None:
            env = os.environ if home == Path.home() else {}
        self._finders = [Finder(source, home, env, platform) for source in sources]
        self._now = now
        self._collectors: list[Collector] = []
        self._watcher = Watcher(self._told)
        self._told_paths: set[str] = set()
        self._hot: OrderedDict[str, tuple[Collector, int]] = OrderedDict()
        self._wake = asyncio.Event()
        self._stopping = False
        self.started = asyncio.Event()
        """Set once `follow` has taken stock: what is written from then on is news."""
        self._distinct = Distinct()

    async def follow(self, take: Take, offsets: Offsets, *, poll_s: float = POLL_S) -> None:
        """Gives every record that clients write from now on, until `stop`; history is left alone, but
        what was written since an earlier run is given too."""
        await self.begin(offsets)
        loop = asyncio.get_running_loop()
        try:
            self.started.set()
            await self._watch()
            next_poll, next_appear = loop.time(), loop.time() + _APPEAR_S
            while not self._stopping:
                if loop.time() >= next_poll:
                    await self.poll(take, offsets)
                    next_poll = loop.time() + (
                        poll_s if self._watcher.notices else min(poll_s, _POLL_BLIND_S)
                    )
                else:
                    await self._look(self._due(), take, offsets)
                if loop.time() >= next_appear:
                    next_appear = loop.time() + _APPEAR_S
                    if await self._watch():
                        next_poll = loop.time()
                        continue
                wait = min(next_poll, next_appear) - loop.time()
                with suppress(TimeoutError):
                    await asyncio.wait_for(
                        self._wake.wait(), max(0.0, min(wait, _HOT_S if self._hot else wait))
                    )
                self._wake.clear()
            await self.poll(take, offsets)
        finally:
            await self._watcher.close()

    async def begin(self, offsets: Offsets) -> None:
        """Takes stock of what is there, and goes on from the places of an earlier run."""
        saved = await offsets.offsets()
        first = _SINCE not in saved
        if first:
            saved[_SINCE] = self._now().isoformat()
            offsets.save_offset(_SINCE, saved[_SINCE])
        since = iso_time(saved[_SINCE]) or self._now()
        self._collectors = [Collector(finder, saved, since) for finder in self._finders]
        for collector in self._collectors:
            self._save(await asyncio.to_thread(collector.begin, first), offsets)

    async def poll(self, take: Take, offsets: Offsets) -> None:
        """Looks at every file once, and gives what is new."""

        def changed() -> Work:
            return [(one, found) for one in self._collectors for found in one.changed()]

        await self._look(changed, take, offsets)

    def stop(self) -> None:
        """Lets `follow` look at everything once more, and end."""
        self._stopping = True
        self._wake.set()

    def health(self) -> list[SourceHealth]:
        """How each source does that has files, or trouble."""
        return [
            _health(one) for one in self._collectors if one.files or one.unreadable or one.finder.unreadable
        ]

    @property
    def notices(self) -> bool:
        """False where the system tells nothing of changes, and only polls find them."""
        return self._watcher.notices

    async def _look(self, find: Callable[[], Work], take: Take, offsets: Offsets) -> None:
        for collector, found in await asyncio.to_thread(find):
            self._warm(collector, found.path)
            batches = collector.read(found)
            while batch := await asyncio.to_thread(next, batches, None):
                if readings := self._distinct.of(batch.readings):
                    await take(readings)
                self._save(batch, offsets)

    def _save(self, batch: Batch, offsets: Offsets) -> None:
        for key, state in batch.places.items():
            offsets.save_offset(key, state)

    async def _watch(self) -> bool:
        def folders() -> list[tuple[Path, bool]]:
            return [one for finder in self._finders for one in finder.watched()]

        return await self._watcher.watch(await asyncio.to_thread(folders))

    def _told(self, paths: set[str]) -> None:
        self._told_paths |= paths
        self._wake.set()

    def _warm(self, collector: Collector, path: str) -> None:
        self._hot.pop(path, None)
        self._hot[path] = (collector, _HOT_FOR)
        while len(self._hot) > _MOST_HOT:
            self._hot.popitem(last=False)

    def _due(self) -> Callable[[], Work]:
        """How to find what changed of the files that a notice named, or that are hot."""
        told, self._told_paths = self._told_paths, set()
        hot = [(path, collector) for path, (collector, _) in self._hot.items() if path not in told]
        self._hot = OrderedDict(
            (path, (one, left - 1)) for path, (one, left) in self._hot.items() if left > 1
        )

        def work() -> Work:
            found = [(one, file) for one in self._collectors for file in one.touched(told)] if told else []
            return found + [(one, file) for path, one in hot for file in one.touched({path})]

        return work


def _health(collector: Collector) -> SourceHealth:
    tally = collector.tally
    return SourceHealth(
        name=collector.source.name,
        files=collector.files,
        unreadable=len(collector.unreadable) + collector.finder.unreadable,
        seen=tally.seen,
        understood=tally.understood,
        readings=tally.readings,
        rejected=tally.rejected,
        failed=tally.failed,
        not_understood=tally.seen >= _PUZZLED_AFTER and not tally.understood,
        last_reading_at=collector.last_reading_at,
    )
