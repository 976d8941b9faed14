"""The endpoint on a real socket: starting, stopping, streams, and clients that behave badly."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import suppress

import httpx
import pytest
import websockets
from fake_service import FakeService
from fastapi import FastAPI

from kimi_mitm.control.app import create_app
from kimi_mitm.control.guard import ControlSettings
from kimi_mitm.control.listener import Listener, serve
from kimi_mitm.events import Hub

WAIT = 10.0


@pytest.fixture
async def listener(app: FastAPI) -> AsyncIterator[Listener]:
    running = await serve(app, "127.0.0.1", 0)
    yield running
    await running.stop()


class Raw:
    """A connection without any help."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int) -> Raw:
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=1024 * 1024))

    async def ask(
        self, target: str = "/events", method: str = "GET", more: str = "", body: bytes = b""
    ) -> None:
        head = f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n{more}\r\n"
        self.writer.write(head.encode("latin-1") + body)
        await self.writer.drain()

    async def until(self, mark: bytes) -> bytes:
        async with asyncio.timeout(WAIT):
            return await self.reader.readuntil(mark)

    async def scan(self, mark: bytes) -> None:
        """Reads on until the mark, however much there is before it."""
        seen = b""
        async with asyncio.timeout(WAIT):
            while mark not in seen:
                piece = await self.reader.read(65536)
                assert piece, "the stream ended"
                seen = seen[-len(mark) :] + piece

    async def rest(self) -> bytes:
        async with asyncio.timeout(WAIT):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""

    async def close(self) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


async def readers_are(service: FakeService, count: int) -> None:
    for _ in range(2000):
        if service.hub.readers == count:
            return
        await asyncio.sleep(0.005)
    raise AssertionError(f"{service.hub.readers} readers, not {count}")


# Starting and stopping


async def test_it_serves_where_it_says(listener: Listener) -> None:
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{listener.url}health")

    assert answer.status_code == 200
    assert "server" not in answer.headers


async def test_a_busy_port_is_an_error_and_nothing_worse(app: FastAPI, listener: Listener) -> None:
    with pytest.raises(OSError):
        await serve(app, "127.0.0.1", listener.port)
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{listener.url}health")).status_code == 200


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host.invalid"])
async def test_an_address_that_is_not_ours_is_an_error(app: FastAPI, host: str) -> None:
    with pytest.raises(OSError):
        await serve(app, host, 0)


async def test_the_port_is_free_at_once_and_it_can_start_again(service: FakeService) -> None:
    settings = ControlSettings()
    first = await serve(create_app(service, settings), "127.0.0.1", 0)
    port = first.port
    async with httpx.AsyncClient() as client:
        await client.get(f"{first.url}health")
        await first.stop()
    second = await serve(create_app(service, settings), "127.0.0.1", port)
    await second.stop()
    await second.stop()

    assert second.port == port


async def test_signals_and_loggers_are_left_alone(app: FastAPI) -> None:
    signals = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    handlers = list(logging.getLogger().handlers)
    running = await serve(app, "127.0.0.1", 0)
    async with httpx.AsyncClient() as client:
        await client.get(f"{running.url}health")
    during = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    await running.stop()

    assert during == signals
    assert logging.getLogger().handlers == handlers


