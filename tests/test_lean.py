"""mitmproxy with its idle addons out of the way does all that it does without that."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging

import pytest
from mitmproxy import exceptions, hooks, http, io, options
from mitmproxy.proxy import layers, mode_specs
from mitmproxy.test import tflow, tutils
from mitmproxy.tools.dump import DumpMaster

from kimi_mitm.proxy import lean
from kimi_mitm.proxy.lean import Lean

URL = "http://www.example.org/page"


@contextlib.asynccontextmanager
async def master(slim: bool, **settings):
    """A mitmproxy that is not running, and (slim) the housekeeping on it."""
    one = DumpMaster(options.Options(), with_termlog=False, with_dumper=False)
    one.addons.remove(one.addons.get("errorcheck"))
    one.options.update(**settings)
    housekeeping = Lean(one)
    if slim:
        assert housekeeping.start()
    try:
        yield one
    finally:
        housekeeping.stop()
        await one.addons.trigger_event(hooks.DoneHook())


def new_flow(**request) -> http.HTTPFlow:
    headers = http.Headers(
        host="www.example.org", **{"if-none-match": "x", "accept-encoding": "gzip", "user-agent": "old"}
    )
    made = tutils.treq(host="www.example.org", port=80, path=b"/page", headers=headers, content=b"ask")
    for name, value in request.items():
        setattr(made, name, value)
    flow = tflow.tflow(req=made)
    flow.live = True
    flow.client_conn.proxy_mode = mode_specs.ProxyMode.parse("regular")
    return flow


async def pass_through(one: DumpMaster, flow: http.HTTPFlow) -> http.HTTPFlow:
    """Takes a flow through its hooks as the proxy does; an addon's answer ends it early."""
    events = one.addons.handle_lifecycle
    await events(layers.http.HttpRequestHeadersHook(flow))
    if not flow.response:
        await events(layers.http.HttpRequestHook(flow))
    if not flow.response and not flow.error:
        headers = http.Headers(((b"set-cookie", b"crumb=1; path=/"), (b"content-type", b"text/plain")))
        flow.response = http.Response.make(200, b"the answer", headers)
    if flow.response:
        await events(layers.http.HttpResponseHeadersHook(flow))
        await events(layers.http.HttpResponseHook(flow))
    return flow


def told(flow: http.HTTPFlow) -> dict[str, object]:
    """What a flow's other sides see of it."""
    request, response = flow.request, flow.response
    return {
        "url": request.url,
        "headers": request.headers.fields,
        "body": request.content,
        "status": response and response.status_code,
        "answer": response and response.content,
        "error": flow.error and flow.error.msg,
    }


@pytest.fixture
def option(tmp_path):
    """Each option that an addon of mitmproxy's needs which we may skip, with a value that is seen to work."""
    page = tmp_path / "page.txt"
    page.write_text("from a file")
    return {
        "anticache": True,
        "anticomp": True,
        "block_list": ["/~u page/404"],
        "map_local": [f"|//www.example.org/page|{page}"],
        "map_remote": ["|//www.example.org/|//other.example.org/"],
        "modify_body": ["/~q/ask/asked"],
        "modify_headers": ["/~q/user-agent/new"],
        "proxyauth": "any",
        "stickyauth": ".",
        "stickycookie": ".",
        "upstream_auth": "user:pass",
        "save_stream_file": str(tmp_path / "saved"),
        "hardump": str(tmp_path / "saved.har"),
    }


NAMES = [
    *("anticache", "anticomp", "block_list", "map_local", "map_remote", "modify_body", "modify_headers"),
    *("proxyauth", "stickyauth", "stickycookie", "upstream_auth"),
]


async def run(slim: bool, name: str | None, value: object, when: str) -> list[dict[str, object]]:
    """Three flows, one option set at the start or after the first of them: what is told of the last two."""
    at_start = {name: value} if name and when == "start" else {}
    async with master(slim, **at_start) as one:
        mode = mode_specs.ProxyMode.parse("reverse:http://www.example.org")
        first = new_flow()
        first.request.headers["authorization"] = "Basic abc"
        await pass_through(one, first)
        if name and when == "later":
            one.options.update(**{name: value})
        second = new_flow()
        second.request.headers["authorization"] = "Basic abc"
        third = new_flow()
        if name == "upstream_auth":
            third.client_conn.proxy_mode = mode
        return [told(await pass_through(one, flow)) for flow in (second, third)]


@pytest.mark.parametrize("when", ["start", "later"])
@pytest.mark.parametrize("name", NAMES)
async def test_an_option_works_as_without_us(option, name, when):
    nothing = await run(False, None, None, when)
    plain = await run(False, name, option[name], when)
    slim = await run(True, name, option[name], when)

    assert plain != nothing, "the option does nothing here: the test is wrong"
    assert slim == plain


def test_every_skipped_addons_option_is_tested(option):
    assert set(lean._IDLE_UNLESS.values()) == set(option) == {*NAMES, "save_stream_file", "hardump"}


@pytest.mark.parametrize("when", ["start", "later"])
async def test_flows_are_saved_as_without_us(option, tmp_path, when):
    name = "save_stream_file"
    async with master(True, **({name: option[name]} if when == "start" else {})) as one:
        await pass_through(one, new_flow())
        one.options.update(**{name: option[name]})
        await pass_through(one, new_flow())
        one.options.update(**{name: None})
        await pass_through(one, new_flow())

    with (tmp_path / "saved").open("rb") as file:
        assert len(list(io.FlowReader(file).stream())) == (2 if when == "start" else 1)


