from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import httpx
import pytest
from mitmproxy import http
from rig.bodies import CHAT_URL, chat, chat_answer
from rig.command import leading, mitmdump

from kimi_mitm import link, notes
from kimi_mitm.views import flow_file
from tests.samples import DEMO, flows


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.flow"


@pytest.fixture
def answering(upstream):
    async def handler(call):
        await call.answer(chat_answer())

    upstream.handler = handler


def heard(engine, record) -> None:
    """The engine's last word on an exchange."""
    engine().heard(notes.note_of(record, settled=True))


@pytest.mark.usefixtures("answering")
async def test_a_flow_waits_for_its_figures_while_the_client_does_not(
    proxy, engine, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow_file, "WAIT_S", 60)
    running = await proxy(save_stream_file=str(out))
    async with running.client() as client:
        answer = await client.post(CHAT_URL, json=chat())
    record = await engine().record()
    assert answer.status_code == 200
    assert flows(out) == []

    heard(engine, record)

    (written,) = flows(out)
    assert written.comment == notes.comment(record)
    assert written.marked == ":green_circle:"
    assert written.metadata["kimi.input_tokens"] == 11
    assert written.response is not None
    assert written.response.content == chat_answer()


@pytest.mark.usefixtures("answering")
async def test_a_flow_whose_figures_do_not_come_is_written_as_it_is(
    proxy, engine, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow_file, "WAIT_S", 0.05)
    running = await proxy(save_stream_file=str(out))
    engine().heard(link.Note(flow_id="of an earlier exchange"))
    async with running.client() as client:
        await client.post(CHAT_URL, json=chat())
    record = await engine().record()
    await asyncio.sleep(0.1)

    heard(engine, record)

    (written,) = flows(out)
    assert written.comment == ""


@pytest.mark.usefixtures("answering")
async def test_while_the_engine_is_starting_a_flow_waits_longer(
    proxy, engine, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow_file, "WAIT_S", 0.01)
    running = await proxy(save_stream_file=str(out))
    async with running.client() as client:
        await client.post(CHAT_URL, json=chat())
    record = await engine().record()
    await asyncio.sleep(0.1)
    assert flows(out) == []

    heard(engine, record)

    (written,) = flows(out)
    assert written.comment == notes.comment(record)


@pytest.mark.usefixtures("answering")
async def test_more_than_so_many_flows_do_not_wait(
    proxy, engine, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow_file, "_MOST", 2)
    running = await proxy(save_stream_file=str(out))
    async with running.client() as client:
        for _ in range(3):
            await client.post(CHAT_URL, json=chat())
    await engine().record(3)

    assert len(flows(out)) == 1


async def test_other_traffic_does_not_wait(proxy, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_file, "WAIT_S", 60)
    running = await proxy(save_stream_file=str(out))
    async with running.client() as client:
        await client.get("http://www.example.org/")

    assert [f.request.pretty_url for f in flows(out)] == ["http://www.example.org/"]


@pytest.mark.usefixtures("answering")
async def test_what_still_waits_at_the_end_is_written(
    authority, confdir, upstream, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rig.inline import Inline
    from rig.proxy import running

    monkeypatch.setattr("kimi_mitm.addon.Child", Inline)
    monkeypatch.setattr("kimi_mitm.addon._stopping", None)
    monkeypatch.setattr(flow_file, "WAIT_S", 60)
    settings = {"save_stream_file": str(out), "ssl_verify_upstream_trusted_ca": str(authority.pem)}
    async with running(confdir, {443: upstream.port}, **settings) as one, one.client() as client:
        await client.post(CHAT_URL, json=chat())
        await Inline.last.record()
        save = one.master.addons.get("save")

    assert len(flows(out)) == 1
    assert "save_flow" not in vars(save)
    assert "done" not in vars(save)
    assert save.stream is None


@pytest.mark.usefixtures("answering")
async def test_the_option_taken_back_closes_the_file(
    proxy, engine, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow_file, "WAIT_S", 60)
    running = await proxy(save_stream_file=str(out))
    async with running.client() as client:
        await client.post(CHAT_URL, json=chat())
        await engine().record()

        running.master.options.update(save_stream_file=None)

        assert len(flows(out)) == 1
        assert running.master.addons.get("save").stream is None
        await client.post(CHAT_URL, json=chat())
        heard(engine, await engine().record(2))
    assert len(flows(out)) == 1


@pytest.mark.usefixtures("answering")
async def test_figures_can_choose_what_is_written(proxy, engine, out: Path) -> None:
    running = await proxy(save_stream_file=str(out), save_stream_filter='~meta "kimi.input_tokens: 11"')
    async with running.client() as client:
        await client.post(CHAT_URL, json=chat())
        heard(engine, await engine().record())
        await client.get("http://www.example.org/")

    assert [f.request.pretty_url for f in flows(out)] == [CHAT_URL]


async def test_a_file_read_and_written_carries_the_figures_and_reads_back_the_same(
    tmp_path: Path, confdir: Path
) -> None:
    """A real engine: the first time it records, the second time it knows the exchanges. Once in a proxy
    whose idle addons are out of the way."""
    first, second = tmp_path / "first.flow", tmp_path / "second.flow"
    for source, target, lean in ((DEMO, first, "true"), (first, second, "false")):
        arguments = ("-n", "-r", str(source), "-w", str(target), "--set", "flow_detail=0")
        async with mitmdump(tmp_path, confdir, *arguments, KIMI_LEAN=lean) as one:
            assert await one.ended() == 0

    before, once, twice = flows(DEMO), flows(first), flows(second)
    assert [f.id for f in once] == [f.id for f in before]
    assert all(f.comment and f.marked and f.metadata["kimi.settled"] is True for f in once)
    assert [bodies(f) for f in once] == [bodies(f) for f in before]
    assert [f.get_state() for f in twice] == [f.get_state() for f in once]


async def test_a_live_proxy_with_a_real_engine_writes_flows_with_their_figures(
    tmp_path: Path, confdir: Path, authority, upstream, answering
) -> None:
    out = tmp_path / "live.flow"
    redirected = leading(tmp_path, authority.pem, {443: upstream.port})
    async with mitmdump(tmp_path, confdir, *redirected, "-w", str(out)) as one:
        trust = ssl.create_default_context(cafile=str(confdir / "mitmproxy-ca-cert.pem"))
        proxy = f"http://127.0.0.1:{await one.port()}"
        async with httpx.AsyncClient(proxy=proxy, verify=trust, trust_env=False, timeout=60) as client:
            await client.post(CHAT_URL, json=chat())
            await one.says("openai", "(reported)")
            (written,) = flows(out)
            await client.post(CHAT_URL, json=chat("again"))
        assert await one.stop() == 0

    assert written.metadata["kimi.input_tokens"] == 11
    assert written.comment.startswith("8→11+3 · ")
    assert [f.metadata["kimi.settled"] for f in flows(out)] == [True, True]


def bodies(flow: http.HTTPFlow) -> tuple[object, ...]:
    said = [m.content for m in flow.websocket.messages] if flow.websocket else None
    return (flow.request.raw_content, flow.response and flow.response.raw_content, said)
