"""Users are known by what their clients bring, and what they bring goes no further."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy.test import tflow
from rig.bodies import CHAT_URL, chat, chat_answer

from kimi_mitm import link
from kimi_mitm.proxy import people
from kimi_mitm.proxy.people import People


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("header", "name"),
    [
        (basic("alice:x"), "alice"),
        (basic("alice"), "alice"),
        (basic("alice:a:b"), "alice"),
        ("basic " + basic("alice:x").partition(" ")[2], "alice"),
        ("  " + basic("alice:x") + "  ", "alice"),
        (basic("zoë:x"), "zoë"),
        (basic(" alice :x"), "alice"),
        (basic("ali\nce\x00:x"), "alice"),
        (basic("a" * 500 + ":x"), "a" * 200),
        (basic(":x"), None),
        (basic(""), None),
        ("Bearer abc", None),
        ("Basic !!!", None),
        ("Basic", None),
        ("", None),
    ],
)
def test_the_user_of_a_header(header, name):
    assert people.user_of(header) == name


@given(st.text(max_size=50))
def test_no_header_raises(text):
    assert people.user_of(text) is None or isinstance(people.user_of(text), str)
    people.user_of("Basic " + text)


def test_a_connection_keeps_its_name_until_it_is_gone():
    one, flow = People(), tflow.tflow()
    flow.request.headers["Proxy-Authorization"] = basic("alice:x")
    one.take(flow)
    one.take(flow)
    assert "Proxy-Authorization" not in flow.request.headers

    assert one.user(flow, None) == "alice"
    assert one.user(flow, "bob") == "alice"
    one.forget(flow.client_conn.id)
    assert one.user(flow, "bob") == "bob"
    assert one.user(flow, None) is None


def test_mitmproxys_own_authentication_counts_first():
    one, flow = People(), tflow.tflow()
    flow.metadata["proxyauth"] = ("carol", "secret")

    assert one.user(flow, "bob") == "carol"


async def test_a_tunnels_name_is_recorded_and_not_forwarded(proxy, engine, upstream):
    async def handler(call):
        await call.answer(chat_answer())

    upstream.handler = handler
    running = await proxy()
    async with running.client(user="alice") as client:
        await client.post(CHAT_URL, json=chat())
    async with running.client() as client:
        await client.post(CHAT_URL, json=chat(), headers={"x-user-id": "bob"})
        await client.post(CHAT_URL, json=chat())

    await engine().record(3)
    assert [head.user for head in engine().heads(link.Opened)] == ["alice", "bob", None]
    assert all("proxy-authorization" not in call.headers for call in upstream.calls)
    assert [call.headers.get("x-user-id") for call in upstream.calls] == [None, "bob", None]
    assert "secret" not in repr(engine().frames)


async def test_a_plain_requests_name_is_recorded_and_not_forwarded(proxy, engine, plain):
    async def handler(call):
        await call.answer(b'{"model":"llama3","message":{"content":"hi"},"done":true,"eval_count":2}')

    plain.handler = handler
    running = await proxy()
    async with running.client(user="alice") as client:
        await client.post("http://localhost:11434/api/chat", json={"model": "llama3", "messages": []})
        await client.get("http://www.example.org/")

    await engine().record()
    assert engine().heads(link.Opened)[0].user == "alice"
    assert len(plain.calls) == 2
    assert all("proxy-authorization" not in call.headers for call in plain.calls)
