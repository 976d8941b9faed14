"""Each turn on a WebSocket is an exchange; messages pass as they come, and few of them are kept."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest
import websockets
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

from kimi_mitm import link
from kimi_mitm.proxy import capture

URL = "wss://api.openai.com/v1/responses"


def create(text="hi", **more):
    question = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
    return json.dumps({"type": "response.create", "model": "gpt-5", "input": [question], **more})


def events(name, prompt, output):
    usage = {"input_tokens": prompt, "output_tokens": output, "total_tokens": prompt + output}
    begun = {"id": name, "object": "response", "model": "gpt-5-2026", "status": "in_progress"}
    done = {**begun, "status": "completed", "output": [], "usage": usage}
    return [
        json.dumps({"type": "response.created", "response": begun}),
        json.dumps({"type": "response.output_text.delta", "item_id": "m", "delta": "word"}),
        json.dumps({"type": "response.completed", "response": done}),
    ]


@pytest.fixture
async def socket(authority):
    """Serves WebSockets with a handler, as the upstream of a proxy."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(handler):
            server = await stack.enter_async_context(
                serve(handler, "127.0.0.1", 0, ssl=authority.serving(), max_size=2**26)
            )
            return server.sockets[0].getsockname()[1]

        yield start


def through(running, **more):
    return connect(URL, proxy=running.url, ssl=running.trusting(), max_size=2**26, **more)


async def closed(one):
    """Reads until the other side is gone."""
    with contextlib.suppress(websockets.ConnectionClosed):
        async for _ in one:
            pass


async def test_each_turn_is_an_exchange(proxy, engine, socket):
    async def handler(one):
        turn = 0
        async for message in one:
            assert json.loads(message)["type"] == "response.create"
            turn += 1
            for event in events(f"resp_{turn}", 10 * turn, turn):
                await one.send(event)

    running = await proxy(ports={443: await socket(handler)})
    async with through(running) as one:
        for turn in (1, 2):
            await one.send(create(f"turn {turn}"))
            answers = [await one.recv() for _ in range(3)]
            assert answers == events(f"resp_{turn}", 10 * turn, turn)
            await engine().record(turn)

    first, second = engine().ended
    assert (first.input_tokens, first.output_tokens) == (10, 1)
    assert (second.input_tokens, second.output_tokens) == (20, 2)
    assert {first.transport, second.transport} == {"websocket"}
    assert first.status == 101
    assert first.model == "gpt-5"
    assert first.error is None
    assert first.first_token_at is not None
    assert first.id != second.id
    assert first.flow_id == second.flow_id


async def test_a_cut_in_the_middle_of_a_turn_is_recorded(proxy, engine, socket):
    async def handler(one):
        await one.recv()
        await one.send(events("resp_1", 10, 1)[0])
        one.transport.abort()

    running = await proxy(ports={443: await socket(handler)})
    async with through(running) as one:
        await one.send(create())
        await closed(one)

    record = await engine().record()
    assert record.error.type == "aborted"
    assert "1006" in record.error.message
    assert len(engine().ended) == 1
    assert running.addon.recorder.budget.held == 0


async def test_a_cut_after_a_turn_is_no_error_of_it(proxy, engine, socket):
    async def handler(one):
        await one.recv()
        for event in events("resp_1", 10, 1):
            await one.send(event)
        await one.recv()
        one.transport.abort()

    running = await proxy(ports={443: await socket(handler)})
    async with through(running) as one:
        await one.send(create())
        await engine().record()
        await one.send(json.dumps({"type": "session.update"}))
        await closed(one)

    await engine().until(lambda: engine().heads(link.Ended))
    assert [r.error for r in engine().ended] == [None]


async def test_a_refused_upgrade_keeps_its_body_for_the_client(proxy, engine, upstream):
    async def handler(call):
        await call.answer(b'{"error":{"message":"no sockets here"}}', status=426)

    upstream.handler = handler
    running = await proxy()
    with pytest.raises(websockets.InvalidStatus) as refused:
        async with through(running):
            pass

    assert refused.value.response.status_code == 426
    assert refused.value.response.body == b'{"error":{"message":"no sockets here"}}'
    await engine().until(lambda: engine().heads(link.Ended))
    assert running.spy.of("response")[0].response.raw_content == b'{"error":{"message":"no sockets here"}}'


async def test_messages_kept_are_bounded(proxy, engine, socket, monkeypatch):
    monkeypatch.setattr(capture, "KEEP_SOCKET", 100_000)
    piece = json.dumps({"type": "response.output_text.delta", "delta": "x" * 10_000})

    async def handler(one):
        await one.recv()
        for _ in range(50):
            await one.send(piece)
        for event in events("resp_1", 10, 1):
            await one.send(event)
        await one.recv()

    running = await proxy(ports={443: await socket(handler)})
    async with through(running) as one:
        await one.send(create())
        received = [await one.recv() for _ in range(53)]
        record = await engine().record()
        flow = running.spy.of("response")[0]
        kept = sum(len(m.content) for m in flow.websocket.messages)
        held = running.addon.recorder.budget.held
        await one.send(create())

    assert received[:50] == [piece] * 50
    assert kept <= 100_000 + len(piece)
    assert held <= 100_000 + len(piece)
    assert record.output_tokens == 1
    await engine().until(lambda: len(engine().heads(link.Ended)) == 1)
    assert running.addon.recorder.budget.held == 0


async def test_a_socket_that_is_no_llms_is_bounded_too(proxy, engine, socket, monkeypatch):
    monkeypatch.setattr(capture, "KEEP_SOCKET", 100_000)

    async def handler(one):
        async for message in one:
            await one.send(message)

    running = await proxy(ports={443: await socket(handler)})
    url = URL.replace("/v1/responses", "/notifications")
    async with connect(url, proxy=running.url, ssl=running.trusting()) as one:
        for n in range(50):
            await one.send(f"{n} " + "x" * 10_000)
            assert (await one.recv()).startswith(f"{n} ")
        flow = running.spy.of("response")[0]
        assert sum(len(m.content) for m in flow.websocket.messages) <= 110_000

    await engine().until(lambda: running.spy.of("websocket_end"))
    assert running.addon.recorder.budget.held == 0
    assert engine().heads(link.Opened) == []


async def test_an_engine_that_dies_in_a_turn_hears_of_it_again(proxy, engine, socket):
    go_on = asyncio.Event()

    async def handler(one):
        for turn in (1, 2):
            await one.recv()
            begun, delta, done = events(f"resp_{turn}", 10 * turn, turn)
            await one.send(begun)
            await one.send(delta)
            if turn == 2:
                await asyncio.wait_for(go_on.wait(), 5)
            await one.send(done)

    running = await proxy(ports={443: await socket(handler)})
    async with through(running) as one:
        await one.send(create("one"))
        for _ in range(3):
            await one.recv()
        await one.send(create("two"))
        await one.recv()
        await one.recv()
        before = dict(engine().records)
        started = {r.id for r in engine().started}
        engine().forget_everything()
        engine().died([])
        await engine().until(lambda: len(engine().started) == 2)
        go_on.set()
        await one.recv()
        await engine().record(2)

    assert {r.id for r in engine().started} == started
    assert set(before) < set(engine().records)
    assert [r.input_tokens for r in engine().ended] == [10, 20]
