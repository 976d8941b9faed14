"""Readers of live events write in rounds."""

from __future__ import annotations

import asyncio

from kimi_mitm.control.live import Live
from kimi_mitm.events import Hub


async def test_readers_that_come_while_a_round_is_awaited_go_on_together() -> None:
    live, hub = Live(), Hub(heartbeat_s=0)
    for _ in range(5):
        live.enter(hub.subscribe())
    first = asyncio.create_task(live.pace())
    await asyncio.sleep(0)
    second = asyncio.create_task(live.pace())

    await first
    await asyncio.sleep(0)

    assert second.done()


async def test_the_end_waits_for_no_round() -> None:
    live, hub = Live(), Hub(heartbeat_s=0)
    for _ in range(1000):
        live.enter(hub.subscribe())
    waiting = asyncio.create_task(live.pace())
    await asyncio.sleep(0)

    live.close()
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert waiting.done()
    await live.pace()


async def test_one_reader_that_leaves_takes_nobody_along() -> None:
    live, hub = Live(), Hub(heartbeat_s=0)
    for _ in range(5):
        live.enter(hub.subscribe())
    leaving, staying = asyncio.create_task(live.pace()), asyncio.create_task(live.pace())
    await asyncio.sleep(0)

    leaving.cancel()
    await staying

    assert leaving.cancelled()
    assert not staying.cancelled()
