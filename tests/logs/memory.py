"""Places and readings kept in memory, for tests of what follows logs."""

from __future__ import annotations

import asyncio

from kimi_mitm.records import Reading


class Kept:
    """Takes readings as the engine does, by key, and places as the store does."""

    def __init__(self) -> None:
        self.readings: dict[str, Reading] = {}
        self.given: list[str] = []
        self.places: dict[str, str] = {}
        self._news = asyncio.Event()

    async def take(self, readings: tuple[Reading, ...]) -> None:
        for reading in readings:
            self.readings[reading.key] = reading
            self.given.append(reading.key)
        self._news.set()

    async def offsets(self) -> dict[str, str]:
        return dict(self.places)

    def save_offset(self, path: str, state: str | None) -> None:
        if state is None:
            self.places.pop(path, None)
        else:
            self.places[path] = state

    async def until(self, count: int) -> list[str]:
        """Waits until so many readings were given; their keys."""
        async with asyncio.timeout(20):
            while len(self.given) < count:
                self._news.clear()
                await self._news.wait()
        return self.given
