"""Change notices for log folders."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kimi_mitm.logs.watch import Watcher


class Told:
    """Collects paths, and lets a test wait for one."""

    def __init__(self) -> None:
        self.paths: set[str] = set()
        self._news = asyncio.Event()

    def __call__(self, paths: set[str]) -> None:
        self.paths |= paths
        self._news.set()

    async def until(self, path: Path) -> None:
        async with asyncio.timeout(20):
            while str(path) not in self.paths:
                self._news.clear()
                await self._news.wait()


async def poke_until_told(told: Told, path: Path) -> None:
    """Writes until it is noticed: a watch needs a moment before it sees anything."""

    async def poke() -> None:
        number = 0
        while True:
            number += 1
            path.write_text(str(number))  # noqa: ASYNC240
            await asyncio.sleep(0.2)

    task = asyncio.create_task(poke())
    try:
        await told.until(path)
    finally:
        task.cancel()


async def test_changes_below_a_folder_are_told(tmp_path: Path) -> None:
    told = Told()
    watcher = Watcher(told)
    (tmp_path / "deep").mkdir()

    assert await watcher.watch([(tmp_path, True)]) is True
    await poke_until_told(told, tmp_path / "deep/x.jsonl")

    assert await watcher.watch([(tmp_path, True), (tmp_path / "deep", True)]) is False
    await watcher.close()
    assert watcher.notices


async def test_a_folder_that_comes_later_is_watched_too(tmp_path: Path) -> None:
    told = Told()
    watcher = Watcher(told)
    first, second = tmp_path / "a", tmp_path / "b"
    first.mkdir()
    await watcher.watch([(first, True)])
    second.mkdir()

    assert await watcher.watch([(first, True), (second, False)]) is True
    await poke_until_told(told, second / "x.db")
    await poke_until_told(told, first / "x.jsonl")

    await watcher.close()


async def test_where_nothing_can_be_watched_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No more watches, say; following goes on by polls."""
    tried = asyncio.Event()

    async def refused(*folders: Path, **more: Any) -> AsyncIterator[set[Any]]:
        tried.set()
        raise OSError("OS file watch limit reached")
        yield

    monkeypatch.setattr("kimi_mitm.logs.watch.awatch", refused)
    watcher = Watcher(Told())

    await watcher.watch([(tmp_path, True)])
    await tried.wait()
    await watcher.close()

    assert not watcher.notices
    assert "only polled" in caplog.text