async def test_stopping_ends_open_streams_at_once_and_quietly(
    service: FakeService, app: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    running = await serve(app, "127.0.0.1", 0)
    streams = [await Raw.open(running.port) for _ in range(5)]
    for stream in streams:
        await stream.ask()
    socket_ = await websockets.connect(f"ws://127.0.0.1:{running.port}/ws")
    await readers_are(service, 6)
    start = time.perf_counter()
    await running.stop()
    took = time.perf_counter() - start

    assert took < 3.0
    assert [(await stream.rest())[-5:] for stream in streams] == [b"0\r\n\r\n"] * 5
    with pytest.raises(websockets.ConnectionClosed):
        await socket_.recv()
    assert service.hub.readers == 0
    assert not [record for record in caplog.records if record.name.startswith(("uvicorn", "kimi", "asyncio"))]
    for stream in streams:
        await stream.close()


async def test_stopping_does_not_wait_for_a_client_that_reads_nothing(
    service: FakeService, app: FastAPI
) -> None:
    running = await serve(app, "127.0.0.1", 0)
    stuck = await Raw.open(running.port)
    await stuck.ask()
    await readers_are(service, 1)
    stuck.writer.transport.pause_reading()
    for _ in range(200):
        service.hub.publish("alert", {"text": "x" * 20_000})
        await asyncio.sleep(0.001)
    start = time.perf_counter()
    await running.stop()

    assert time.perf_counter() - start < 3.0
    await stuck.close()


# Streams


async def test_events_come_with_ids_and_the_stream_starts_with_a_place(
    service: FakeService, listener: Listener
) -> None:
    stream = await Raw.open(listener.port)
    await stream.ask()
    head = await stream.until(b"\r\n\r\n")
    hello = await stream.until(b"\n\n\r\n")
    event = service.hub.publish("alert", {"n": 1})
    got = await stream.until(b"\n\n\r\n")
    await stream.close()

    assert b"content-type: text/event-stream" in head
    assert b"content-length" not in head
    assert b"retry: " in hello
    assert b"\nid: " in hello
    assert event.frame in got


async def test_a_toggle_reaches_everybody_else(service: FakeService, listener: Listener) -> None:
    stream = await Raw.open(listener.port)
    await stream.ask()
    socket_ = await websockets.connect(f"ws://127.0.0.1:{listener.port}/ws")
    await readers_are(service, 2)
    async with httpx.AsyncClient() as client:
        answer = await client.post(f"{listener.url}api/auto-session/toggle", headers={"X-User-Id": "alice"})
    by_stream = await stream.until(b'"auto_session:toggled"')
    by_socket = json.loads(await asyncio.wait_for(socket_.recv(), WAIT))
    await socket_.close()
    await stream.close()

    assert b"event: auto_session:toggled" in by_stream
    assert by_socket["type"] == "auto_session:toggled"
    assert by_socket["data"] == answer.json()
    assert set(by_socket) == {"id", "type", "at", "data"}


async def test_last_event_id_goes_on_where_it_stopped(service: FakeService, listener: Listener) -> None:
    last = service.hub.publish("alert", {"n": 1})
    missed = service.hub.publish("alert", {"n": 2})
    stream = await Raw.open(listener.port)
    await stream.ask(more=f"Last-Event-ID: {last.id}\r\n")
    got = await stream.until(missed.frame)
    socket_ = await websockets.connect(f"ws://127.0.0.1:{listener.port}/ws?last_event_id={last.id}")
    by_socket = json.loads(await asyncio.wait_for(socket_.recv(), WAIT))
    await socket_.close()
    await stream.close()

    assert last.frame not in got
    assert by_socket["id"] == missed.id


async def test_a_lost_place_is_a_reset(service: FakeService, listener: Listener) -> None:
    stream = await Raw.open(listener.port)
    await stream.ask(more="Last-Event-ID: deadbeef-7\r\n")
    got = await stream.until(b"place_lost")
    await stream.close()

    assert b"event: reset" in got


async def test_a_slow_reader_slows_nobody_and_is_reset() -> None:
    service = FakeService(Hub(heartbeat_s=0, ring_events=50))
    running = await serve(create_app(service, ControlSettings()), "127.0.0.1", 0)
    slow, quick = await Raw.open(running.port), await Raw.open(running.port)
    await slow.ask()
    await slow.until(b"\n\n\r\n")
    slow.writer.transport.pause_reading()
    await quick.ask()
    await readers_are(service, 2)
    slowest = 0.0
    for number in range(400):
        start = time.perf_counter()
        service.hub.publish("alert", {"n": number, "text": "x" * 50_000})
        slowest = max(slowest, time.perf_counter() - start)
        await quick.until(f'"n":{number},'.encode())
        await quick.until(b"\n\n\r\n")
    slow.writer.transport.resume_reading()
    await slow.scan(b"event: reset")
    await running.stop()
    await slow.close()
    await quick.close()

    assert slowest < 0.1


async def test_heartbeats_come_on_both() -> None:
    service = FakeService(Hub(heartbeat_s=0.02))
    running = await serve(create_app(service, ControlSettings()), "127.0.0.1", 0)
    stream = await Raw.open(running.port)
    await stream.ask()
    await stream.until(b"event: heartbeat")
    socket_ = await websockets.connect(f"ws://127.0.0.1:{running.port}/ws")
    heard = json.loads(await asyncio.wait_for(socket_.recv(), WAIT))
    await socket_.close()
    await running.stop()
    await stream.close()

    assert heard["type"] == "heartbeat"


async def test_a_reader_that_leaves_is_forgotten(service: FakeService, listener: Listener) -> None:
    stream = await Raw.open(listener.port)
    await stream.ask()
    socket_ = await websockets.connect(f"ws://127.0.0.1:{listener.port}/ws")
    await readers_are(service, 2)
    await stream.close()
    await socket_.close()

    await readers_are(service, 0)


async def test_too_many_readers_are_told_so() -> None:
    service = FakeService(Hub(max_readers=1))
    running = await serve(create_app(service, ControlSettings()), "127.0.0.1", 0)
    first, second = await Raw.open(running.port), await Raw.open(running.port)
    await first.ask()
    await readers_are(service, 1)
    await second.ask(more="Connection: close\r\n")
    answer = await second.rest()
    with pytest.raises(websockets.InvalidStatus, match="503"):
        await websockets.connect(f"ws://127.0.0.1:{running.port}/ws")
    await running.stop()
    await first.close()
    await second.close()

    assert b" 503 " in answer
    assert b"retry-after: " in answer
    assert b"too_many_readers" in answer


async def test_a_thousand_idle_readers_leave_it_quick_and_stop_at_once(
    service: FakeService, app: FastAPI
) -> None:
    running = await serve(app, "127.0.0.1", 0)
    streams = [await Raw.open(running.port) for _ in range(1000)]
    for stream in streams:
        await stream.ask()
    await readers_are(service, 1000)
    async with httpx.AsyncClient() as client:
        await client.get(f"{running.url}health")
        start = time.perf_counter()
        answer = await client.get(f"{running.url}health")
        took = time.perf_counter() - start
        await client.post(f"{running.url}api/auto-session/toggle")
    await asyncio.gather(*(stream.until(b"auto_session:toggled") for stream in streams))
    start = time.perf_counter()
    await running.stop()
    stopped = time.perf_counter() - start
    ends = [(await stream.rest())[-5:] for stream in streams[:50]]
    for stream in streams:
        await stream.close()

    assert answer.status_code == 200
    assert took < 3.0
    assert stopped < 5.0
    assert ends == [b"0\r\n\r\n"] * 50
    assert service.hub.readers == 0


# WebSockets


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "http://127.0.0.1:1"],
)
async def test_another_sites_page_cannot_open_a_websocket(
    service: FakeService, listener: Listener, origin: str
) -> None:
    with pytest.raises(websockets.InvalidStatus, match="403") as refused:
        await websockets.connect(f"ws://127.0.0.1:{listener.port}/ws", origin=websockets.Origin(origin))

    assert json.loads(refused.value.response.body or b"")["error"]["code"] == "cross_origin"
    assert service.hub.readers == 0


