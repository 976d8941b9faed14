"""The addon among mitmproxy's other addons: what they set, change, stop and replay stays theirs."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import logging
import statistics
import sys
from pathlib import Path

import pytest
from mitmproxy import exceptions, http
from mitmproxy.addonmanager import Loader
from mitmproxy.test import taddons, tflow
from rig.bodies import CHAT_URL, chat, chat_answer, chat_events

from kimi_mitm import link
from kimi_mitm.addon import KimiMitm

BENCHMARK = Path(__file__).resolve().parents[1] / "benchmarks" / "hooks.py"


async def test_an_answer_that_a_script_gives_is_sent_and_recorded(proxy, engine, upstream):
    class Script:
        def request(self, flow):
            flow.response = http.Response.make(200, chat_answer(text="mine"))

    running = await proxy(Script())
    async with running.client() as client:
        answer = await client.post(CHAT_URL, json=chat())

    record = await engine().record()
    assert answer.content == chat_answer(text="mine")
    assert upstream.calls == []
    assert (record.status, record.input_tokens) == (200, 11)
    assert len(engine().heads(link.Ended)) == 1


async def test_an_answer_that_a_script_changes_reaches_the_client_changed(proxy, engine, upstream):
    """A script's own stream function sees every piece, and what it makes of it is sent."""

    class Script:
        def responseheaders(self, flow):
            flow.response.stream = lambda data: data.replace(b"word1", b"WORD1")

    async def handler(call):
        await call.stream(*chat_events(3))

    upstream.handler = handler
    running = await proxy(Script())
    async with running.client() as client:
        answer = await client.post(CHAT_URL, json=chat(stream=True))

    record = await engine().record()
    assert answer.content == b"".join(chat_events(3)).replace(b"word1", b"WORD1")
    assert (record.input_tokens, record.output_tokens) == (11, 3)


async def test_a_script_that_comes_after_us_may_put_itself_in_our_place(proxy, engine, upstream):
    """Then the answer is not seen; the exchange is, and its body is not shown as empty."""

    class Script:
        def responseheaders(self, flow):
            flow.response.stream = lambda data: data.upper()

    async def handler(call):
        await call.stream(*chat_events(3))

    upstream.handler = handler
    running = await proxy()
    running.master.addons.add(Script())
    async with running.client() as client:
        answer = await client.post(CHAT_URL, json=chat(stream=True))

    record = await engine().record()
    assert answer.content == b"".join(chat_events(3)).upper()
    assert (record.status, record.output_tokens) == (200, None)
    assert running.spy.of("response")[0].response.raw_content is None


async def test_a_request_that_a_script_streams_is_read_all_the_same(proxy, engine, upstream):
    class Script:
        def requestheaders(self, flow):
            flow.request.stream = lambda data: data.replace(b"hi", b"HI")

    async def handler(call):
        await call.answer(chat_answer())

    upstream.handler = handler
    running = await proxy(Script())
    async with running.client() as client:
        await client.post(CHAT_URL, json=chat("hi"))

    record = await engine().record()
    assert b"HI" in upstream.calls[0].body
    assert record.model == "gpt-4o-mini"
    assert record.input_tokens == 11


async def test_modify_body_still_changes_answers(proxy, engine, upstream):
    async def handler(call):
        await call.stream(*chat_events(3))

    upstream.handler = handler
    running = await proxy(modify_body=["/~s/word1/WORD1"])
    async with running.client() as client:
        answer = await client.post(CHAT_URL, json=chat(stream=True))

    record = await engine().record()
    assert answer.content == b"".join(chat_events(3)).replace(b"word1", b"WORD1")
    assert record.output_tokens == 3


async def test_modify_body_of_requests_only_leaves_answers_streaming(proxy, engine, upstream):
    seen: asyncio.Queue[bytes] = asyncio.Queue()

    async def handler(call):
        await call.head(200)
        for event in chat_events(2):
            await call.piece(event)
            assert await asyncio.wait_for(seen.get(), 5) == event
        await call.end()

    upstream.handler = handler
    running = await proxy(modify_body=["/~q/hi/HI"])
    async with (
        running.client() as client,
        client.stream("POST", CHAT_URL, json=chat("hi", stream=True)) as answer,
    ):
        async for piece in answer.aiter_raw():
            seen.put_nowait(piece)

    await engine().record()
    assert b"HI" in upstream.calls[0].body


async def test_an_answer_that_the_user_stops_can_still_be_edited(proxy, engine, upstream):
    from mitmproxy.addons.intercept import Intercept

    async def handler(call):
        await call.stream(*chat_events(2))

    upstream.handler = handler
    running = await proxy(Intercept(), intercept="~s")
    async with running.client() as client:
        waiting = asyncio.create_task(client.post(CHAT_URL, json=chat(stream=True)))
        await engine().record()
        flow = running.spy.of("responseheaders")[0]
        await engine().until(lambda: flow.intercepted)
        flow.response.content = b"edited"
        flow.resume()
        answer = await asyncio.wait_for(waiting, 5)

    assert answer.content == b"edited"


async def test_a_replay_from_the_ui_is_another_exchange(proxy, engine, upstream):
    prompts = iter((11, 22))

    async def handler(call):
        await call.answer(chat_answer(prompt=next(prompts)))

    upstream.handler = handler
    running = await proxy()
    async with running.client() as client:
        await client.post(CHAT_URL, json=chat())
    await engine().record()
    flow = running.spy.of("response")[0]
    running.master.commands.call("replay.client", [flow])
    await engine().record(2)

    first, second = engine().ended
    assert first.flow_id == second.flow_id == flow.id
    assert first.id != second.id
    assert (first.input_tokens, second.input_tokens) == (11, 22)


