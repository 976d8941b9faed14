"""The addon with a real engine process, and its database to read."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kimi_mitm import link
from kimi_mitm.addon import KimiMitm

DEADLINE_S = 120.0
_EVERY_S = 0.05


class Listening(KimiMitm):
    """The addon; a test hears what the engine says."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[link.Downward] = []
        self._news = asyncio.Event()

    def _heard(self, message: link.Downward) -> None:
        super()._heard(message)
        self.messages.append(message)
        self._news.set()

    async def hears[M](self, kind: type[M], count: int = 1, **fields: Any) -> list[M]:
        """Waits for so many messages of a kind with these fields."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                found = [
                    m
                    for m in self.messages
                    if isinstance(m, kind) and all(getattr(m, k) == v for k, v in fields.items())
                ]
                if len(found) >= count:
                    return found
                self._news.clear()
                await self._news.wait()


def rows(path: Path) -> list[dict[str, Any]]:
    """All exchanges of a database, oldest first; none while there is no database."""
    if not path.exists():
        return []
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10) as connection:
        connection.row_factory = sqlite3.Row
        try:
            found = [dict(r) for r in connection.execute("SELECT * FROM exchanges ORDER BY started_at")]
        except sqlite3.OperationalError:
            found = []
    connection.close()
    for row in found:
        row["error"] = json.loads(row["error"]) if row["error"] else None
    return found


async def rows_once(path: Path, look: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
    """The rows, once they are as wanted: another process writes them, and nobody says when."""
    async with asyncio.timeout(DEADLINE_S):
        while not look(found := rows(path)):  # noqa: ASYNC110
            await asyncio.sleep(_EVERY_S)
    return found