async def test_our_own_page_can_open_a_websocket(listener: Listener) -> None:
    own = websockets.Origin(f"http://127.0.0.1:{listener.port}")
    socket_ = await websockets.connect(f"ws://127.0.0.1:{listener.port}/ws", origin=own)
    await socket_.close()


async def test_a_websocket_needs_the_token_too(service: FakeService) -> None:
    running = await serve(create_app(service, ControlSettings(token="t")), "127.0.0.1", 0)
    address = f"ws://127.0.0.1:{running.port}/ws"
    with pytest.raises(websockets.InvalidStatus, match="401"):
        await websockets.connect(f"{address}?token=t")
    allowed = await websockets.connect(address, additional_headers={"Authorization": "Bearer t"})
    await allowed.close()
    await running.stop()


async def test_what_a_websocket_client_says_is_ignored_and_bounded(
    service: FakeService, listener: Listener
) -> None:
    socket_ = await websockets.connect(f"ws://127.0.0.1:{listener.port}/ws")
    for _ in range(20):
        await socket_.send('{"type": "toggle"}')
    service.hub.publish("alert", {"n": 1})
    heard = json.loads(await asyncio.wait_for(socket_.recv(), WAIT))
    await socket_.send("x" * 100_000)
    with pytest.raises(websockets.ConnectionClosed):
        await asyncio.wait_for(socket_.recv(), WAIT)

    assert heard["data"] == {"n": 1}
    assert service.history == []
    await readers_are(service, 0)


