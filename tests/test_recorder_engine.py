"""The recorder with a real engine: what dies, fills up or refuses never touches the traffic."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import zlib

import pytest
from rig.bodies import CHAT_URL, chat, chat_answer, chat_events
from rig.command import leading, mitmdump
from rig.live import rows, rows_once

from kimi_mitm import link


async def test_an_engine_that_is_killed_in_the_middle_costs_nothing(live, upstream, tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    events = chat_events(4)
    seen: asyncio.Queue[bytes] = asyncio.Queue()
    go_on = asyncio.Event()

    async def handler(call):
        if b"before" in call.body:
            await call.answer(chat_answer(prompt=5))
            return
        await call.head(200, {"content-type": "text/event-stream"})
        for n, event in enumerate(events):
            await call.piece(event)
            assert await asyncio.wait_for(seen.get(), 5) == event
            if n == 1:
                await asyncio.wait_for(go_on.wait(), 60)
        await call.end()

    upstream.handler = handler
    async with live() as running, running.client() as client:
        addon = running.addon
        await addon.hears(link.Ready)
        await client.post(CHAT_URL, json=chat("before"))
        await addon.hears(link.Note, settled=True)
        first = addon.child.pid
        async with client.stream("POST", CHAT_URL, json=chat("during", stream=True)) as answer:
            async for piece in answer.aiter_raw():
                seen.put_nowait(piece)
                if piece == events[1]:
                    await addon.hears(link.Note, 3)
                    os.kill(first, signal.SIGKILL)
                    go_on.set()
        await addon.hears(link.Ready, 2)
        assert addon.child.pid != first
        await addon.hears(link.Note, 2, settled=True)

    before, during = rows(tmp_path / "kimi.db")
    assert (before["input_tokens"], before["error"]) == (5, None)
    assert (during["input_tokens"], during["output_tokens"], during["error"]) == (11, 4, None)
    said = [r.getMessage() for r in caplog.records if "engine" in r.getMessage()]
    assert len(said) == 1
    assert "traffic goes on" in said[0]


async def test_exchanges_while_there_is_no_engine_are_recorded_by_the_next(
    live, upstream, tmp_path, monkeypatch
):
    async def handler(call):
        await call.answer(chat_answer())

    upstream.handler = handler
    monkeypatch.setattr("kimi_mitm.proxy.child.BACKOFF_S", (3600,))
    async with live() as running, running.client() as client:
        addon = running.addon
        await addon.hears(link.Ready)
        os.kill(addon.child.pid, signal.SIGKILL)
        await rows_once(tmp_path / "kimi.db", lambda found: addon.child.pid is None)
        for n in range(3):
            assert (await client.post(CHAT_URL, json=chat(str(n)))).content == chat_answer()
        addon.child._start_again()
        await addon.hears(link.Note, 3, settled=True)

    assert [row["input_tokens"] for row in rows(tmp_path / "kimi.db")] == [11, 11, 11]


POISONED = """
import os, sys
from kimi_mitm import link
from kimi_mitm.outbox import Outbox
source, outbox = os.fdopen(0, "rb", buffering=0), Outbox(10**6)
outbox.attach(os.fdopen(1, "wb", buffering=0))
flows = {}
while (frame := link.read_frame(source, link.UPWARD)) is not None:
    head, payload = frame
    if b"poison" in payload:
        outbox.close()
        outbox.join(10)
        os._exit(1)
    if isinstance(head, link.Opened):
        flows[head.n] = head.flow_id
    if isinstance(head, link.Ended) and head.n in flows:
        outbox.put(link.Note(flow_id=flows[head.n], comment=str(head.n), settled=True))
    if isinstance(head, link.Stop):
        break
