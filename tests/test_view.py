from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from mitmproxy import contentviews, flow, flowfilter, http
from mitmproxy.test import taddons, tflow
from rig.bodies import CHAT_URL, chat, chat_answer

from kimi_mitm import link, notes
from kimi_mitm.views import annotator as view
from kimi_mitm.views.annotator import Annotator, View

NOTE = link.Note(
    flow_id="",
    comment="≈1.2k · gpt-5",
    marker=":green_circle:",
    metadata={"kimi.id": "x1", "kimi.provider": "openai", "kimi.estimated_input_tokens": 1200},
)


def note(one: http.HTTPFlow, **changes: Any) -> link.Note:
    values: dict[str, Any] = {name: getattr(NOTE, name) for name in NOTE.__struct_fields__}
    return link.Note(**{**values, "flow_id": one.id, **changes})


@pytest.fixture
def annotator() -> Annotator:
    with taddons.context():
        yield Annotator()


@pytest.fixture
def one(annotator: Annotator) -> http.HTTPFlow:
    made = tflow.tflow(resp=True)
    annotator.watch(made)
    return made


def test_figures_are_written_onto_the_flow(annotator: Annotator, one: http.HTTPFlow) -> None:
    annotator.apply(note(one))

    assert one.comment == "≈1.2k · gpt-5"
    assert one.marked == ":green_circle:"
    assert one.metadata["kimi.provider"] == "openai"


def test_later_figures_take_the_place_of_earlier_ones(annotator: Annotator, one: http.HTTPFlow) -> None:
    annotator.apply(note(one))

    annotator.apply(note(one, comment="1.2k→1.3k", metadata={"kimi.id": "x1", "kimi.input_tokens": 1300}))

    assert one.comment == "1.2k→1.3k"
    assert one.metadata["kimi.input_tokens"] == 1300
    assert "kimi.estimated_input_tokens" not in one.metadata


def test_a_comment_of_the_users_own_is_never_overwritten(annotator: Annotator, one: http.HTTPFlow) -> None:
    one.comment = "look at this"

    annotator.apply(note(one))

    assert one.comment == "look at this"
    assert one.metadata["kimi.id"] == "x1"


def test_a_comment_that_the_user_changed_or_cleared_stays_so(
    annotator: Annotator, one: http.HTTPFlow
) -> None:
    for theirs in ("≈1.2k · gpt-5 (slow!)", ""):
        annotator.apply(note(one))
        one.comment = theirs

        annotator.apply(note(one, comment="1.2k→1.3k"))

        assert one.comment == theirs


def test_a_marker_that_the_user_set_or_took_away_stays_so(annotator: Annotator, one: http.HTTPFlow) -> None:
    annotator.apply(note(one))
    for theirs in (":fire:", ""):
        one.marked = theirs

        annotator.apply(note(one, marker=":robot:"))

        assert one.marked == theirs


def test_what_we_wrote_is_known_as_ours_after_a_flow_was_saved_and_read(annotator: Annotator) -> None:
    one = tflow.tflow(resp=True)
    annotator.watch(one)
    annotator.apply(note(one))
    again = http.HTTPFlow.from_state(one.get_state())
    other = Annotator()
    other.watch(again)

    other.apply(note(again, comment="1.2k→1.3k", marker=":robot:"))

    assert (again.comment, again.marked) == ("1.2k→1.3k", ":robot:")


def test_a_replayed_flow_has_the_figures_of_its_new_exchange(
    annotator: Annotator, one: http.HTTPFlow
) -> None:
    annotator.apply(note(one, comment="1.2k→1.3k+9", metadata={"kimi.id": "x1", "kimi.output_tokens": 9}))
    one.is_replay = "request"
    annotator.watch(one)

    annotator.apply(note(one, metadata={"kimi.id": "x2"}))

    assert one.comment == "≈1.2k · gpt-5"
    assert one.metadata["kimi.id"] == "x2"
    assert "kimi.output_tokens" not in one.metadata
    assert annotator.awaits(one)


def test_metadata_of_others_is_left_alone(annotator: Annotator, one: http.HTTPFlow) -> None:
    one.metadata["proxyauth"] = ("alice", "x")

    annotator.apply(note(one))

    assert one.metadata["proxyauth"] == ("alice", "x")


