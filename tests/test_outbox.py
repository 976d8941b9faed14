"""The queue to the other end: never blocks, bounded, in order."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import IO

import pytest

from kimi_mitm import link, outbox
from kimi_mitm.outbox import Outbox


def gone(n: object) -> link.Gone:
    return link.Gone(conn=str(n), at=0.0)


@pytest.fixture
def pipe() -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    reading, writing = os.pipe()
    source, sink = os.fdopen(reading, "rb", buffering=0), os.fdopen(writing, "wb", buffering=0)
    yield source, sink
    for end in (source, sink):
        end.close()


def read_all(source: IO[bytes]) -> list[tuple[link.Upward, bytes]]:
    found = []
    while (frame := link.read_frame(source, link.UPWARD)) is not None:
        found.append(frame)
    return found


def test_frames_go_out_in_order_and_the_pipe_is_closed_at_the_end(pipe):
    source, sink = pipe
    one = Outbox(10_000)
    one.put(gone("before"))
    one.attach(sink, [gone("first"), gone("second")])
    for n in range(100):
        one.put(gone(n), [b"x" * n, b"y"])
    one.close()

    found = read_all(source)
    one.join(10)

    assert [head.conn for head, _ in found[:3]] == ["first", "second", "before"]
    assert [head.conn for head, _ in found[3:]] == [str(n) for n in range(100)]
    assert [len(payload) for _, payload in found[3:]] == [n + 1 for n in range(100)]
    assert (one.size, one.depth) == (0, 0)


def test_what_nobody_waits_for_rides_along_with_the_next(pipe):
    source, sink = pipe
    one = Outbox(10_000)
    one.attach(sink, [gone("hello")])
    assert link.read_frame(source, link.UPWARD)[0].conn == "hello"
    for n in range(3):
        one.put(gone(n), wake=False)
    one.put(gone("now"))

    found = [link.read_frame(source, link.UPWARD)[0].conn for _ in range(4)]

    assert found == ["0", "1", "2", "now"]
    one.close()


def test_beyond_the_bound_payloads_are_refused_and_rows_taken():
    one = Outbox(1000)

    taken = [one.put(gone(n), [b"x" * 300]) for n in range(5)]

    assert taken == [True, True, True, False, False]
    assert one.put(gone("row"))
    assert (one.size, one.depth) == (900, 4)
    assert one.crowded


def test_one_payload_is_taken_however_large():
    one = Outbox(1000)

    assert one.put(gone(1), [b"x" * 5000])
    assert not one.put(gone(2), [b"x"])


def test_rows_have_a_bound_of_their_own(monkeypatch):
    monkeypatch.setattr(outbox, "MOST_FRAMES", 10)
    one = Outbox(1000)

    assert [one.put(gone(n)) for n in range(12)] == [True] * 10 + [False] * 2


def test_a_frame_that_can_not_be_encoded_is_left_out(pipe):
    source, sink = pipe
    one = Outbox(10_000)
    one.put(gone("\udcff"), [b"lost"])
    one.put(gone("good"), [b"kept"])
    one.attach(sink)
    one.close()

    assert read_all(source) == [(gone("good"), b"kept")]
    assert one.spoiled == 1


def test_a_broken_pipe_ends_the_feeder_and_what_waited_can_be_had(pipe):
    source, sink = pipe
    one = Outbox(10_000_000)
    source.close()
    one.attach(sink, [gone("hello")])
    one.join(10)
    for n in range(3):
        one.put(gone(n), [b"x"])

    frames = one.detach()

    assert [head.conn for head, _, _ in frames] == ["0", "1", "2"]
    assert (one.size, one.depth) == (0, 0)
    assert one.put(gone("for the next"))


def test_a_second_pipe_gets_what_waits_and_nothing_of_the_firsts_accounts(pipe):
    source, sink = pipe
    dead_source, dead_sink = os.pipe()
    one = Outbox(10_000)
    os.close(dead_source)
    one.attach(os.fdopen(dead_sink, "wb", buffering=0), [gone("hello")])
    one.join(10)
    one.detach()
    one.put(gone(1), [b"abc"])
    one.attach(sink, [gone("again")])
    one.close()

    assert [head.conn for head, _ in read_all(source)] == ["again", "1"]
    one.join(10)
    assert one.size == 0


def test_it_says_when_there_is_room_again(pipe):
    source, sink = pipe
    roomy = threading.Event()
    one = Outbox(400_000, roomy.set)
    for n in range(4):
        one.put(gone(n), [b"x" * 100_000])
    assert one.crowded
    one.attach(sink)
    one.close()

    read_all(source)

    assert roomy.wait(10)
    assert not one.crowded


def test_after_its_end_nothing_is_taken():
    one = Outbox(1000)
    one.close()

    assert not one.put(gone(1))
