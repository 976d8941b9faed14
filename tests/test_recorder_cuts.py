"""What is cut, refused or never answered is recorded once, with what was seen and an error."""

from __future__ import annotations

import asyncio
import contextlib
import json

import httpx
import pytest
from rig import h2
from rig.bodies import CHAT_URL, chat, chat_answer, chat_events

from kimi_mitm import link


async def once(engine):
    """The record, having seen that nothing else came of the exchange."""
    record = await engine().record()
    assert len(engine().heads(link.Ended)) == 1
    assert len(engine().started) == 1
    assert engine().errors == []
    return record


@pytest.mark.parametrize("how", ["reset", "hang_up"])
async def test_an_upstream_that_breaks_off_in_the_middle(proxy, engine, upstream, how):
    seen = asyncio.Event()

    async def handler(call):
        await call.head(200, {"content-type": "text/event-stream"})
        await call.piece(chat_events(2)[0])
        await asyncio.wait_for(seen.wait(), 5)
        getattr(call, how)()

    upstream.handler = handler
    running = await proxy()
    received = b""
    async with running.client() as client:
        with contextlib.suppress(httpx.RemoteProtocolError, httpx.ReadError):
            async with client.stream("POST", CHAT_URL, json=chat(stream=True)) as answer:
                async for piece in answer.aiter_raw():
                    received += piece
                    seen.set()

    record = await once(engine)
    assert received == chat_events(2)[0]
    assert record.status == 200
    assert record.error.type == "aborted"
    assert record.first_token_at is not None
    assert record.input_tokens is None or record.is_estimated
    assert running.spy.of("error")[0].response.raw_content == received
    assert running.addon.recorder.budget.held == 0


async def test_a_client_that_leaves_in_the_middle(proxy, engine, upstream):
    gone = asyncio.Event()

    async def handler(call):
        await call.head(200, {"content-type": "text/event-stream"})
        await call.piece(chat_events(2)[0])
        await asyncio.wait_for(gone.wait(), 5)

    upstream.handler = handler
    running = await proxy()
    async with running.client() as client, client.stream("POST", CHAT_URL, json=chat(stream=True)) as answer:
        async for _ in answer.aiter_raw():
            break

    record = await once(engine)
    gone.set()
    assert record.status == 200
    assert record.error.type == "aborted"
    assert "isconnected" in record.error.message
    assert running.spy.of("response") == []


async def test_a_client_that_leaves_in_the_middle_over_http2(proxy, engine, authority):
    gone = asyncio.Event()

    async def handler(scope, receive, send):
        await h2.body_of(receive)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": chat_events(2)[0], "more_body": True})
        await asyncio.wait_for(gone.wait(), 5)

    async with h2.serving(authority, handler) as port:
        running = await proxy(ports={443: port})
        async with (
            running.client(http2=True) as client,
            client.stream("POST", CHAT_URL, json=chat(stream=True)) as answer,
        ):
            async for _ in answer.aiter_raw():
                break

        record = await once(engine)
        gone.set()
    assert record.error.type == "aborted"


async def test_a_request_that_is_never_answered(proxy, engine, upstream):
    asked = asyncio.Event()

    async def handler(call):
        asked.set()
        await asyncio.sleep(60)

    upstream.handler = handler
    running = await proxy()
    async with running.client() as client:
        waiting = asyncio.create_task(client.post(CHAT_URL, json=chat()))
        await asyncio.wait_for(asked.wait(), 5)
        started = await engine().until(lambda: engine().started)
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting

    record = await once(engine)
    assert started[0].estimated_input_tokens is not None
    assert record.status is None
    assert record.error.type == "no_answer"
    assert record.input_tokens is None


async def test_an_upstream_that_closes_without_an_answer(proxy, engine, upstream):
    async def handler(call):
        call.hang_up()

    upstream.handler = handler
    running = await proxy()
    async with running.client() as client:
        answer = await client.post(CHAT_URL, json=chat())

    assert answer.status_code == 502
    record = await once(engine)
    assert (record.status, record.error.type) == (None, "no_answer")


async def test_an_upstream_that_can_not_be_reached(proxy, engine):
    running = await proxy(ports={443: 1}, connection_strategy="lazy")
    async with running.client() as client:
        answer = await client.post(CHAT_URL, json=chat())

    assert answer.status_code == 502
    record = await once(engine)
    assert record.model == "gpt-4o-mini"
    assert (record.status, record.error.type) == (None, "no_answer")


async def test_an_answer_beyond_mitmproxys_limit(proxy, engine, upstream):
    async def handler(call):
        await call.answer(b"x" * 5000)

    upstream.handler = handler
    running = await proxy(body_size_limit="1k")
    async with running.client() as client:
        answer = await client.post(CHAT_URL, json=chat())

    assert answer.status_code == 502
    record = await once(engine)
    assert record.error is not None
    assert "body_size_limit" in record.error.message