async def test_what_mitmproxy_replays_itself_is_no_exchange(proxy, engine, upstream):
    recorded = tflow.tflow(
        req=http.Request.make("POST", CHAT_URL, b'{"model":"gpt-4o","messages":[]}'),
        resp=http.Response.make(200, chat_answer()),
    )
    running = await proxy(
        server_replay_ignore_content=True, server_replay_ignore_port=True, server_replay_extra="forward"
    )
    running.master.commands.call("replay.server", [recorded])
    async with running.client() as client:
        answer = await client.post(CHAT_URL, json=chat())
        other = await client.post(CHAT_URL.replace("/chat", "/v2/chat"), json=chat("another"))

    assert answer.content == chat_answer()
    assert other.content == b"{}"
    record = await engine().record()
    assert record.url == CHAT_URL.replace("/chat", "/v2/chat")
    assert len(engine().heads(link.Opened)) == 1
    assert len(upstream.calls) == 1


@pytest.mark.parametrize(
    "place",
    [
        "kimi_mitm.proxy.recorder.Recorder.place",
        "kimi_mitm.proxy.recorder.Recorder.open",
        "kimi_mitm.proxy.recorder.Recorder.answer",
        "kimi_mitm.proxy.recorder.Recorder.end",
        "kimi_mitm.sieve.sift",
        "kimi_mitm.proxy.unread.must_hold",
        "kimi_mitm.proxy.unread.request_body",
        "kimi_mitm.proxy.unread.untap",
        "kimi_mitm.proxy.people.People.user",
        "kimi_mitm.proxy.gate.Gate.decrypts",
        "kimi_mitm.proxy.control_host.ControlHost.connect",
        "kimi_mitm.proxy.control_host.ControlHost.guard",
        "kimi_mitm.proxy.capture.Capture.take",
        "kimi_mitm.proxy.capture.Capture._much",
    ],
)
async def test_an_error_of_ours_stays_ours(proxy, upstream, monkeypatch, caplog, place, authority):
    def broken(*args, **kwargs):
        raise RuntimeError("a fault with sk-secret-content in it")

    async def handler(call):
        await call.stream(*chat_events(3))

    upstream.handler = handler
    monkeypatch.setattr("kimi_mitm.proxy.capture.UNSENT", 10)
    caplog.set_level(logging.WARNING)
    running = await proxy()
    monkeypatch.setattr(place, broken)
    verify = authority.trusting() if place.endswith("decrypts") else running.trusting()
    if place.endswith("decrypts"):
        running.addon.gate.passed.add("nothing")
        verify = running.trusting()
    async with running.client(verify=verify) as client:
        answers = [await client.post(CHAT_URL, json=chat(stream=True)) for _ in range(5)]

    assert [a.content for a in answers] == [b"".join(chat_events(3))] * 5
    assert "sk-secret-content" not in caplog.text
    assert len([r for r in caplog.records if "failed (RuntimeError" in r.getMessage()]) <= 2
    assert not [r for r in caplog.records if "crashed" in r.getMessage()]
    monkeypatch.undo()


async def test_a_fault_is_said_once_and_counted(proxy, engine, upstream, monkeypatch, caplog):
    def broken(*args, **kwargs):
        raise RuntimeError("x")

    caplog.set_level(logging.WARNING)
    running = await proxy()
    monkeypatch.setattr("kimi_mitm.proxy.recorder.Recorder.place", broken)
    async with running.client() as client:
        for _ in range(5):
            await client.post(CHAT_URL, json=chat())

    lines = [r.getMessage() for r in caplog.records if "requestheaders" in r.getMessage()]
    assert len(lines) == 1
    assert "the traffic is not touched" in lines[0]
    (lost, *_) = await engine().until(lambda: engine().heads(link.Lost))
    assert lost.faults == 5


async def test_an_option_changed_at_run_time_is_refused_clearly(proxy, caplog):
    running = await proxy()

    with pytest.raises(exceptions.OptionsError, match="kimi_session_timeout: takes effect at the next start"):
        running.master.options.update(kimi_session_timeout="60")
    assert running.master.options.kimi_session_timeout == "300"

    running.master.options.update(kimi_session_timeout="300", anticache=True)
    assert running.master.options.anticache is True


def test_a_wrong_option_before_the_start_is_refused_where_it_is_set():
    addon = KimiMitm()
    with taddons.context(addon, loadcore=False) as context:
        with pytest.raises(exceptions.OptionsError, match="kimi_lean"):
            context.configure(addon, kimi_lean="maybe")
        context.configure(addon, kimi_lean="true")
        assert addon.settings is not None
        assert addon.settings.lean is True


def test_a_wrong_option_of_a_script_is_one_error_in_the_log(caplog):
    addon = KimiMitm()
    with taddons.context(loadcore=False) as context:
        addon.load(Loader(context.master))
        context.options.update(kimi_lean="maybe")
        addon.configure(context.options.keys())

    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR] == [
        "kimi: kimi_lean: must be true or false, is 'maybe'"
    ]
    assert addon.settings is None


async def test_an_exchange_costs_the_loop_less_than_150_microseconds(monkeypatch):
    """Medians, with room for a busy machine: it is about 30 on a quiet one."""
    spec = importlib.util.spec_from_file_location("benchmark_of_hooks", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    monkeypatch.setattr("kimi_mitm.proxy.child.COMMAND", (sys.executable, "-c", benchmark.SINK))

    found = await benchmark.measure(500)

    gc.unfreeze()
    assert sum(map(statistics.median, found.values())) < 150
    assert statistics.median(found["tap"]) < 5
