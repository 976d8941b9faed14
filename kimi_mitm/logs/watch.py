"""Change notices for folders, as far as the system gives them.  [I/O]"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from watchfiles import awatch

log: Final = logging.getLogger(__name__)

_GATHER_MS: Final = 200


class Watcher:
    """Tells of changes below folders, until it is closed.

    `notices` is False where a folder can't be watched (no more watches, a network share): then only a
    poll finds what is new.
    """

    def __init__(self, tell: Callable[[set[str]], None]) -> None:
        self.notices = True
        self._tell = tell
        self._tasks: dict[bool, asyncio.Task[None]] = {}
        self._folders: dict[bool, frozenset[Path]] = {}

    async def watch(self, folders: Iterable[tuple[Path, bool]]) -> bool:
        """Watches these folders and no others; the flag says whether those below count too. True if
        anything is watched now that wasn't before."""
        wanted: dict[bool, set[Path]] = {False: set(), True: set()}
        for folder, below in folders:
            wanted[below].add(folder)
        news = False
        for below, paths in wanted.items():
            outermost = frozenset(path for path in paths if not (below and paths & set(path.parents)))
            if outermost != self._folders.get(below, frozenset()):
                news = news or bool(outermost - self._folders.get(below, frozenset()))
                self._folders[below] = outermost
                await self._end(below)
                if outermost:
                    self.notices = True
                    self._tasks[below] = asyncio.create_task(self._run(outermost, below))
        return news

    async def close(self) -> None:
        """Stops watching."""
        for below in list(self._tasks):
            await self._end(below)

    async def _end(self, below: bool) -> None:
        if task := self._tasks.pop(below, None):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _run(self, folders: frozenset[Path], below: bool) -> None:
        try:
            async for changes in awatch(
                *folders,
                watch_filter=None,
                debounce=_GATHER_MS,
                step=_GATHER_MS // 4,
                recursive=below,
                ignore_permission_denied=True,
            ):
                self._tell({path for _, path in changes})
        except (OSError, RuntimeError) as error:
            self.notices = False
            log.warning("log folders can't be watched, only polled: %s", error)