async def test_a_har_file_is_written_as_without_us(option, tmp_path):
    async with master(True) as one:
        one.options.update(hardump=option["hardump"])
        await pass_through(one, new_flow())

    assert URL in (tmp_path / "saved.har").read_text()


async def test_an_option_that_is_taken_back_no_longer_works(option):
    async with master(True, block_list=option["block_list"]) as one:
        blocked = told(await pass_through(one, new_flow()))
        one.options.update(block_list=[])
        passed = told(await pass_through(one, new_flow()))

    assert (blocked["status"], passed["status"]) == (404, 200)


async def test_addons_come_and_go(caplog):
    class Marking:
        def __init__(self, name):
            self.name = name

        def request(self, flow):
            flow.comment += self.name

    async with master(True) as one:
        comments = []
        for act in (
            lambda: None,
            lambda: one.addons.add(Marking("a")),
            lambda: one.addons.add(Marking("b")),
            lambda: one.addons.remove(one.addons.get("a")),
        ):
            act()
            comments.append((await pass_through(one, new_flow())).comment)

    assert comments == ["", "a", "ab", "b"]


async def test_scripts_are_added_reloaded_and_removed(tmp_path, monkeypatch):
    monkeypatch.setattr("mitmproxy.addons.script.ReloadInterval", 0.01)
    script = tmp_path / "script.py"

    def write(text, at):
        import os

        script.write_text(f"def request(flow):\n    flow.comment = {text!r}\n")
        os.utime(script, (at, at))

    async def comment_is(one, wanted):
        async with asyncio.timeout(10):
            while (await pass_through(one, new_flow())).comment != wanted:  # noqa: ASYNC110
                await asyncio.sleep(0.01)  # mitmproxy looks at a script's time itself, by polling

    write("one", 1000)
    async with master(True) as one:
        await one.addons.trigger_event(hooks.RunningHook())
        one.options.update(scripts=[str(script)])
        await comment_is(one, "one")
        write("two", 2000)
        await comment_is(one, "two")
        write("three", 3000)
        await comment_is(one, "three")
        one.options.update(scripts=[])
        await comment_is(one, "")


async def test_an_addons_error_is_logged_and_the_others_go_on(caplog):
    class Broken:
        def request(self, flow):
            raise ValueError("its own fault")

    class Fine:
        async def request(self, flow):
            await asyncio.sleep(0)
            flow.comment = "seen"

    async with master(True) as one:
        one.addons.add(Broken(), Fine())
        flow = await pass_through(one, new_flow())

    assert flow.comment == "seen"
    assert "Addon error: its own fault" in caplog.text


async def test_an_addon_that_halts_the_chain_halts_it():
    class Halting:
        def request(self, flow):
            raise exceptions.AddonHalt

    class After:
        def request(self, flow):
            flow.comment = "seen"

    async with master(True) as one:
        one.addons.add(Halting(), After())
        flow = await pass_through(one, new_flow())

    assert flow.comment == ""


async def test_sub_addons_are_asked_in_order():
    class Inner:
        def __init__(self, name):
            self.name = name

        def request(self, flow):
            flow.comment += self.name

    class Outer:
        name = "outer"
        addons = (Inner("b"), Inner("c"))

        def request(self, flow):
            flow.comment += "a"

    async with master(True) as one:
        one.addons.add(Outer())
        flow = await pass_through(one, new_flow())

    assert flow.comment == "abc"


async def test_the_end_puts_everything_back():
    level = logging.getLogger("mitmproxy.proxy").level
    async with master(False) as one:
        before = {name: getattr(one.addons, name) for name in ("trigger_event", "register", "remove")}
        receivers = len(one.options.changed.receivers)
        housekeeping = Lean(one)
        housekeeping.start()
        assert logging.getLogger("mitmproxy.proxy").level == logging.WARNING
        assert gc.get_freeze_count() > 0
        assert one.addons.trigger_event != before["trigger_event"]
        housekeeping.stop()

        assert {name: getattr(one.addons, name) for name in before} == before
        assert len(one.options.changed.receivers) == receivers
        assert logging.getLogger("mitmproxy.proxy").level == level
        assert gc.get_freeze_count() == 0


async def test_an_unknown_mitmproxy_is_left_as_it_is(monkeypatch):
    monkeypatch.setattr(lean, "_TRIGGER_EVENT_SOURCE", ("what mitmproxy 13 may look like",))
    async with master(False) as one:
        before = one.addons.trigger_event
        housekeeping = Lean(one)

        assert housekeeping.start() is False
        assert one.addons.trigger_event == before
        housekeeping.stop()


async def test_whoever_wants_every_word_gets_it():
    async with master(False) as one:
        one.options.add_option("termlog_verbosity", str, "debug", "as mitmdump -v sets it")
        level = logging.getLogger("mitmproxy.proxy").level
        housekeeping = Lean(one)
        housekeeping.start()

        assert logging.getLogger("mitmproxy.proxy").level == level
        housekeeping.stop()


async def test_fewer_addons_are_asked():
    async with master(True) as one:
        await pass_through(one, new_flow())
        asked = {type(addon).__name__ for addon, _ in one.addons.trigger_event.__self__._having["request"]}

    assert "BlockList" not in asked
    assert "ModifyHeaders" not in asked


async def test_an_addon_that_another_removes_at_the_end_is_not_asked_any_more():
    class Second:
        ended = 0

        def done(self):
            self.ended += 1

    second = Second()

    class First:
        def done(self):
            second.done = lambda: None

    async with master(True) as one:
        one.addons.add(First(), second)

    assert second.ended == 0