outbox.close()
outbox.join(10)
"""
"""An engine that one exchange kills, and that records the others."""


async def test_an_exchange_that_kills_engines_does_not_do_so_for_ever(live, upstream, monkeypatch):
    monkeypatch.setattr("kimi_mitm.proxy.child.COMMAND", (sys.executable, "-c", POISONED))

    async def handler(call):
        await call.answer(chat_answer())

    upstream.handler = handler
    async with live() as running, running.client() as client:
        for text in ("one", "poison", "two"):
            assert (await client.post(CHAT_URL, json=chat(text))).content == chat_answer()
        await running.addon.hears(link.Note, comment="3")
        assert running.addon.child.restarts <= 8
        assert {m.comment for m in running.addon.messages if isinstance(m, link.Note)} == {"1", "3"}


async def test_what_the_engine_has_received_survives_the_proxys_death(authority, confdir, upstream, tmp_path):
    async def handler(call):
        await call.head(200, {"content-type": "text/event-stream"})
        for event in chat_events(2)[:2]:
            await call.piece(event)
        await asyncio.sleep(300)

    upstream.handler = handler
    db = tmp_path / "kimi.db"
    arguments = leading(tmp_path, authority.pem, {443: upstream.port})
    async with mitmdump(tmp_path, confdir, *arguments) as one:
        from rig.proxy import client_of

        async with (
            client_of(await one.port(), confdir) as client,
            client.stream("POST", CHAT_URL, json=chat(stream=True)) as answer,
        ):
            pieces = answer.aiter_raw()
            await anext(pieces)
            await rows_once(db, lambda found: len(found) == 1)
            one.process.kill()
            await one.process.wait()

        (row,) = await rows_once(db, lambda found: bool(found and found[0]["ended_at"]))
    assert row["model"] == "gpt-4o-mini"
    assert row["status"] == 200
    assert row["error"]["type"] == "aborted"
    assert "proxy ended" in row["error"]["message"]


async def test_a_database_that_can_not_be_made_leaves_the_client_alone(live, upstream, tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    (tmp_path / "file").write_text("in the way")

    async def handler(call):
        await call.stream(*chat_events(3))

    upstream.handler = handler
    async with live(kimi_db=str(tmp_path / "file" / "kimi.db")) as running, running.client() as client:
        await running.addon.hears(link.Word)
        for _ in range(5):
            answer = await client.post(CHAT_URL, json=chat(stream=True))
            assert answer.content == b"".join(chat_events(3))
        await running.addon.hears(link.Note, 5, settled=True)

    said = [r.getMessage() for r in caplog.records if r.name.startswith("kimi")]
    assert len(said) == 1
    assert "nothing is stored" in said[0]


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on file sizes")
async def test_a_full_disk_is_said_once_and_loses_nothing_recorded_before(
    live, upstream, tmp_path, caplog, monkeypatch
):
    """The engine's files may not grow beyond a limit, as on a disk that is full."""
    limit = (
        "import resource, runpy, sys; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000)); "
        "runpy.run_module('kimi_mitm.engine', run_name='__main__')"
    )
    monkeypatch.setattr("kimi_mitm.proxy.child.COMMAND", (sys.executable, "-c", limit))
    caplog.set_level(logging.WARNING)

    async def handler(call):
        await call.answer(chat_answer())

    upstream.handler = handler
    async with live() as running, running.client() as client:
        addon = running.addon
        await addon.hears(link.Ready)
        await client.post(CHAT_URL, json=chat("before"))
        await addon.hears(link.Note, settled=True)
        for n in range(300):
            answer = await client.post(CHAT_URL, json=chat(f"{n} " + "words of a prompt " * 400))
            assert answer.content == chat_answer()
            if any(isinstance(m, link.Word) for m in addon.messages):
                break
        await addon.hears(link.Word)

    assert rows(tmp_path / "kimi.db")[0]["input_tokens"] == 11
    said = [r.getMessage() for r in caplog.records if "database" in r.getMessage()]
    assert 1 <= len(said) <= 2


