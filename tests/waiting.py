"""Waiting for what tells nobody that it happened: a file's content, another process, another thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def until[T](look: Callable[[], T], limit_s: float = 60.0) -> T:
    """The first thing that `look` gives."""
    async with asyncio.timeout(limit_s):
        while not (found := look()):  # noqa: ASYNC110  (nothing to await: see the module)
            await asyncio.sleep(0.01)
    return found