async def test_a_request_beyond_mitmproxys_limit(proxy, engine, upstream):
    running = await proxy(body_size_limit="1k")
    async with running.client() as client:
        answer = await client.post(CHAT_URL, json=chat("x" * 5000))

    assert answer.status_code == 413
    assert upstream.calls == []
    record = await once(engine)
    assert record.error.type == "no_answer"
    assert "body_size_limit" in record.error.message
    assert engine().heads(link.Opened)[0].body == "cut"
    assert engine().heads(link.Opened)[0].size > 5000


async def test_a_flow_that_the_user_kills(proxy, engine, upstream):
    class Killer:
        def request(self, flow):
            flow.kill()

    running = await proxy(Killer())
    async with running.client() as client:
        with contextlib.suppress(httpx.HTTPError):
            await client.post(CHAT_URL, json=chat())

    record = await once(engine)
    assert record.error is not None


async def test_a_hook_chain_that_another_addon_halts_leaves_nothing_behind(
    proxy, engine, upstream, monkeypatch
):
    from mitmproxy.exceptions import AddonHalt

    class Halting:
        def response(self, flow):
            raise AddonHalt

    async def handler(call):
        await call.answer(chat_answer())

    upstream.handler = handler
    monkeypatch.setattr("kimi_mitm.proxy.hooks.LINGER_S", 0.01)
    running = await proxy(Halting())
    async with running.client() as client:
        assert (await client.post(CHAT_URL, json=chat())).content == chat_answer()

    record = await once(engine)
    assert record.input_tokens == 11
    assert running.addon.recorder.budget.held == 0


async def test_an_early_answer_to_an_upload(proxy, engine, upstream):
    """The provider answers 413 while the request is still being sent; what follows is still passed on."""
    rest = asyncio.Event()

    async def handler(call):
        await call.answer(b'{"error":{"message":"too big","type":"request_too_large"}}', status=413)
        await call.reader.readexactly(9000)
        rest.set()

    upstream.handler = handler
    running = await proxy(stream_large_bodies="1k")
    reader, writer = await running.tunnel("api.openai.com")
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: api.openai.com\r\nX-Leave-Body: 1\r\n"
    body = json.dumps(chat("x" * 9000)).encode()[:9000]
    writer.write(head.encode() + b"Content-Length: 9000\r\n\r\n" + body[:3000])
    assert b" 413 " in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    record = await once(engine)
    writer.write(body[3000:])
    await asyncio.wait_for(rest.wait(), 5)
    writer.close()

    assert record.status == 413
    assert record.error.type == "request_too_large"
    await engine().until(lambda: running.spy.of("request"))
    assert running.spy.of("request")[0].request.raw_content == body
    assert running.addon.recorder.budget.held == 0
    await once(engine)


@pytest.mark.parametrize("limit", ["1", "1k", "1m"])
async def test_mitmproxys_own_streaming_changes_nothing(proxy, engine, upstream, limit):
    question = "a long question " * 500
    body = json.dumps(chat(question)).encode()

    async def handler(call):
        await call.stream(*chat_events(3))

    upstream.handler = handler
    running = await proxy(stream_large_bodies=limit)
    async with running.client() as client:
        answer = await client.post(CHAT_URL, content=body)

    assert answer.content == b"".join(chat_events(3))
    assert upstream.calls[0].body == body
    record = await once(engine)
    assert record.estimated_input_tokens > 1000
    assert record.output_tokens == 3
    flow = running.spy.of("response")[0]
    assert flow.request.raw_content == body
    assert flow.response.raw_content == b"".join(chat_events(3))
    assert running.addon.recorder.budget.held == 0


async def test_bidirectional_bodies_are_not_held_up_and_are_listed(proxy, engine, upstream):
    """Each side waits for the other's last word: holding either back would hang this test."""

    async def handler(call):
        assert b"a" in await call.reader.readuntil(b"a\r\n")
        await call.head(200, {"content-type": "application/connect+proto"})
        await call.piece(b"\0\0\0\0\1b")
        await call.reader.readuntil(b"c\r\n")
        await call.piece(b"\0\0\0\0\1d")
        await call.end()
        call.over = True

    upstream.handler = handler
    running = await proxy()
    url = "https://api2.cursor.sh/aiserver.v1.ChatService/StreamUnifiedChatWithTools"
    headers = {"content-type": "application/connect+proto", "x-leave-body": "1"}
    received = b""
    reader, writer = await running.tunnel("api2.cursor.sh")
    writer.write(
        b"POST " + url.partition("sh")[2].encode() + b" HTTP/1.1\r\nHost: api2.cursor.sh\r\n"
        b"Transfer-Encoding: chunked\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items()).encode()
    )
    writer.write(b"\r\n6\r\n\0\0\0\0\1a\r\n")
    received += await asyncio.wait_for(reader.readuntil(b"\1b\r\n"), 5)
    writer.write(b"6\r\n\0\0\0\0\1c\r\n0\r\n\r\n")
    received += await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), 5)
    writer.close()

    record = await once(engine)
    assert b"\1d" in received
    assert (record.operation, record.wire_format) == ("other", None)
    assert record.url == url
    assert engine().heads(link.Pieces) == []
