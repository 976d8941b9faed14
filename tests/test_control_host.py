"""`http://kimi.mitm/` leads to the control endpoint; nothing else does."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from mitmproxy.test import tflow, tutils
from rig.upstream import Upstream

from kimi_mitm.proxy.control_host import ControlHost


@pytest.fixture
async def control():
    """A stand-in for the endpoint, on loopback."""

    async def handler(call):
        await call.answer(b'{"status": "ok"}', {"content-type": "application/json"})

    one = Upstream(handler)
    await one.up(None)
    yield one
    await one.down()


@pytest.fixture
def guarded_proxy(proxy, control):
    async def start(**settings):
        return await proxy(kimi_control=f"127.0.0.1:{control.port}", **settings)

    return start


async def test_the_magic_host_leads_to_the_endpoint_with_its_own_name(guarded_proxy, control, engine):
    running = await guarded_proxy()
    async with running.client() as client:
        answer = await client.get("http://kimi.mitm/health?x=1")
        await client.post("http://kimi.mitm/api/auto-session/toggle", json={})

    assert answer.json() == {"status": "ok"}
    assert [(c.method, c.path, c.headers["host"]) for c in control.calls] == [
        ("GET", "/health?x=1", "kimi.mitm"),
        ("POST", "/api/auto-session/toggle", "kimi.mitm"),
    ]
    assert engine().frames == [] or not any(type(h).__name__ == "Opened" for h, _ in engine().frames)


async def test_its_name_may_be_spelled_as_names_may(guarded_proxy, control):
    running = await guarded_proxy()
    async with running.client() as client:
        answer = await client.get("http://KIMI.mitm./health", headers={"host": "KIMI.mitm."})

    assert answer.status_code == 200


async def test_it_is_reached_past_an_upstream_proxy(guarded_proxy, control, plain):
    running = await guarded_proxy(mode=[f"upstream:http://127.0.0.1:{plain.port}"])
    async with running.client() as client:
        answer = await client.get("http://kimi.mitm/health")
        other = await client.get("http://www.example.org/")

    assert answer.json() == {"status": "ok"}
    assert other.status_code == 200
    assert [call.path for call in plain.calls] == ["http://www.example.org/"]


async def test_events_arrive_as_they_come(guarded_proxy, control):
    seen: asyncio.Queue[bytes] = asyncio.Queue()

    async def handler(call):
        await call.head(200, {"content-type": "text/event-stream"})
        for n in range(3):
            await call.piece(b"data: %d\n\n" % n)
            assert await asyncio.wait_for(seen.get(), 5) == b"data: %d\n\n" % n
        await call.end()

    control.handler = handler
    running = await guarded_proxy()
    async with running.client() as client, client.stream("GET", "http://kimi.mitm/events") as answer:
        async for piece in answer.aiter_raw():
            seen.put_nowait(piece)


async def test_a_websocket_reaches_it_through_a_tunnel(guarded_proxy, control):
    running = await guarded_proxy()

    reader, writer = await running.connect("kimi.mitm", 80)
    writer.write(b"GET /health HTTP/1.1\r\nHost: kimi.mitm\r\n\r\n")
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    writer.close()

    assert b" 200 " in head
    assert control.calls[0].headers["host"] == "kimi.mitm"


async def test_over_tls_it_says_what_to_use(guarded_proxy):
    running = await guarded_proxy()

    with pytest.raises(ConnectionRefusedError, match=r"use http://kimi\.mitm/"):
        await running.connect("kimi.mitm", 443)


async def test_while_it_is_off_the_magic_host_says_so(proxy):
    running = await proxy()
    async with running.client() as client:
        answer = await client.get("http://kimi.mitm/")

    assert (answer.status_code, answer.text) == (503, "the control endpoint is off\n")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "127.0.0.2", "LOCALHOST."])
async def test_its_address_is_refused(guarded_proxy, control, host):
    running = await guarded_proxy()
    async with running.client() as client:
        answer = await client.get(f"http://{host}:{control.port}/health")

    assert answer.status_code == 403
    assert "kimi.mitm" in answer.text
    assert control.calls == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "127.0.0.2", "[::ffff:127.0.0.1]"])
async def test_a_tunnel_to_its_address_is_refused(guarded_proxy, control, host):
    running = await guarded_proxy()

    with pytest.raises(ConnectionRefusedError):
        await running.connect(host, control.port)
    assert control.connections == 0


@pytest.mark.parametrize("name", ["127.1", "2130706433", "0x7f000001", "rebind.example.org"])
async def test_a_name_that_leads_there_is_refused(guarded_proxy, control, monkeypatch, name):
    loop = asyncio.get_running_loop()
    real = loop.getaddrinfo

    async def resolve(host, *args, **kwargs):
        return await real("127.0.0.1" if host == "rebind.example.org" else host, *args, **kwargs)

    monkeypatch.setattr(loop, "getaddrinfo", resolve)
    running = await guarded_proxy()
    async with running.client() as client:
        answer = await client.get(f"http://{name}:{control.port}/health")
    with contextlib.suppress(ConnectionRefusedError):
        _, writer = await running.connect(name, control.port)
        writer.close()

    assert answer.status_code == 502
    assert control.connections == 0


async def test_a_connection_that_was_led_there_gets_nowhere_else(guarded_proxy, control):
    """Over one connection: first the magic host, then the endpoint's address, then the magic host again."""
    running = await guarded_proxy()
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    statuses = []
    for url in ("http://kimi.mitm/a", f"http://127.0.0.1:{control.port}/b", "http://kimi.mitm/c"):
        host = url.split("/")[2]
        writer.write(f"GET {url} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        statuses.append(int(head.split(b" ", 2)[1]))
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        await reader.readexactly(length)
    writer.close()

    assert statuses == [200, 403, 200]
    assert [call.path for call in control.calls] == ["/a", "/c"]


async def test_another_port_of_this_machine_is_no_concern(guarded_proxy, control, plain):
    running = await guarded_proxy()
    async with running.client() as client:
        answer = await client.get(f"http://127.0.0.1:{plain.port}/x")

    assert answer.status_code == 200


def far_flow(url="http://kimi.mitm/health"):
    flow = tflow.tflow(req=tutils.treq(host="kimi.mitm", port=80, headers=((b"host", b"kimi.mitm"),)))
    flow.client_conn.peername = ("192.168.1.9", 50000)
    return flow


def test_a_client_on_another_machine_needs_the_token():
    one = ControlHost()
    one.opened(("127.0.0.1", 8082))
    flow = far_flow()

    assert one.route(flow)
    assert flow.response.status_code == 403
    assert b"kimi_control_token" in flow.response.content


def test_with_a_token_it_is_the_endpoints_own_business():
    one = ControlHost(guarded=True)
    one.opened(("127.0.0.1", 8082))
    flow = far_flow()

    assert one.route(flow)
    assert flow.response is None
    assert (flow.request.host, flow.request.port) == ("127.0.0.1", 8082)
    assert flow.request.headers["host"] == "kimi.mitm"


def test_a_streamed_request_that_must_be_refused_is_cut():
    one = ControlHost()
    one.opened(("127.0.0.1", 8082))
    flow = far_flow()
    flow.request.stream = True
    flow.live = True

    assert one.route(flow)
    assert flow.error is not None


@pytest.mark.parametrize("host", ["::1", "::", "::ffff:127.0.0.1", "127.9.9.9", "localhost"])
def test_every_spelling_of_loopback_is_refused(host):
    one = ControlHost()
    one.opened(("127.0.0.1", 8082))
    flow = tflow.tflow(req=tutils.treq(host=host, port=8082, headers=((b"host", b"x"),)))

    assert one.route(flow)
    assert flow.response.status_code == 403


@pytest.mark.parametrize(
    ("address", "url"),
    [
        (None, None),
        (("127.0.0.1", 1), "http://127.0.0.1:1/"),
        (("::1", 1), "http://[::1]:1/"),
    ],
)
def test_the_pages_own_address(address, url):
    one = ControlHost()
    one.opened(address)

    assert one.url == url


async def test_other_requests_are_not_asked_twice(guarded_proxy, plain):
    """A host on the endpoint's port that is somewhere else is reached."""
    running = await guarded_proxy()
    assert not running.addon.control.concerns("api.openai.com", 443)
    assert running.addon.control.concerns("kimi.mitm", 80)
