"""GitHub Copilot: events, database, debug logs of VS Code."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from kimi_mitm.logs.copilot import DebugReader, EventsReader, StoreReader
from tests.logs.give import Database, at, file, lines, ms

EVENTS = "/home/.copilot/session-state/s1/events.jsonl"
STAMP = "2026-03-02T09:00:00.379Z"
START = {
    "type": "session.start",
    "timestamp": STAMP,
    "data": {
        "sessionId": "s1",
        "copilotVersion": "1.0.102",
        "selectedModel": "gpt-5-mini",
        "context": {"cwd": "/work", "branch": "main"},
    },
}


def record(**more: Any) -> dict[str, Any]:
    usage = {
        "model": "gpt-5-mini",
        "inputTokens": 1077,
        "outputTokens": 107,
        "cacheReadTokens": 64,
        "cacheWriteTokens": 0,
        "reasoningTokens": 11,
        "duration": 200,
        "interactionType": "conversation-agent",
        "apiCallId": "resp_1",
    }
    return {"type": "session.usage_record", "timestamp": STAMP, "data": {"usage": usage | more}}


def test_a_call_has_the_responses_id_and_the_sessions_context() -> None:
    about = file(EVENTS, {"workspace.yaml": b"id: s1\nname: 'Fix it'\n"})

    (got,) = lines(EventsReader, [START, record()], about)

    assert (got.usage.input_tokens, got.usage.cache_read_tokens, got.usage.reasoning_tokens) == (1077, 64, 11)
    assert (got.ids, got.at, got.started_at) == (("resp_1",), at("09:00:00.379"), at("09:00:00.179"))
    assert (got.client_session_id, got.folder, got.branch, got.client_version) == (
        "s1",
        "/work",
        "main",
        "1.0.102",
    )
    assert (got.title, got.side, got.subagent) == ("Fix it", False, None)


def test_background_calls_and_subagents_are_told_apart() -> None:
    side, agent = lines(
        EventsReader,
        [
            START,
            record(interactionType="conversation-background"),
            record(interactionType="conversation-subagent"),
        ],
    )

    assert (side.side, agent.subagent) == (True, "subagent")


def test_sums_are_not_read_and_an_answers_message_only_where_nothing_else_is() -> None:
    shutdown = {
        "type": "session.shutdown",
        "timestamp": STAMP,
        "data": {"modelMetrics": {"m": {"usage": {"inputTokens": 9}}}},
    }
    message = {
        "type": "assistant.message",
        "timestamp": STAMP,
        "data": {"messageId": "m1", "outputTokens": 120},
    }
    with_call = {**message, "data": {**message["data"], "apiCallId": "resp_1"}}

    (got,) = lines(EventsReader, [START, shutdown, message, with_call], file(EVENTS))

    assert (got.key, got.usage.output_tokens, got.usage.input_tokens) == ("copilot:m1", 120, None)


def store(**call: Any) -> Database:
    made = Database(StoreReader)
    made.table("sessions", "id, cwd, summary")
    made.table(
        "assistant_usage_events",
        "id INTEGER PRIMARY KEY, session_id, agent_id, model, input_tokens, output_tokens, "
        "cache_read_tokens, cache_write_tokens, reasoning_tokens, duration_ms, time_to_first_token_ms REAL, "
        "finish_reason, created_at",
    )
    made.add("sessions", id="s1", cwd="/work", summary="Fix it")
    usual = {"session_id": "s1", "model": "gpt-5-mini", "input_tokens": 1077, "output_tokens": 107}
    made.add("assistant_usage_events", **{**usual, "created_at": STAMP, **call})
    return made


def test_the_database_has_the_same_call_under_the_same_key() -> None:
    made = store(cache_read_tokens=64, duration_ms=200)

    (got,) = made.read()
    (event,) = lines(EventsReader, [START, record()], file(EVENTS))

    assert (got.key, got.title, got.folder, got.ids) == (event.key, "Fix it", "/work", ())
    assert made.read() == []


@pytest.mark.parametrize("first", [120.417149, 120, None])
def test_a_call_that_the_database_dates_a_millisecond_later_is_the_same(first: float | None) -> None:
    later = store(duration_ms=200, time_to_first_token_ms=first, created_at="2026-03-02T09:00:00.380Z")
    calls = [START, record(duration=200, timeToFirstTokenMs=first)]

    (got,), (event,) = later.read(), lines(EventsReader, calls, file(EVENTS))

    assert (got.key, got.at - event.at) == (event.key, timedelta(milliseconds=1))


@pytest.mark.parametrize("took", [10**400, True, "x", -1])
def test_a_duration_that_is_none_leaves_the_time_to_tell_calls_apart(took: Any) -> None:
    (got,) = store().read()
    (event,) = lines(EventsReader, [START, record(duration=took)], file(EVENTS))

    assert got.key == event.key


def test_calls_of_the_same_figures_are_told_apart() -> None:
    alike = [record(timeToFirstTokenMs=120.417149), record(timeToFirstTokenMs=121.002)]

    assert len({got.key for got in lines(EventsReader, [START, *alike], file(EVENTS))}) == 2


def test_a_request_in_vs_code() -> None:
    line = {
        "ts": ms("09:00:01"),
        "dur": 3400,
        "sid": "c1",
        "type": "llm_request",
        "spanId": "64",
        "status": "ok",
        "attrs": {"model": "claude-sonnet-4.5", "inputTokens": 9000, "outputTokens": 150},
    }
    failed = {**line, "spanId": "65", "status": "error", "attrs": {"error": "Request failed"}}
    main, agent = "/logs/main.jsonl", "/logs/explore-c2.jsonl"

    first, second = lines(DebugReader, [{"type": "user_message"}, line, failed], file(main))
    (third,) = lines(DebugReader, [line], file(agent))

    assert (first.usage.input_tokens, first.at, first.started_at) == (
        9000,
        at("09:00:04.400"),
        at("09:00:01"),
    )
    assert (first.key, first.subagent, third.subagent) == ("copilot:c1:64", None, "explore")
    assert (bool(second.usage), second.problem is not None) == (False, True)
