"""Bodies that pass: kept within bounds, shown afterwards, and a script's own function respected."""

from __future__ import annotations

import pytest
from mitmproxy import http
from mitmproxy.addons.intercept import Intercept
from mitmproxy.addons.modifybody import ModifyBody
from mitmproxy.addons.serverplayback import ServerPlayback
from mitmproxy.test import taddons, tflow, tutils

from kimi_mitm.proxy import unread
from kimi_mitm.proxy.capture import Budget
from kimi_mitm.proxy.unread import Before, Body


def answered(**headers: str) -> http.HTTPFlow:
    response = http.Response.make(200, b"", {name.replace("_", "-"): v for name, v in headers.items()})
    response.headers.pop("content-length", None)
    if "content_length" in headers:
        response.headers["content-length"] = headers["content_length"]
    response.raw_content = None
    return tflow.tflow(resp=response)


def test_a_body_is_kept_up_to_its_limit_and_passed_on_beyond():
    budget = Budget()
    body = Body(budget, 10)
    pieces = [b"abcd", b"efgh", b"ijkl", b"m", b""]

    assert [body(piece) for piece in pieces] == pieces
    assert body.whole() is None
    assert (body.size, budget.held) == (13, 0)


def test_a_body_within_its_limit_is_whole():
    budget = Budget()
    body = Body(budget, 10)
    body(b"ab")
    body(b"cd")

    assert body.whole() == b"abcd"
    assert budget.held == 4
    body.release()
    assert budget.held == 0


def test_all_bodies_share_one_budget():
    budget = Budget(limit=10)
    first, second = Body(budget, 100), Body(budget, 100)
    first(b"x" * 8)
    second(b"x" * 8)

    assert first.whole() is not None
    assert second.whole() is None
    assert budget.held == 8


def test_a_scripts_function_sees_every_piece_after_us_and_decides():
    seen = []
    both = Before(lambda data: seen.append(data) or b"ignored", lambda data: [data.upper(), b"!"])

    assert both(b"abc") == [b"ABC", b"!"]
    assert seen == [b"abc"]


def test_a_tap_is_set_and_taken_away_again():
    flow, body = answered(), Body(Budget(), 10)
    unread.tap(flow.response, body)
    assert flow.response.stream is body
    assert unread.untap(flow.response, body)
    assert flow.response.stream is True

    def theirs(data):
        return data

    flow.response.stream = theirs
    unread.tap(flow.response, body)
    assert isinstance(flow.response.stream, Before)
    assert unread.untap(flow.response, body)
    assert flow.response.stream is theirs
    assert not unread.untap(flow.response, body)
    assert flow.response.stream is theirs


@pytest.mark.parametrize(
    ("length", "streamed"),
    [
        *((None, True), ("262145", True), ("9" * 5000, True), ("-1", True), ("many", True), ("", True)),
        *(("0", False), ("1000", False), ("262144", False)),
    ],
)
def test_only_answers_of_small_known_size_are_held_back(length, streamed):
    flow = answered(**({} if length is None else {"content_length": length}))
    with taddons.context(loadcore=False):
        unread.pass_through(flow, Budget())

    assert isinstance(flow.response.stream, Body) is streamed


def test_what_streams_already_is_left_alone():
    flow = answered()
    flow.response.stream = True
    unread.pass_through(flow, Budget())

    assert flow.response.stream is True


def test_an_answer_that_passed_is_shown_if_it_was_small():
    budget, flow = Budget(), answered()
    with taddons.context(loadcore=False):
        unread.pass_through(flow, budget)
    flow.response.stream(b"abc")
    unread.restore(flow)

    assert flow.response.raw_content == b"abc"
    assert flow.response.stream is True
    assert budget.held == 0
    unread.restore(flow)
    assert flow.response.raw_content == b"abc"


def test_what_mitmproxy_stored_itself_is_not_replaced():
    flow = answered()
    unread.tap(flow.response, Body(Budget(), 10))
    flow.response.raw_content = b"theirs"
    unread.restore(flow)

    assert flow.response.raw_content == b"theirs"


def test_a_flow_without_an_answer_has_nothing_to_restore():
    unread.restore(tflow.tflow())
    unread.pass_through(tflow.tflow(), Budget())


def test_a_streamed_requests_body_is_had_once_it_is_complete():
    budget = Budget()
    flow = tflow.tflow(req=tutils.treq(content=None, headers=((b"content-length", b"6"),)))
    unread.follow_request(flow, budget)
    flow.request.stream(b"abc")

    assert unread.known_of_request(flow) == (None, 6)
    flow.request.stream(b"def")
    assert unread.request_body(flow) == (b"abcdef", 6)
    assert flow.request.raw_content == b"abcdef"
    assert flow.request.stream is True
    assert budget.held == 0


def test_a_streamed_request_that_is_too_long_has_a_size_only(monkeypatch):
    monkeypatch.setattr(unread, "KEEP_REQUEST", 4)
    flow = tflow.tflow(req=tutils.treq(content=None))
    unread.follow_request(flow, Budget())
    flow.request.stream(b"abc")
    flow.request.stream(b"def")

    assert unread.request_body(flow) == (None, 6)
    assert flow.request.raw_content is None


@pytest.mark.parametrize(("length", "size"), [(b"12", 12), (b"x", 0), (b"-3", 0), (b"9" * 5000, 10**18 - 1)])
def test_the_stated_size_of_a_body_that_is_not_there(length, size):
    flow = tflow.tflow(req=tutils.treq(content=None, headers=((b"content-length", length),)))

    assert unread.known_of_request(flow) == (None, size)


@pytest.mark.parametrize(
    ("specs", "held"),
    [([], False), (["/~s/a/b"], True), (["/~q/a/b"], False), (["/a/b"], True), (["/~d other/a/b"], False)],
)
def test_an_answer_that_the_user_has_changed_is_held(specs, held):
    changing = ModifyBody()
    with taddons.context(changing, loadcore=False) as context:
        context.configure(changing, modify_body=specs)

        assert unread.must_hold(answered()) is held


@pytest.mark.parametrize(("pattern", "held"), [("~s", True), ("~q", False), ("~d other", False)])
def test_an_answer_that_the_user_stops_is_held(pattern, held):
    stopping = Intercept()
    with taddons.context(stopping, loadcore=False) as context:
        context.configure(stopping, intercept=pattern)

        assert unread.must_hold(answered()) is held


def test_replays_are_expected_while_there_are_flows_for_them():
    replaying = ServerPlayback()
    with taddons.context(replaying, loadcore=False):
        assert not unread.may_be_replayed()
        replaying.load_flows([answered()])
        assert unread.may_be_replayed()
        replaying.clear()
        assert not unread.may_be_replayed()
    with taddons.context(loadcore=False):
        assert not unread.may_be_replayed()