async def test_an_unknown_websocket_is_refused(listener: Listener) -> None:
    with pytest.raises(websockets.InvalidStatus, match="403"):
        await websockets.connect(f"ws://127.0.0.1:{listener.port}/nowhere")


# Bad clients


@pytest.mark.parametrize(
    "target",
    [
        "/static/..",
        "/static/../guard.py",
        "/static/..%2fguard.py",
        "/static/%2e%2e/guard.py",
        "/../../etc/passwd",
    ],
)
async def test_no_path_leads_to_a_file(listener: Listener, target: str) -> None:
    raw = await Raw.open(listener.port)
    await raw.ask(target, more="Connection: close\r\n")
    answer = await raw.rest()
    await raw.close()

    assert b" 404 " in answer.partition(b"\r\n")[0]


@pytest.mark.parametrize(
    "request_",
    [
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"y" * 300_000 + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_400_in_our_shape_and_quiet(
    listener: Listener, caplog: pytest.LogCaptureFixture, request_: bytes
) -> None:
    raw = await Raw.open(listener.port)
    raw.writer.write(request_)
    raw.writer.write_eof()
    answer = await raw.rest()
    await raw.close()

    head, _, body = answer.partition(b"\r\n\r\n")
    if answer:
        assert b" 400 " in head
        assert json.loads(body)["error"]["code"] == "bad_request"
    assert not caplog.records
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{listener.url}health")).status_code == 200


async def test_ten_megabytes_get_their_413(listener: Listener) -> None:
    async with httpx.AsyncClient() as client:
        answer = await client.put(
            f"{listener.url}api/auto-session",
            content=b"x" * 10_000_000,
            headers={"content-type": "application/json"},
        )

    assert answer.status_code == 413


async def test_a_client_that_asks_first_is_refused_before_it_sends(listener: Listener) -> None:
    raw = await Raw.open(listener.port)
    await raw.ask(
        "/api/auto-session",
        "PUT",
        "Content-Type: application/json\r\nContent-Length: 10000000\r\nExpect: 100-continue\r\n",
    )
    answer = await raw.rest()
    await raw.close()

    assert answer.startswith(b"HTTP/1.1 413 ")


async def test_a_client_that_leaves_in_the_middle_of_a_body_is_no_error(
    listener: Listener, service: FakeService, caplog: pytest.LogCaptureFixture
) -> None:
    raw = await Raw.open(listener.port)
    await raw.ask(
        "/api/auto-session",
        "PUT",
        "Content-Type: application/json\r\nContent-Length: 18\r\n",
        b'{"enabled": false}'[:9],
    )
    await raw.close()
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{listener.url}health")).status_code == 200

    assert service.history == []
    assert not caplog.records


async def test_a_port_that_only_listens_elsewhere_is_not_shared(listener: Listener) -> None:
    with socket.socket() as other, pytest.raises(OSError):
        other.bind(("127.0.0.1", listener.port))


@pytest.mark.parametrize("steps", range(12))
async def test_a_connection_that_is_accepted_while_it_stops_is_closed(app: FastAPI, steps: int) -> None:
    listener = await serve(app, "127.0.0.1", 0)
    await asyncio.sleep(0.05)
    with socket.socket() as late:
        stopping = asyncio.create_task(listener.stop())
        for _ in range(steps):
            await asyncio.sleep(0)
        with suppress(ConnectionError):
            late.connect(("127.0.0.1", listener.port))
        await stopping
        late.settimeout(WAIT)
        with suppress(OSError):
            assert await asyncio.to_thread(late.recv, 1) == b""
    gc.collect()
