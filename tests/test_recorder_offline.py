"""Recorded flows, read again: the same records by the same names, and nothing twice."""

from __future__ import annotations

import asyncio
import contextlib
import json

import httpx
import pytest
from mitmproxy import ctx, http, io
from mitmproxy.test import tflow
from rig.bodies import CHAT_URL, chat, chat_answer, chat_events
from rig.codings import encoded
from rig.command import leading, mitmdump
from rig.inline import Inline
from rig.live import rows
from rig.proxy import client_of, reading

from kimi_mitm import link


@pytest.fixture
def read(confdir, monkeypatch):
    """Reads a file with a new engine in this process, and gives that engine."""
    monkeypatch.setattr("kimi_mitm.addon.Child", Inline)

    async def one(path, *before, **settings) -> Inline:
        monkeypatch.setattr("kimi_mitm.addon._stopping", None)
        await reading(path, confdir, *before, **settings)
        assert Inline.last.errors == []
        return Inline.last

    return one


def write(path, *flows):
    with path.open("wb") as file:
        writer = io.FlowWriter(file)
        for flow in flows:
            writer.add(flow)
    return path


def exchange(text="hi", prompt=11, at=1_700_000_000.5, url=CHAT_URL) -> http.HTTPFlow:
    request = http.Request.make("POST", url, json.dumps(chat(text)), {"content-type": "application/json"})
    request.timestamp_start, request.timestamp_end = at, at + 0.1
    response = http.Response.make(200, chat_answer(prompt), {"content-type": "application/json"})
    response.timestamp_start, response.timestamp_end = at + 0.5, at + 1
    flow = tflow.tflow(req=request, resp=response)
    flow.live = False
    return flow


def har(*entries):
    return json.dumps({"log": {"version": "1.2", "creator": {}, "entries": list(entries)}})


def entry(text="hi", prompt=11, at="2025-06-01T10:00:00.123Z", url=CHAT_URL):
    body = json.dumps(chat(text))
    return {
        "startedDateTime": at,
        "time": 1000,
        "request": {
            "method": "POST",
            "url": url,
            "httpVersion": "HTTP/2",
            "headers": [{"name": "content-type", "value": "application/json"}],
            "postData": {"mimeType": "application/json", "text": body},
        },
        "response": {
            "status": 200,
            "httpVersion": "HTTP/2",
            "headers": [{"name": "content-type", "value": "application/json"}],
            "content": {"text": chat_answer(prompt).decode()},
        },
    }


async def test_every_exchange_of_a_file_is_recorded_and_only_those(read, tmp_path):
    models = exchange(url="https://api.openai.com/v1/models")
    models.request.method = "GET"
    path = write(tmp_path / "a.mitm", *(exchange(str(n), prompt=n) for n in range(1, 20)), models)

    engine = await read(path)

    assert [r.input_tokens for r in engine.ended] == list(range(1, 20))
    assert all(r.duration_ms == 1000 for r in engine.ended)
    assert all(r.first_token_at is None for r in engine.ended)
    assert engine.settings.offline is True


async def test_the_same_file_gives_the_same_names(read, tmp_path):
    path = write(tmp_path / "a.mitm", exchange("one"), exchange("two"))

    first, second = await read(path), await read(path)

    assert len(first.records) == 2
    assert first.records == second.records


async def test_a_har_file_gives_the_same_names_too(read, tmp_path):
    path = tmp_path / "a.har"
    path.write_text(har(entry("one"), entry("two", prompt=12), entry("two", prompt=12)))

    first, second = await read(path), await read(path)

    assert [r.input_tokens for r in first.ended] == [11, 12, 12]
    assert len(first.records) == 3, "two equal entries are two exchanges"
    assert set(first.records) == set(second.records)
    assert {r.started_at.isoformat() for r in first.ended} == {"2025-06-01T10:00:00.123000+00:00"}


async def test_a_har_file_that_grew_keeps_the_names_of_what_it_had(read, tmp_path):
    short, long = tmp_path / "short.har", tmp_path / "long.har"
    short.write_text(har(entry("two"), entry("two")))
    long.write_text("\ufeff" + har(entry("one"), entry("two"), entry("two"), entry("two")))

    few, many = await read(short), await read(long)

    assert len(many.records) == 4
    assert set(few.records) < set(many.records)


async def test_a_key_in_a_har_files_url_does_not_get_into_the_record(read, tmp_path):
    path = tmp_path / "a.har"
    path.write_text(har(entry(url=f"{CHAT_URL}?key=AIzaSyVerySecret0123456789abcdefghij")))

    engine = await read(path)

    assert "Secret" not in repr(engine.frames)
    assert "Secret" not in repr(engine.ended)


