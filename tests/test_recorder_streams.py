"""Answers pass as they arrive, unchanged, and are recorded right, whatever they look like."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json

import httpx
import pytest
from rig import h2
from rig.bodies import CHAT_URL, chat, chat_answer, chat_events
from rig.codings import CODINGS, encoded

from kimi_mitm import link


async def raw(answer: httpx.Response) -> bytes:
    """The body as it was on the wire, its coding included."""
    return b"".join([piece async for piece in answer.aiter_raw()])


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


async def test_the_same_over_http2(proxy, engine, authority):
    seen: asyncio.Queue[bytes] = asyncio.Queue()
    events = chat_events(5)

    async def handler(scope, receive, send):
        await h2.body_of(receive)
        assert scope["http_version"] == "2"
        head = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        for event in events:
            await send({"type": "http.response.body", "body": event, "more_body": True})
            assert await asyncio.wait_for(seen.get(), 5) == event
        await send({"type": "http.response.body", "body": b""})

    async with h2.serving(authority, handler) as port:
        running = await proxy(ports={443: port})
        async with (
            running.client(http2=True) as client,
            client.stream("POST", CHAT_URL, json=chat(stream=True)) as answer,
        ):
            assert answer.http_version == "HTTP/2"
            async for piece in answer.aiter_raw():
                seen.put_nowait(piece)

        record = await engine().record()
    assert (record.input_tokens, record.output_tokens) == (11, 5)
    assert record.url == CHAT_URL


async def test_http2_streams_of_one_connection_are_told_apart(proxy, engine, authority):
    async def handler(scope, receive, send):
        prompt = json.loads(await h2.body_of(receive))["messages"][0]["content"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": chat_answer(prompt=int(prompt))})

    async with h2.serving(authority, handler) as port:
        running = await proxy(ports={443: port})
        async with running.client(http2=True) as client:
            await client.post(CHAT_URL, json=chat("1"))
            await asyncio.gather(*(client.post(CHAT_URL, json=chat(str(n))) for n in range(2, 9)))
        await engine().record(8)

    assert sorted(r.input_tokens for r in engine().ended) == list(range(1, 9))
    assert len({head.conn for head in engine().heads(link.Opened)}) == 1


async def test_trailers_over_http2_are_passed_on(proxy, engine, authority):
    async def handler(scope, receive, send):
        await h2.body_of(receive)
        head = [(b"content-type", b"application/json"), (b"trailer", b"x-checksum")]
        await send({"type": "http.response.start", "status": 200, "headers": head, "trailers": True})
        await send({"type": "http.response.body", "body": chat_answer(), "more_body": False})
        await send({"type": "http.response.trailers", "headers": [(b"x-checksum", b"abc")]})

    async with h2.serving(authority, handler) as port:
        running = await proxy(ports={443: port})
        async with running.client(http2=True) as client:
            answer = await client.post(CHAT_URL, json=chat(), headers={"te": "trailers"})
        await engine().record()

    assert answer.content == chat_answer()
    assert dict(running.spy.of("response")[0].response.trailers) == {"x-checksum": "abc"}


@pytest.mark.parametrize("coding", CODINGS)
async def test_coded_bytes_reach_the_client_as_they_were_and_are_read(proxy, engine, upstream, coding):
    pieces = list(encoded(coding, chat_events(20)))

    async def handler(call):
        await call.stream(*filter(None, pieces), headers={"content-encoding": coding})

    upstream.handler = handler
    running = await proxy()
    async with running.client() as client, client.stream("POST", CHAT_URL, json=chat(stream=True)) as answer:
        received = await raw(answer)

    record = await engine().record()
    assert hashlib.sha256(received).digest() == hashlib.sha256(b"".join(pieces)).digest()
    assert running.spy.last().response.raw_content == received
    assert (record.input_tokens, record.output_tokens) == (11, 20)


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/octet-stream", "image/png"])
async def test_the_content_type_decides_nothing(proxy, engine, upstream, content_type):
    headers = {"content-type": content_type} if content_type else {"x-none": "1"}

    async def handler(call):
        await call.stream(*chat_events(2), headers=headers)

    upstream.handler = handler
    running = await proxy()
    async with running.client() as client, client.stream("POST", CHAT_URL, json=chat(stream=True)) as answer:
        received = await raw(answer)

    assert received == b"".join(chat_events(2))
    assert (await engine().record()).output_tokens == 2


@pytest.mark.parametrize("coding", CODINGS)
async def test_a_coded_request_is_read_and_reaches_the_provider_as_it_was(proxy, engine, upstream, coding):
    body = b"".join(encoded(coding, [json.dumps(chat("a question")).encode()]))

    async def handler(call):
        await call.answer(chat_answer())

    upstream.handler = handler
    running = await proxy()
    async with running.client() as client:
        await client.post(CHAT_URL, content=body, headers={"content-encoding": coding})

    record = await engine().record()
    assert upstream.calls[0].body == body
    assert record.model == "gpt-4o-mini"
    assert record.estimated_input_tokens is not None


async def test_a_whole_answer_stays_visible_and_is_not_kept_twice(proxy, engine, upstream):
    async def handler(call):
        await call.answer(chat_answer())

    upstream.handler = handler
    running = await proxy()
    async with running.client() as client:
        await client.post(CHAT_URL, json=chat())
    await engine().record()

    flow = running.spy.of("response")[0]
    assert flow.response.raw_content == chat_answer()
    assert flow.response.stream is True
    assert running.addon.recorder.budget.held == 0


async def test_live_figures_move_before_the_answer_ends(proxy, engine, upstream):
    go_on = asyncio.Event()
    usage = b'data: {"type":"message_start","message":{"id":"m1","model":"claude-sonnet-4-5","usage":'
    usage += b'{"input_tokens":7,"output_tokens":1}}}\n\n'

    async def handler(call):
        await call.head(200, {"content-type": "text/event-stream"})
        await call.piece(b"event: message_start\n" + usage)
        delta = b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}'
        while not go_on.is_set():
            await call.piece(b"event: content_block_delta\ndata: " + delta + b"\n\n")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(go_on.wait(), 0.1)
        await call.piece(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')
        await call.end()

    upstream.handler = handler
    running = await proxy()
    body = {"model": "claude-sonnet-4-5", "max_tokens": 9, "stream": True, "messages": []}
    url = "https://api.anthropic.com/v1/messages"
    async with running.client() as client, client.stream("POST", url, json=body) as answer:
        await engine().until(lambda: engine().updated)
        assert engine().started[0].model == "claude-sonnet-4-5"
        assert not engine().ended
        go_on.set()
        await raw(answer)

    assert (await engine().record()).input_tokens == 7


async def test_an_answer_that_is_no_exchange_passes_as_it_comes_too(proxy, engine, upstream):
    seen: asyncio.Queue[bytes] = asyncio.Queue()

    async def handler(call):
        await call.head(200, {"content-type": "text/event-stream"})
        for piece in (b"one", b"two"):
            await call.piece(piece)
            assert await asyncio.wait_for(seen.get(), 5) == piece
        await call.end()

    upstream.handler = handler
    running = await proxy()
    url = "https://api.openai.com/v1/models"
    async with running.client() as client, client.stream("GET", url) as answer:
        async for piece in answer.aiter_raw():
            seen.put_nowait(piece)

    await engine().until(lambda: running.spy.of("response"))
    assert running.spy.of("response")[0].response.raw_content == b"onetwo"
    assert engine().heads(link.Opened) == []


async def test_a_large_download_is_passed_on_without_being_kept(proxy, engine, upstream):
    size = 3 * 1024 * 1024

    async def handler(call):
        await call.answer(b"x" * size)

    upstream.handler = handler
    running = await proxy()
    async with running.client() as client:
        answer = await client.get("https://api.openai.com/v1/files/file-1/content")

    assert len(answer.content) == size
    await engine().until(lambda: running.spy.of("response"))
    assert running.spy.of("response")[0].response.raw_content is None
    assert running.addon.recorder.budget.held == 0
