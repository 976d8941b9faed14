"""Mistral Vibe: the journal, and the snapshots that it is folded into."""

from __future__ import annotations

from typing import Any

from kimi_mitm.logs.vibe import JournalReader, read_snapshot
from tests.logs.give import at, document, file, lines, ms

JOURNAL = "/home/.vibe/logs/session/unified/s1/journal/26.jsonl"
META = {
    "session_id": "s1",
    "title": "Fix it",
    "git_branch": "main",
    "environment": {"working_directory": "/work"},
    "config": {"model_name": "mistral-vibe-cli-latest"},
}


def core_input(clock: str, tokens: int = 1231) -> dict[str, Any]:
    usage = {
        "cached_input_tokens": 192,
        "input_tokens": tokens,
        "output_tokens": 121,
        "total_tokens": tokens + 121,
    }
    command = {"type": "completion_succeeded", "result": {"finish_reason": "stop", "usage": usage}}
    entered = {"command": command, "determinism": {"time_unix_ms": ms(clock)}}
    return {"type": "core_input", "payload": {"input": entered}}


def test_the_journals_answers() -> None:
    other = {"type": "action_result", "payload": {"result": {"result": {"usage": {"input_tokens": 5}}}}}

    (got,) = lines(JournalReader, [other, core_input("09:00:01")], file(JOURNAL, {"../meta.json": META}))

    assert (got.usage.input_tokens, got.usage.cache_read_tokens, got.usage.output_tokens) == (1231, 192, 121)
    assert (got.key, got.at, got.model) == (
        "vibe:s1:1231:121",
        at("09:00:01"),
        "mistral-vibe-cli-latest",
    )
    assert (got.title, got.folder, got.branch, got.finish_reason) == ("Fix it", "/work", "main", "stop")


def snapshot(last: int, whole: int) -> dict[str, Any]:
    def usage(tokens: int) -> dict[str, int]:
        return {"cachedInputTokens": 10, "inputTokens": tokens, "outputTokens": 7, "totalTokens": tokens + 7}

    state = {
        "contextUsage": usage(last),
        "tokenUsage": usage(whole) | {"outputTokens": 20, "totalTokens": whole + 20},
    }
    return {"snapshot": {"session": state, "latestTurn": {"completedAt": ms("09:00:01")}}}


def chunks(*roles: str) -> dict[str, Any]:
    return {
        "../../meta.json": META,
        "manifest.json": {"checkpoint": {"chunks": ["aa"]}, "projection_state": {"chunks": ["bb"]}},
        "checkpoint.json": {"compaction_count": 0},
        "../../chunks/aa.json": [{"message": {"role": role}} for role in roles],
        "../../chunks/bb.json": [{"detail": {"kind": "tool"}, "createdAt": ms("09:00:00")}],
    }


def test_a_snapshots_last_call_has_the_journals_key() -> None:
    about = file("/unified/s1/generations/25/projection-state.json", chunks("user", "assistant"))

    (got,) = document(read_snapshot, snapshot(1154, 1154), about)

    assert (got.key, got.usage.input_tokens) == ("vibe:s1:1154:7", 1154)


def test_of_two_calls_the_first_is_the_sum_without_the_last() -> None:
    about = file(
        "/unified/s1/generations/25/projection-state.json", chunks("user", "assistant", "tool", "assistant")
    )

    last, first = document(read_snapshot, snapshot(1154, 2231), about)

    assert (last.usage.input_tokens, first.usage.input_tokens, first.usage.output_tokens) == (1154, 1077, 13)
    assert first.at == at("09:00:00")


def test_of_more_calls_only_the_last_is_known() -> None:
    about = file(
        "/unified/s1/generations/25/projection-state.json", chunks("assistant", "assistant", "assistant")
    )

    assert len(document(read_snapshot, snapshot(1154, 4000), about)) == 1


def test_rubbish_gives_nothing() -> None:
    assert document(read_snapshot, "{") == []
    assert document(read_snapshot, '{"snapshot": {"session": {"tokenUsage": 5}}}') == []
    assert lines(JournalReader, ["", "[]", '{"type": "core_input", "payload": {"input": []}}']) == []