async def test_an_aborted_flow_of_a_file_is_recorded_once(read, tmp_path):
    """mitmproxy gives it both a response and an error."""
    flow = exchange()
    flow.response.content = b"".join(chat_events(3)[:2])
    flow.error = tflow.terr("Client disconnected.")

    engine = await read(write(tmp_path / "a.mitm", flow))

    assert len(engine.ended) == 1
    assert engine.ended[0].error.type == "aborted"
    assert len(engine.heads(link.Ended)) == 1


async def test_a_flow_without_an_answer_is_recorded(read, tmp_path):
    flow = exchange()
    flow.response = None
    flow.error = tflow.terr("timed out")

    engine = await read(write(tmp_path / "a.mitm", flow))

    (record,) = engine.ended
    assert (record.status, record.error.type) == (None, "no_answer")


async def test_a_live_exchange_read_from_a_file_later_has_its_name(proxy, engine, upstream, read, tmp_path):
    async def handler(call):
        await call.stream(*encoded("gzip", chat_events(5)), headers={"content-encoding": "gzip"})

    upstream.handler = handler
    running = await proxy()
    async with running.client() as client:
        await client.post(CHAT_URL, json=chat(stream=True))
    await engine().record()
    live = engine().ended[0]
    path = write(tmp_path / "a.mitm", running.spy.of("response")[0])

    again = (await read(path)).ended[0]

    assert again.id == live.id
    for field in ("input_tokens", "output_tokens", "started_at", "model", "url", "user", "stream"):
        assert getattr(again, field) == getattr(live, field), field


async def test_a_websockets_turns_keep_their_names_though_its_first_messages_are_gone(
    proxy, engine, read, tmp_path, authority
):
    from test_recorder_sockets import create, events, through
    from websockets.asyncio.server import serve

    async def handler(one):
        turn = 0
        async for _ in one:
            turn += 1
            for event in events(f"resp_{turn}", 10 * turn, turn):
                await one.send(event)

    async with serve(handler, "127.0.0.1", 0, ssl=authority.serving()) as server:
        running = await proxy(ports={443: server.sockets[0].getsockname()[1]})
        async with through(running) as one:
            for turn in (1, 2, 3):
                await one.send(create(f"turn {turn}"))
                for _ in range(3):
                    await one.recv()
            await engine().record(3)
        flows = await engine().until(lambda: running.spy.of("websocket_end"))
    live = [r.id for r in engine().ended]
    whole = write(tmp_path / "whole.mitm", flows[0])
    del flows[0].websocket.messages[:4]
    rest = write(tmp_path / "rest.mitm", flows[0])

    assert [r.id for r in (await read(whole)).ended] == live
    assert [r.id for r in (await read(rest)).ended] == live[1:]


async def test_options_may_change_while_a_file_is_read(read, tmp_path):
    class Changing:
        def request(self, flow):
            ctx.options.update(anticache=True)

    engine = await read(write(tmp_path / "a.mitm", exchange("one"), exchange("two")), Changing())

    assert len(engine.ended) == 2
    assert ctx.options.anticache is True


async def test_what_mitmdump_writes_holds_the_bodies_and_reading_it_adds_nothing(
    authority, confdir, upstream, tmp_path
):
    pieces = list(encoded("br", chat_events(5)))
    cut = asyncio.Event()

    async def handler(call):
        if b"cut" in call.body:
            await call.head(200, {"content-type": "text/event-stream"})
            await call.piece(chat_events(2)[0])
            await asyncio.wait_for(cut.wait(), 30)
            call.reset()
        else:
            await call.stream(*filter(None, pieces), headers={"content-encoding": "br"})

    upstream.handler = handler
    saved = tmp_path / "saved.mitm"
    arguments = leading(tmp_path, authority.pem, {443: upstream.port})
    async with mitmdump(tmp_path, confdir, *arguments, "-w", str(saved)) as one:
        async with client_of(await one.port(), confdir) as client:
            await client.post(CHAT_URL, json=chat("whole", stream=True))
            with contextlib.suppress(httpx.HTTPError):
                async with client.stream("POST", CHAT_URL, json=chat("cut", stream=True)) as answer:
                    async for _ in answer.aiter_raw():
                        cut.set()
        assert await one.stop() == 0
    before = rows(tmp_path / "kimi.db")
    async with mitmdump(tmp_path, confdir, "-nr", str(saved)) as one:
        assert await one.ended() == 0

    with saved.open("rb") as file:
        flows = list(io.FlowReader(file).stream())
    assert [f.response.raw_content for f in flows] == [b"".join(pieces), chat_events(2)[0]]
    assert before[0]["output_tokens"] == 5
    assert before[1]["error"]["type"] == "aborted"
    assert rows(tmp_path / "kimi.db") == before