async def test_a_full_queue_drops_bodies_keeps_rows_and_says_so(live, upstream, tmp_path, monkeypatch):
    """An engine that has stopped reading: a tiny queue fills, then it goes on."""
    monkeypatch.setattr("kimi_mitm.proxy.child.QUEUE_LIMIT", 100_000)

    async def handler(call):
        await call.answer(chat_answer())

    upstream.handler = handler
    async with live() as running, running.client() as client:
        addon = running.addon
        await addon.hears(link.Ready)
        os.kill(addon.child.pid, signal.SIGSTOP)
        for n in range(60):
            answer = await client.post(CHAT_URL, json=chat(f"{n} " + "x" * 50_000))
            assert answer.content == chat_answer()
        lost = addon.child.bodies_lost
        os.kill(addon.child.pid, signal.SIGCONT)
        await addon.hears(link.Note, 60, settled=True)

    found = rows(tmp_path / "kimi.db")
    assert lost > 0
    assert len(found) == 60
    assert all(row["ended_at"] for row in found)
    assert [row for row in found if row["notes"] and "dropped" in row["notes"]]


async def test_no_credential_is_written_anywhere(authority, confdir, upstream, tmp_path):
    """Keys in every place where clients, providers and people put them; everything written is searched."""
    keys = {
        "bearer": "sk-canary0bearer0abcdefghijklmnopqrstuvwx0123",
        "x-api-key": "sk-ant-api03-canary1abcdefghijklmnopqrstuvwxyz0123456789",
        "api-key": "canary2azure0123456789abcdef01234567",
        "x-goog-api-key": "AIzaSyCanary3abcdefghijklmnopqrstuvwx",
        "cookie": "session=canary4cookieabcdef0123456789",
        "set-cookie": "canary5setcookie0123456789abcdef",
        "query": "AIzaSyCanary6query0123456789abcdefghij",
        "api_key": "canary7query0123456789abcdefghijkl",
        "proxy": "canary8proxypassword",
        "prompt": "sk-proj-canary9prompt0123456789abcdefghijklmnop",
        "answer": "ghp_canary10answer0123456789abcdefghij",
        "error": "sk-canary11error0abcdefghijklmnopqrstuvw0123",
        "user-agent": "sk-canary12agent0abcdefghijklmnopqrstuvw0123",
        "path": "sk-canary13path00abcdefghijklmnopqrstuvw0123",
        "aws": "AKIACANARY14ABCDEFGH",
        "response-header": "sk-canary15answer0abcdefghijklmnopqrstuv0123",
    }

    async def handler(call):
        headers = {"set-cookie": f"id={keys['set-cookie']}", "x-request-id": keys["response-header"]}
        if "fail" in call.path:
            message = f"Incorrect API key provided: {keys['error']}."
            body = b'{"error":{"message":"%s","type":"invalid_request_error"}}' % message.encode()
            await call.answer(body, headers, status=401)
        else:
            await call.answer(chat_answer(text=f"your token is {keys['answer']}"), headers)

    upstream.handler = handler
    headers = {
        "authorization": f"Bearer {keys['bearer']}",
        "x-amz-security-token": keys["aws"],
        "user-agent": f"odd/{keys['user-agent']}",
        **{name: keys[name] for name in ("x-api-key", "api-key", "x-goog-api-key", "cookie")},
    }
    gemini = "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-pro:generateContent"
    arguments = leading(tmp_path, authority.pem, {443: upstream.port})
    async with mitmdump(tmp_path, confdir, *arguments) as one:
        from rig.proxy import client_of

        port = await one.port()
        async with client_of(port, confdir, user=f"alice:{keys['proxy']}") as client:
            body = chat(f"my key is {keys['prompt']}, keep it")
            await client.post(CHAT_URL, json=body, headers=headers)
            await client.post(f"{CHAT_URL}?api_key={keys['api_key']}&fail=1", json=body, headers=headers)
            await client.post(f"{gemini}?key={keys['query']}", json={"contents": []}, headers=headers)
            url = CHAT_URL.replace("/v1/", f"/key/{keys['path']}/v1/")
            await client.post(url, json=body, headers=headers)
        assert await one.stop() == 0

    found = rows(tmp_path / "kimi.db")
    assert len(found) == 4
    assert {row["user"] for row in found} == {"alice"}
    written = {"mitmdump's log": one.text.encode()}
    for path in tmp_path.rglob("*"):
        if path.is_file():
            written[str(path)] = path.read_bytes()
    assert any(name.endswith(".yaml") for name in written), "nothing was archived"
    leaks = [
        (name, where) for name, key in keys.items() for where, data in written.items() if key.encode() in data
    ]
    assert leaks == []
    assert all("proxy-authorization" not in call.headers for call in upstream.calls)


