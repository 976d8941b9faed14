"""What ended last is kept until the engine has it, within bounds."""

from __future__ import annotations

from kimi_mitm import link
from kimi_mitm.proxy import recent
from kimi_mitm.proxy.recent import Recent


def story(n, size=10):
    return [(link.Gone(conn=str(n), at=0), [b"x" * size])]


def kept(one):
    return [head.conn for story in one.stories() for head, _ in story]


def test_it_is_kept_until_it_is_settled():
    one = Recent()
    one.keep("a", story(1))
    one.keep("b", story(2))

    one.settled("a")
    one.settled("never seen")

    assert kept(one) == ["2"]
    assert one.size == 10


def test_a_flows_next_exchange_takes_the_place_of_the_one_before():
    one = Recent()
    one.keep("a", story(1))
    one.keep("a", story(2, size=20))

    assert kept(one) == ["2"]
    assert one.size == 20


def test_the_first_unsettled_one_is_not_told_for_ever():
    one = Recent()
    for name in ("fine", "poison", "after", "last"):
        one.keep(name, story(name))
    one.settled("fine")

    told = [len(one.tell()) for _ in range(4)]

    assert told == [3, 3, 2, 2]
    assert kept(one) == ["after", "last"]
    one.settled("after")
    assert [len(one.tell()) for _ in range(3)] == [1, 1, 0]


def test_nothing_to_tell_is_fine():
    assert [Recent().tell() for _ in range(5)] == [[]] * 5


def test_the_oldest_go_when_there_are_too_many_bytes(monkeypatch):
    monkeypatch.setattr(recent, "KEEP_BYTES", 100)
    one = Recent()

    for n in range(20):
        one.keep(str(n), story(n))
    one.keep("big", story("big", size=101))

    assert kept(one) == [str(n) for n in range(10, 20)]
    assert one.size == 100


def test_the_oldest_go_when_there_are_too_many():
    one = Recent()

    for n in range(1000):
        one.keep(str(n), story(n, size=0))

    assert len(kept(one)) == recent.KEEP_COUNT
    assert kept(one)[-1] == "999"
