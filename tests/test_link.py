"""Frames cross the link whole, or are refused."""

from __future__ import annotations

import io
import os
import typing

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_mitm import link
from kimi_mitm.settings import Settings

HEADS = [
    link.Hello(version="1", pid=2, settings=Settings(db="x", control=("::1", 0), hosts=("a",)), at=1.5),
    link.Opened(
        n=1,
        flow_id="f",
        exchange_id="e",
        at=1.25,
        method="POST",
        url="https://h/é",
        host="h",
        path="/",
        headers={"a": "b"},
    ),
    link.Answered(n=1, at=2.0, status=200, headers={}),
    link.Pieces(n=1, times=[1.0, 2.0], sizes=[3, 4]),
    link.Said(n=1, at=3.0, from_client=True, text=False),
    link.Ended(n=1, at=4.0, error="cut", lost=5),
    link.Gone(conn="c", at=1.0),
    link.Tls(host="h", at=1.0),
    link.Call(n=1, name="x", args={"a": [1]}),
    link.Lost(bodies=1, frames=2, hurried=3, restarts=4),
    link.Stop(),
]
ANSWERS = [
    link.Ready(control=("127.0.0.1", 1)),
    link.Note(flow_id="f", metadata={"a": 1.5, "b": None}),
    link.Word(text="x"),
    link.Reply(n=1, value={"a": []}),
    link.State(auto_session=True),
    link.Failed(text="x"),
]


class Dribble(io.RawIOBase):
    """A pipe that gives and takes one byte at a time."""

    def __init__(self, data=b""):
        self.data = bytearray(data)

    def readable(self):
        return True

    def writable(self):
        return True

    def read(self, size=-1):
        piece = bytes(self.data[:1])
        del self.data[:1]
        return piece

    def write(self, data):
        self.data += bytes(data[:1])
        return 1


@pytest.mark.parametrize("head", HEADS, ids=lambda h: type(h).__name__)
@pytest.mark.parametrize("payload", [b"", b"abc", b"x" * 200])
def test_a_frame_arrives_as_it_was_sent_whatever_the_pipe_takes_at_a_time(head, payload):
    pipe = Dribble()
    link.write_all(pipe, link.frame_head(head, len(payload)) + payload)

    assert link.read_frame(pipe, link.UPWARD) == (head, payload)
    assert link.read_frame(pipe, link.UPWARD) is None


@pytest.mark.parametrize("head", ANSWERS, ids=lambda h: type(h).__name__)
def test_a_frame_downward_too(head):
    pipe = Dribble(link.frame_head(head, 0))

    assert link.read_frame(pipe, link.DOWNWARD) == (head, b"")


def test_every_kind_of_message_has_its_decoder():
    assert set(map(type, HEADS)) == set(typing.get_args(link.Upward.__value__))
    assert set(map(type, ANSWERS)) == set(typing.get_args(link.Downward.__value__))


@pytest.mark.parametrize("cut", [1, 7, 8, 9, 20])
def test_a_frame_that_is_cut_off_is_the_end(cut):
    whole = link.frame_head(HEADS[1], 5) + b"abcde"

    assert link.read_frame(Dribble(whole[:cut]), link.UPWARD) is None
    assert link.read_frame(Dribble(whole[:-1]), link.UPWARD) is None


def test_a_frame_beyond_all_bounds_is_refused_before_it_is_read():
    with pytest.raises(link.LinkError, match="bounds"):
        link.read_frame(Dribble(b"\xff" * 8), link.UPWARD)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_frame_the_end_or_refused(data):
    pipe = Dribble(data)
    try:
        while link.read_frame(pipe, link.UPWARD) is not None:
            pass
    except link.LinkError:
        pass


@given(st.binary(max_size=60))
def test_any_head_is_a_frame_or_refused(head):
    pipe = Dribble(len(head).to_bytes(4, "little") + bytes(4) + head)
    try:
        found = link.read_frame(pipe, link.UPWARD)
    except link.LinkError:
        return
    assert found is None or isinstance(found[0], link.Message)


def test_a_message_of_a_later_version_with_more_fields_is_read():
    head = msgspec.msgpack.encode({"type": "gone", "conn": "c", "at": 1.0, "new": [1]})
    pipe = Dribble(len(head).to_bytes(4, "little") + bytes(4) + head)

    assert link.read_frame(pipe, link.UPWARD) == (link.Gone(conn="c", at=1.0), b"")


def test_a_real_pipe_carries_a_large_payload():
    import threading

    reading, writing = os.pipe()
    payload = os.urandom(3_000_000)
    with os.fdopen(reading, "rb", buffering=0) as source, os.fdopen(writing, "wb", buffering=0) as sink:
        frame = link.frame_head(HEADS[1], len(payload)) + payload
        thread = threading.Thread(target=link.write_all, args=(sink, frame))
        thread.start()
        found = link.read_frame(source, link.UPWARD)
        thread.join()

    assert found == (HEADS[1], payload)