@pytest.mark.parametrize(
    "expression",
    ['~meta "kimi.provider: openai"', '~comment "gpt-5"', "~marked", "~marker green_circle"],
)
def test_filters_find_the_flow(annotator: Annotator, one: http.HTTPFlow, expression: str) -> None:
    annotator.apply(note(one))

    assert flowfilter.match(expression, one)
    assert not flowfilter.match(expression, tflow.tflow())


def test_a_note_for_a_flow_that_is_gone_does_nothing(annotator: Annotator) -> None:
    annotator.apply(link.Note(flow_id="gone", comment="x"))


def test_a_flow_is_awaited_until_its_figures_are_final(annotator: Annotator, one: http.HTTPFlow) -> None:
    settled: list[str] = []
    annotator.settled = lambda flow: settled.append(flow.id)

    assert annotator.awaits(one)
    assert not annotator.awaits(tflow.tflow())
    annotator.apply(note(one))
    assert annotator.awaits(one)
    annotator.apply(note(one, settled=True))

    assert not annotator.awaits(one)
    assert settled == [one.id]


def test_the_line_goes_to_the_log(
    annotator: Annotator, one: http.HTTPFlow, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        annotator.apply(note(one, settled=True, line="codex → openai 1.2k→1.3k"))

    assert caplog.messages == ["codex → openai 1.2k→1.3k"]
    assert caplog.records[0].levelname == "INFO"


class Shown:
    """Stands in for the addon that holds a user interface's list of flows."""

    name = "view"

    def __init__(self) -> None:
        self.updates: list[str] = []
        self._more = asyncio.Event()

    def update(self, flows: Sequence[flow.Flow]) -> None:
        self.updates += [f.comment for f in flows]
        self._more.set()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.updates) < count:
                self._more.clear()
                await self._more.wait()


async def test_a_flow_is_shown_at_once_and_then_at_most_twice_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(view, "UPDATE_S", 0.05)
    shown, annotator, one = Shown(), Annotator(), tflow.tflow(resp=True)
    with taddons.context(shown):
        annotator.watch(one)
        for number in range(20):
            annotator.apply(note(one, comment=f"{number}"))
        await asyncio.sleep(0)
        assert shown.updates == ["19"] or shown.updates == ["0"]
        before = len(shown.updates)
        await shown.until(before + 1)
        await asyncio.sleep(0.15)

    assert shown.updates[-1] == "19"
    assert len(shown.updates) == 2


async def test_the_view_llm_is_there_and_formats_are_loaded_for_a_user_interface() -> None:
    addon = View(Annotator(), lambda: False)
    with taddons.context(Shown()) as context:
        context.master.addons.add(addon)
        addon.running()

        assert contentviews.registry["llm"].name == "LLM"
        addon.done()


@pytest.mark.parametrize(
    ("columns", "expected"),
    [(None, ["path", "size", "comment"]), (["size"], ["size"]), (["comment", "path"], ["comment", "path"])],
)
async def test_mitmweb_shows_the_comment_unless_the_user_chose_columns(
    columns: list[str] | None, expected: list[str]
) -> None:
    addon = View(Annotator(), lambda: False)
    with taddons.context(addon) as context:
        context.options.add_option("web_columns", Sequence[str], ["path", "size"], "Columns.")
        if columns is not None:
            context.options.update(web_columns=columns)

        addon.running()

        assert context.options.web_columns == expected
        addon.done()


async def test_a_flow_replayed_from_the_user_interface_is_a_new_exchange(proxy, engine, upstream):
    seen: list[http.HTTPFlow] = []

    class Looking:
        def response(self, flow: http.HTTPFlow) -> None:
            seen.append(flow)

    async def handler(call):
        await call.answer(chat_answer(11 + len(upstream.calls)))

    upstream.handler = handler
    running = await proxy(Looking())
    async with running.client() as client:
        await client.post(CHAT_URL, json=chat())
    first = await engine().record()
    engine().heard(notes.note_of(first, settled=True))
    (flow,) = seen
    shown = (flow.comment, flow.metadata["kimi.id"], flow.metadata["kimi.input_tokens"])

    running.master.commands.call("replay.client", [flow])
    second = await engine().record(2)
    engine().heard(notes.note_of(second, settled=True))

    assert shown == (notes.comment(first), first.id, 12)
    assert first.id != second.id
    assert flow.comment == notes.comment(second) != notes.comment(first)
    assert flow.metadata["kimi.id"] == second.id
    assert flow.metadata["kimi.input_tokens"] == 13
