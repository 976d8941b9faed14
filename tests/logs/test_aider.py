"""Aider's estimates: the chat history and the analytics file."""

from __future__ import annotations

from decimal import Decimal

from kimi_mitm.logs.aider import AnalyticsReader, read_history
from tests.logs.give import MODIFIED, at, document, file, lines

HISTORY = """
# aider chat started at 2026-03-02 09:00:00

> Aider v0.86.2
> Main model: openai/gpt-4o with diff edit format
> Weak model: gpt-4o-mini

#### q0

> Tokens: 2.4k sent, 8 received. Cost: $0.0060 message, $0.0060 session.
> Tokens: 12k sent, 1.1k cache write, 900 cache hit, 42 received.
Cost: $0.074 message, $0.8 session.

# aider chat started at 2026-03-02 09:30:00

> Model: anthropic/claude-sonnet-4-5 with diff edit format, infinite output
> Tokens: 950 sent, 1,042 received. Cost: $0.1 message, $0.1 session.
"""


def test_the_histories_lines_are_rounded_estimates() -> None:
    first, second, third = document(read_history, HISTORY, file("/work/.aider.chat.history.md"))

    assert (first.usage.input_tokens, first.usage.output_tokens) == (2400, 8)
    assert first.usage.cost_usd == Decimal("0.0060")
    assert (second.usage.input_tokens, second.usage.cache_read_tokens, second.usage.cache_write_tokens) == (
        12_000,
        900,
        1100,
    )
    assert (third.usage.input_tokens, third.usage.output_tokens) == (950, 1042)
    assert (first.model, third.model, first.client_version) == (
        "openai/gpt-4o",
        "anthropic/claude-sonnet-4-5",
        "0.86.2",
    )
    assert (first.folder, third.at, first.reported) == ("/work", MODIFIED, False)
    assert [one.undated for one in (first, second, third)] == [True, True, False]
    assert first.at != MODIFIED  # its session began at nine, in the machine's zone
    assert len({first.key, second.key, third.key}) == 3


def test_a_line_keeps_its_key_when_the_file_grows() -> None:
    whole = [one.key for one in document(read_history, HISTORY)]
    part = [one.key for one in document(read_history, HISTORY[: HISTORY.index("# aider chat", 5)])]

    assert whole[:2] == part


def test_the_analytics_are_estimates_with_a_time() -> None:
    properties = {
        "main_model": "openai/REDACTED",
        "prompt_tokens": 2380,
        "completion_tokens": 8,
        "cost": 0.006,
    }
    line = {
        "event": "message_send",
        "properties": properties,
        "user_id": "u",
        "time": int(at("09:00:01").timestamp()),
    }
    other = {"event": "exit", "properties": {}, "time": line["time"]}

    (got,) = lines(AnalyticsReader, [other, line])

    assert (got.usage.input_tokens, got.reported, got.model, got.at) == (2380, False, None, at("09:00:01"))


def test_rubbish_gives_nothing() -> None:
    assert document(read_history, "> Tokens: k sent, 8 received.\n> Tokens: 1.2.3 sent, . received.") == []
    assert lines(AnalyticsReader, ["", "[]", '{"event": "message_send", "time": "x"}']) == []
