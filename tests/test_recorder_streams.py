"""Answers pass as they arrive, unchanged, and are recorded right, whatever they look like."""

from __future__ import annotations

import asyncio

from rig.bodies import CHAT_URL, chat, chat_events


async def test_a_piece_is_with_the_client_before_the_next_is_sent(proxy, engine, upstream):
    """The upstream waits for the client's word before each next piece: buffering would hang this test."""
    seen: asyncio.Queue[bytes] = asyncio.Queue()
    events = chat_events(5)

    async def handler(call):
        await call.head(200, {"content-type": "text/event-stream"})
        for event in events:
            await call.piece(event)
            assert await asyncio.wait_for(seen.get(), 5) == event
        await call.end()

    upstream.handler = handler
    running = await proxy()
    async with running.client() as client, client.stream("POST", CHAT_URL, json=chat(stream=True)) as answer:
        async for piece in answer.aiter_raw():
            seen.put_nowait(piece)

    record = await engine().record()
    assert (record.input_tokens, record.output_tokens) == (11, 5)
    assert record.stream is True
    assert record.error is None
    assert record.first_token_at is not None
