"""Qwen Code's sessions, its ledger, and its old chats."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kimi_mitm.logs.qwen_code import SOURCES, ChatReader, LedgerReader, read_chat
from kimi_mitm.logs.source import Distinct, File
from kimi_mitm.records import Problem
from tests.logs.feeding import MODIFIED, feed, figures, sample
from tests.shared import LOGS

SESSION = "482c9cbc-4343-4cc5-aeae-05cf96d0cc5f"
AT = "2026-03-02T09:00:03.021Z"


def event(kind: str = "api_response", **more: Any) -> dict[str, Any]:
    raw = {
        "event.name": f"qwen-code.{kind}",
        "event.timestamp": AT,
        "response_id": "chatcmpl-1",
        "model": "qwen3-coder-plus",
        "duration_ms": 2900,
        "input_token_count": 321,
        "output_token_count": 12,
        "cached_content_token_count": 256,
        "thoughts_token_count": 5,
        "total_token_count": 333,
    } | more
    about = {"sessionId": SESSION, "timestamp": "2026-03-02T09:00:03.030Z", "cwd": "/home/dev/proj"}
    payload = {"subtype": "ui_telemetry", "systemPayload": {"uiEvent": raw}}
    return about | {"type": "system", "version": "0.24.4"} | payload


MESSAGE = {
    "type": "assistant",
    "sessionId": SESSION,
    "timestamp": AT,
    "usageMetadata": {"promptTokenCount": 321, "candidatesTokenCount": 12, "totalTokenCount": 333},
}
LEDGER = {
    "id": "x",
    "timestamp": AT,
    "sessionId": SESSION,
    "model": "qwen3-coder-plus",
    "source": "main",
    "inputTokens": 321,
    "outputTokens": 12,
    "cachedTokens": 256,
    "thoughtsTokens": 5,
    "totalTokens": 333,
    "apiDurationMs": 2900,
}


def test_a_call_written_twice_is_one_reading() -> None:
    (reading,) = feed(ChatReader, event(), MESSAGE)

    assert figures(reading) == (321, 12, 256, None, 5)
    assert reading.ids == ("chatcmpl-1",)
    assert (reading.client_session_id, reading.folder) == (SESSION, "/home/dev/proj")
    assert reading.client_version == "0.24.4"
    assert reading.started_at is not None
    assert (reading.at - reading.started_at).total_seconds() == 2.9


def test_a_call_in_the_background_says_so() -> None:
    (reading,) = feed(ChatReader, event(subagent_name="managed-auto-memory-extractor"))

    assert (reading.subagent, reading.side) == ("managed-auto-memory-extractor", True)


def test_an_error_is_kept() -> None:
    nothing = dict.fromkeys(("input_token_count", "output_token_count", "total_token_count"))
    line = event("api_error", error_message="429 slow down", error_type="RateLimit", **nothing)
    line["systemPayload"]["uiEvent"] |= {"cached_content_token_count": None, "thoughts_token_count": None}

    (reading,) = feed(ChatReader, line)

    assert reading.problem == Problem("RateLimit", "429 slow down")


@pytest.mark.parametrize("chat_first", [True, False])
def test_the_ledger_s_line_is_the_same_reading(chat_first: bool) -> None:
    """And gives way to the one with the response's id."""
    (chat,), (ledger,) = feed(ChatReader, event()), feed(LedgerReader, LEDGER)
    assert chat.key == ledger.key
    assert chat.usage == ledger.usage

    kept = {}
    for reading in Distinct().of([chat, ledger] if chat_first else [ledger, chat]):
        kept[reading.key] = reading

    assert list(kept.values()) == [chat]


def test_an_old_chat_s_thoughts_are_unknown() -> None:
    """The log has 0 there whatever the provider said."""
    tokens = {"input": 1154, "output": 114, "cached": 128, "thoughts": 0, "tool": 0, "total": 1268}
    message = {"id": "a", "timestamp": AT, "type": "qwen", "tokens": tokens, "model": "qwen3-coder-plus"}
    doc = {"sessionId": SESSION, "messages": [message]}

    (reading,) = read_chat(json.dumps(doc).encode(), File(path="/x.json", modified=MODIFIED))

    assert figures(reading) == (1154, 114, 128, None, None)
    assert reading.client == "qwen-code"


@pytest.mark.skipif(LOGS is None, reason="no sample logs here")
def test_samples() -> None:
    assert LOGS
    (path,) = (LOGS / "qwen-code").rglob("*.jsonl")

    assert [(one.ids, figures(one)) for one in sample(SOURCES[0], path)] == [
        (("chatcmpl-synthqwen0",), (321, 12, 256, None, 5)),
        (("chatcmpl-synthqwen1",), (621, 12, 256, None, 5)),
        (("chatcmpl-synthqwen2",), (921, 12, 256, None, 5)),
        (("chatcmpl-synthqwen3",), (1221, 12, 256, None, 5)),
        (("chatcmpl-synthqwenbg",), (150, 9, 0, None, 0)),
    ]
