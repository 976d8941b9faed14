"""One exchange's bytes: passed on as they are, kept within bounds."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_mitm import link
from kimi_mitm.proxy import capture as captures
from kimi_mitm.proxy.capture import Budget, Capture, Messages

OPENED = link.Opened(
    n=1,
    flow_id="f",
    exchange_id="e",
    at=0,
    method="POST",
    url="https://h/",
    host="h",
    path="/",
    headers={},
)


def make(budget=None, **more):
    return Capture(OPENED, budget or Budget(), **more)


@given(st.lists(st.binary(max_size=50)))
def test_the_tap_gives_back_the_very_object(pieces):
    one = make()

    assert all(one.tap(piece) is piece for piece in pieces)
    assert one.body() == b"".join(pieces)


def test_pieces_are_taken_once_with_their_times():
    ticks = iter(range(100))
    one = make(clock=lambda: next(ticks))
    one.tap(b"a")
    one.tap(b"bc")

    head, payload = one.take()
    assert (head.times, head.sizes, payload) == ([0, 1], [1, 2], [b"a", b"bc"])
    assert one.take() is None

    one.tap(b"d")
    head, payload = one.take()
    assert (head.times, payload) == ([2], [b"d"])
    assert one.body() == b"abcd"


def test_a_story_has_everything_again_and_what_follows_goes_on():
    one = make(request=b"question")
    one.answered = link.Answered(n=1, at=0, status=200, headers={})
    one.tap(b"a")
    one.take()
    one.tap(b"b")

    told = one.story()

    assert [type(head) for head, _ in told] == [link.Opened, link.Answered, link.Pieces]
    assert [payload for _, payload in told] == [[b"question"], [], [b"a", b"b"]]
    assert one.take() is None
    one.tap(b"c")
    assert one.take()[1] == [b"c"]


def test_a_body_beyond_the_limit_is_sent_but_no_longer_kept():
    sent = []
    budget = Budget()
    one = make(budget, limit=captures.UNSENT, full=lambda c: sent.append(c.take()))
    piece = b"x" * 64 * 1024

    for _ in range(100):
        assert one.tap(piece) is piece
        assert budget.held <= captures.UNSENT + 2 * len(piece)

    assert one.body() is None
    rest = one.take()
    total = sum(sum(head.sizes) for head, _ in [*filter(None, sent), *([rest] if rest else [])])
    assert total == 100 * len(piece)
    assert budget.held == 0


def test_much_that_waits_is_sent_before_its_turn():
    calls = []
    one = make(full=lambda c: calls.append(c.size))

    for _ in range(40):
        one.tap(b"x" * 100_000)

    assert len(calls) == 3


def test_all_captures_together_have_a_limit():
    budget = Budget(limit=1000)
    many = [make(budget, full=lambda c: c.take()) for _ in range(50)]

    for one in many:
        for _ in range(10):
            one.tap(b"x" * 50)

    assert budget.held <= 1000
    assert any(one.over for one in many)
    for one in many:
        one.release()
    assert budget.held == 0


def test_what_nobody_can_read_is_not_sent_but_shown():
    one = make(quiet=True)
    one.tap(b"abc")

    assert one.take() is None
    assert one.body() == b"abc"


def test_what_nobody_can_read_is_bounded_too():
    budget = Budget()
    one = make(budget, quiet=True, limit=100, full=lambda c: c.take())
    for _ in range(100):
        one.tap(b"x" * captures.UNSENT)

    assert one.body() is None
    assert budget.held <= 2 * captures.UNSENT


def test_a_fault_inside_passes_the_piece_on():
    def broken():
        raise RuntimeError

    one = make(clock=broken)

    assert one.tap(b"abc") == b"abc"
    assert one.lost == 3


def test_after_its_end_nothing_is_kept():
    budget = Budget()
    one = make(budget)
    one.tap(b"abc")
    one.release()

    assert one.tap(b"def") == b"def"
    assert (one.pieces, budget.held) == ([], 0)


def test_a_sockets_old_messages_go_when_there_are_many(monkeypatch):
    monkeypatch.setattr(captures, "KEEP_SOCKET", 100)
    budget = Budget()
    one = Messages(budget)

    assert [one.add(40) for _ in range(5)] == [False, False, True, False, True]
    assert budget.held == one.held == 40
    one.release()
    assert budget.held == 0


@pytest.mark.parametrize("size", [30, 4096])
def test_the_tap_costs_less_than_three_microseconds_a_piece(size):
    """A bound with room for a busy machine: the best of several tries counts."""
    piece = b"x" * size
    best = float("inf")
    for _ in range(20):
        one = make()
        began = time.perf_counter()
        for _ in range(1000):
            one.tap(piece)
        best = min(best, (time.perf_counter() - began) / 1000)

    assert best < 3e-6