async def test_bodies_that_are_hard_to_read_cost_nobody_anything(live, upstream, tmp_path, caplog):
    """Large, deep, long, damaged and absurd ones, one after the other, through one engine."""
    caplog.set_level(logging.WARNING)
    events = [*chat_events(20_000)]
    message = '{"model":"gpt-4o-mini","messages":[{"role":"user","content":%s}]}'
    bodies = {
        "five megabytes": (message % json.dumps("word " * 1_000_000)).encode(),
        "a million spaces": (message % json.dumps(" " * 1_000_000)).encode(),
        "one long word": (message % json.dumps("x" * 1_000_000)).encode(),
        "deep": (message % ("[" * 100_000 + "]" * 100_000)).encode(),
        "deep and open": (message[:60] + "[" * 100_000).encode(),
        "no UTF-8": b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"\xff\xfe\xed\xa0\x80"}]}',
        "numbers": message.replace("%s", "1e999999,-0,NaN," + "9" * 10_000).encode(),
        "not JSON": b"\x00" * 10_000,
        "a bomb": zlib.compress(b" " * 50_000_000),
        "nothing": b"",
        "many events": json.dumps(chat("stream", stream=True)).encode(),
    }

    async def handler(call):
        if b'"stream"' in call.body:
            await call.head(200, {"content-type": "text/event-stream"})
            for start in range(0, len(events), 100):
                await call.piece(b"".join(events[start : start + 100]))
            await call.end()
        else:
            await call.answer(chat_answer())

    upstream.handler = handler
    async with live() as running, running.client() as client:
        await running.addon.hears(link.Ready)
        pid = running.addon.child.pid
        for name, body in bodies.items():
            headers = {"content-encoding": "deflate"} if name == "a bomb" else {}
            answer = await client.post(CHAT_URL, content=body, headers=headers)
            expected = b"".join(events) if name == "many events" else chat_answer()
            assert answer.content == expected, name
        await running.addon.hears(link.Note, len(bodies), settled=True)
        assert running.addon.child.pid == pid

    assert [call.body for call in upstream.calls] == list(bodies.values())
    found = rows(tmp_path / "kimi.db")
    assert len(found) == len(bodies)
    assert {row["output_tokens"] for row in found} == {3, 20_000}
    assert [r.getMessage() for r in caplog.records if r.name.startswith("kimi")] == []


async def test_a_control_port_in_use_is_said_and_nothing_else_happens(live, upstream, tmp_path, caplog):
    caplog.set_level(logging.WARNING)

    async def handler(call):
        await call.answer(chat_answer())

    upstream.handler = handler
    async with live(kimi_control=f"127.0.0.1:{upstream.port}") as running, running.client() as client:
        await running.addon.hears(link.Word)
        await client.post(CHAT_URL, json=chat())
        await running.addon.hears(link.Note, settled=True)

    (said,) = [r.getMessage() for r in caplog.records if r.name.startswith("kimi")]
    assert str(upstream.port) in said
    assert len(rows(tmp_path / "kimi.db")) == 1
