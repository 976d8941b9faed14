"""Lines that come again are counted; errors of ours stay inside."""

from __future__ import annotations

import logging

import pytest

from kimi_mitm.proxy.voice import Voice, guarded


@pytest.fixture
def clock():
    now = [0.0]

    def read():
        return now[0]

    read.now = now
    return read


def lines(caplog):
    return [r.getMessage() for r in caplog.records]


def test_the_same_line_is_said_once_a_minute_with_a_count(clock, caplog):
    voice = Voice(clock)

    for _ in range(5):
        voice.say("the disk is full")
    clock.now[0] = 61
    voice.say("the disk is full")
    voice.say("another")

    assert lines(caplog) == [
        "kimi: the disk is full",
        "kimi: the disk is full (and 4 times more since)",
        "kimi: another",
    ]


def test_ever_new_lines_do_not_fill_the_memory(clock, caplog):
    voice = Voice(clock)

    for n in range(10_000):
        voice.say(f"line {n}", logging.DEBUG)

    assert len(voice._said) <= 256


def test_a_guarded_hook_gives_what_it_gives():
    class One:
        voice = Voice()

        @guarded
        def hook(self, a, *, b):
            return a + b

    assert One().hook(1, b=2) == 3


def test_an_error_in_a_guarded_hook_is_logged_by_place_and_not_by_content(clock, caplog):
    faults = []

    class One:
        voice = Voice(clock, lambda: faults.append(None))

        @guarded
        def hook(self):
            raise ValueError("the user's text")

    one = One()
    assert [one.hook() for _ in range(3)] == [None] * 3

    assert faults == [None] * 3
    assert len(caplog.records) == 1
    assert "ValueError" in caplog.text
    assert "hook" in caplog.text
    assert "the user's text" not in caplog.text


def test_what_is_no_error_passes(clock):
    class One:
        voice = Voice(clock)

        @guarded
        def hook(self):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        One().hook()
