"""The addon's life in mitmproxy: started, reloaded, ended, with all of its housekeeping."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil

import pytest
from rig.bodies import CHAT_URL, chat, chat_answer, chat_events
from rig.command import ENTRY, ROOT, leading, mitmdump
from rig.live import rows
from rig.proxy import client_of

from kimi_mitm import link


async def test_with_all_housekeeping_the_traffic_is_the_same(proxy, engine, upstream):
    async def handler(call):
        await call.stream(*chat_events(3))

    upstream.handler = handler
    running = await proxy(kimi_lean="true", modify_headers=["/~q/x-added/yes"])
    async with running.client() as client:
        for _ in range(3):
            answer = await client.post(CHAT_URL, json=chat(stream=True))
            assert answer.content == b"".join(chat_events(3))

    await engine().record(3)
    assert all(call.headers["x-added"] == "yes" for call in upstream.calls)
    assert all(r.output_tokens == 3 for r in engine().ended)


async def test_what_is_under_way_at_the_end_is_recorded(proxy, engine, upstream):
    async def handler(call):
        await call.head(200, {"content-type": "text/event-stream"})
        await call.piece(chat_events(2)[0])
        await asyncio.sleep(60)

    upstream.handler = handler
    running = await proxy()
    async with running.client() as client, client.stream("POST", CHAT_URL, json=chat(stream=True)) as answer:
        pieces = answer.aiter_raw()
        await anext(pieces)
        await running.addon.done()

        record = await engine().record()
        assert record.status == 200
        assert record.error.message == "the proxy was stopped"
        assert running.addon.recorder is None


async def test_after_its_end_hooks_do_nothing(proxy, engine, upstream):
    running = await proxy()
    await running.addon.done()
    async with running.client() as client:
        answer = await client.post("http://www.example.org/v1/chat/completions", json=chat())

    assert answer.content == b"{}"
    assert engine().heads(link.Opened) == []


async def test_what_is_optional_may_fail(proxy, engine, upstream, monkeypatch, caplog):
    def broken(*args):
        raise RuntimeError

    async def handler(call):
        await call.answer(chat_answer())

    upstream.handler = handler
    for name in ("Lean.start", "Lean.stop", "RunningFile.started", "RunningFile.close"):
        monkeypatch.setattr(f"kimi_mitm.addon.{name}", broken)
    running = await proxy(kimi_lean="true")
    async with running.client() as client:
        assert (await client.post(CHAT_URL, json=chat())).content == chat_answer()
    await engine().record()
    await running.addon.done()

    said = [r.getMessage() for r in caplog.records if r.name.startswith("kimi")]
    assert [line.split(" failed")[0] for line in said] == ["kimi: _be_found", "kimi: _tidy_up", "kimi: done"]


async def test_repeated_words_of_the_engine_are_said_once(proxy, caplog):
    running = await proxy()
    caplog.set_level(logging.INFO)

    for _ in range(100):
        running.addon._heard(link.Word(text="the database can't be written", level="warning"))
        running.addon._heard(link.Word(text="a fact"))
    running.addon._heard(link.Failed(text="nothing works"))

    said = [(r.levelname, r.getMessage()) for r in caplog.records if r.getMessage().startswith("kimi: ")]
    assert said == [
        ("WARNING", "kimi: the database can't be written"),
        ("INFO", "kimi: a fact"),
        ("WARNING", "kimi: nothing works"),
    ]


async def test_losses_reach_the_engine(proxy, engine, upstream):
    async def handler(call):
        await call.answer(chat_answer())

    upstream.handler = handler
    running = await proxy()
    engine().full = True
    async with running.client() as client:
        await client.post(CHAT_URL, json=chat())
    await engine().record()
    engine().hurried = 7
    async with running.client() as client:
        await client.post(CHAT_URL, json=chat())

    (lost, *_) = await engine().until(lambda: engine().heads(link.Lost))
    opened = engine().heads(link.Opened)[0]
    assert (opened.body, opened.hurry) == ("dropped", True)
    assert opened.size > 0
    assert engine().heads(link.Ended)[0].lost == len(chat_answer())
    assert engine().ended[0].estimated_input_tokens is not None
    assert lost.hurried == 7


async def test_a_script_reload_goes_on_recording(authority, confdir, upstream, tmp_path):
    """The entry file is touched twice: each time the engine and the control endpoint change hands."""

    async def handler(call):
        await call.answer(chat_answer())

    upstream.handler = handler
    entry = tmp_path / "addons" / "kimi.py"
    entry.parent.mkdir()
    shutil.copy(ENTRY, entry)
    (tmp_path / "kimi_mitm").symlink_to(ROOT / "kimi_mitm")
    arguments = leading(tmp_path, authority.pem, {443: upstream.port})
    variables = {"KIMI_CONTROL": "127.0.0.1:0", "KIMI_LEAN": "true"}
    async with mitmdump(tmp_path, confdir, *arguments, entry=entry, **variables) as one:
        port = await one.port()
        async with client_of(port, confdir) as client:
            for time in range(3):
                await one.until(lambda time=time: one.text.count("active") == time + 1)
                assert (await client.post(CHAT_URL, json=chat(str(time)))).content == chat_answer()
                stamp = entry.stat().st_mtime + 10
                if time < 2:
                    os.utime(entry, (stamp, stamp))
        assert await one.stop() == 0

    assert [row["input_tokens"] for row in rows(tmp_path / "kimi.db")] == [11] * 3
    assert "Traceback" not in one.text
    assert "already in use" not in one.text


@pytest.mark.parametrize("folder", ["elsewhere"])
async def test_it_runs_from_any_folder_by_a_relative_path(confdir, tmp_path, folder):
    empty = tmp_path / "empty.mitm"
    empty.write_bytes(b"")
    (tmp_path / folder).mkdir()
    relative = os.path.relpath(ENTRY, tmp_path / folder)  # noqa: ASYNC240
    async with mitmdump(tmp_path / folder, confdir, "-nr", str(empty), entry=relative) as one:
        assert await one.ended() == 0

    assert "active" in one.text
