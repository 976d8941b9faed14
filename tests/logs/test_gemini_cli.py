"""Gemini CLI's chats, old and new, and its telemetry."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kimi_mitm.logs.gemini_cli import SOURCES, ChatReader, TelemetryReader, read_chat
from kimi_mitm.logs.source import File, Tally
from kimi_mitm.records import Problem
from tests.logs.feeding import MODIFIED, feed, figures, sample
from tests.shared import LOGS

SESSION = "923a7369-94e3-4f91-9a61-dbe22e44158b"
HEAD = {"sessionId": SESSION, "projectHash": "b", "startTime": "2026-03-02T09:00:00.000Z", "kind": "main"}
TOKENS = {"input": 7500, "output": 10, "cached": 4000, "thoughts": 50, "tool": 0, "total": 7560}
GEMINI = (7500, 60, 4000, None, 50)


def message(name: str = "m1", tokens: Any = TOKENS, **more: Any) -> dict[str, Any]:
    about = {"id": name, "timestamp": "2026-03-02T09:00:18.000Z", "type": "gemini", "model": "gemini-2.5-pro"}
    return about | {"tokens": tokens} | more


@pytest.mark.parametrize("restart_before", [None, 2])
def test_thoughts_are_added_to_the_output(restart_before: int | None) -> None:
    (reading,) = feed(
        ChatReader,
        HEAD,
        message(),
        beside={"../.project_root": "/home/dev/proj"},
        restart_before=restart_before,
    )

    assert figures(reading) == GEMINI
    assert reading.key == f"gemini-cli:{SESSION}:m1"
    assert (reading.client_session_id, reading.model) == (SESSION, "gemini-2.5-pro")
    assert reading.folder == "/home/dev/proj"
    assert reading.subagent is None


def test_a_message_written_again_is_one_reading() -> None:
    """First without figures, then with them, then with its tools' results."""
    readings = feed(ChatReader, HEAD, message(tokens=None), message(), message(toolCalls=[]))

    assert {reading.key for reading in readings} == {f"gemini-cli:{SESSION}:m1"}


def test_a_resumed_conversation_s_copy_is_passed_over() -> None:
    """It bears the time of resuming, and the messages are already known."""
    assert feed(ChatReader, HEAD, {"$set": {"messages": [message()], "sessionId": SESSION}}) == []


def test_a_sub_agent_s_chat_says_so() -> None:
    (reading,) = feed(ChatReader, HEAD | {"kind": "subagent"}, message())

    assert reading.subagent == SESSION


def test_an_old_chat_is_one_document() -> None:
    tally = Tally()
    doc = HEAD | {
        "messages": [{"id": "u", "type": "user"}, message("a"), message("b"), message("c", tokens=None)]
    }

    readings = list(read_chat(json.dumps(doc).encode(), File(path="/x.json", modified=MODIFIED, tally=tally)))

    assert [(one.key, figures(one)) for one in readings] == [
        (f"gemini-cli:{SESSION}:a", GEMINI),
        (f"gemini-cli:{SESSION}:b", GEMINI),
    ]
    assert (tally.seen, tally.readings) == (4, 2)


def event(name: str, **attributes: Any) -> str:
    about = {"session.id": SESSION, "event.name": f"gemini_cli.{name}", "model": "gemini-2.5-pro"}
    about |= {"event.timestamp": "2026-03-02T09:00:18.000Z", "prompt_id": "p########1"}
    return json.dumps({"hrTime": [1, 0], "attributes": about | attributes}, indent=2)


FIGURES = {
    "duration_ms": 2900,
    "input_token_count": 7500,
    "output_token_count": 10,
    "cached_content_token_count": 4000,
    "thoughts_token_count": 50,
    "tool_token_count": 0,
    "total_token_count": 7560,
    "role": "main",
    "finish_reasons": ["stop"],
}


def test_telemetry_is_read_across_lines() -> None:
    text = "\n".join(
        [event("api_request"), event("api_response", **FIGURES), "rubbish }", event("user_prompt")]
    )

    (reading,) = feed(TelemetryReader, *text.split("\n"))

    assert figures(reading) == GEMINI
    assert reading.started_at is not None
    assert (reading.at - reading.started_at).total_seconds() == 2.9
    assert (reading.side, reading.finish_reason) == (False, "stop")


def test_telemetry_goes_on_in_the_middle_of_an_object() -> None:
    lines = event("api_response", **FIGURES).split("\n")

    for number in range(2, len(lines) + 1):
        assert len(feed(TelemetryReader, *lines, restart_before=number)) == 1


def test_telemetry_s_errors_are_kept() -> None:
    text = event("api_error", error="quota exceeded", error_type="RESOURCE_EXHAUSTED")

    (reading,) = feed(TelemetryReader, *text.split("\n"))

    assert reading.problem == Problem("RESOURCE_EXHAUSTED", "quota exceeded")


@pytest.mark.skipif(LOGS is None, reason="no sample logs here")
def test_samples() -> None:
    assert LOGS
    (new,) = (LOGS / "gemini-cli").rglob("*.jsonl")
    (old,) = (LOGS / "gemini-cli").rglob("*.json")
    by_name = {source.name: source for source in SOURCES}

    assert [figures(one) for one in sample(by_name["gemini-cli"], new)] == [
        (7000, 59, 0, None, 50),
        (7500, 60, 4000, None, 50),
        (8000, 61, 4000, None, 50),
        (8500, 62, 4000, None, 50),
    ]
    assert [figures(one) for one in sample(by_name["gemini-cli-old"], old)] == [
        (number, 25, 0, None, 5) for number in (1001, 1003, 1005, 1007, 1009)
    ]
    telemetry = sample(by_name["gemini-telemetry"], LOGS / "gemini-cli/telemetry.log")
    assert [one.usage.input_tokens for one in telemetry] == [7000, 7500, 8000, 8500, 9000, 9500]
