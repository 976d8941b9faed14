"""Cline: sessions of 4.x and the command line, tasks of the extension before."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from kimi_mitm.logs.cline import read_classic, read_session
from kimi_mitm.records import Usage
from tests.logs.give import at, document, file, ms

SESSION = "1795187291259_xs4eh"


def answer(clock: str, name: str = "msg_a", **metrics: Any) -> dict[str, Any]:
    model = {"id": "claude-sonnet-4-5", "provider": "anthropic"}
    return {"id": name, "role": "assistant", "ts": ms(clock), "modelInfo": model, "metrics": metrics}


def session(*messages: dict[str, Any], agent: str = "lead") -> dict[str, Any]:
    return {
        "version": 1,
        "agent": agent,
        "sessionId": SESSION,
        "origin": {"version": "3.0.65"},
        "messages": list(messages),
    }


def test_a_sessions_input_has_the_cached_tokens() -> None:
    metrics: dict[str, Any] = {
        "inputTokens": 1109,
        "outputTokens": 107,
        "cacheReadTokens": 64,
        "cacheWriteTokens": 32,
        "cost": 0.0047,
    }
    beside = {f"{SESSION}.json": {"cwd": "/work", "metadata": {"title": "Run it"}}}
    user = {"id": "u", "role": "user", "ts": ms("09:00:00")}

    (got,) = document(read_session, session(user, answer("09:00:01", **metrics)), file(beside=beside))

    assert got.usage == Usage(
        input_tokens=1109,
        output_tokens=107,
        cache_read_tokens=64,
        cache_write_tokens=32,
        total_tokens=1216,
        cost_usd=Decimal("0.0047"),
    )
    assert (got.key, got.at, got.ids, got.reported) == (f"cline:{SESSION}:msg_a", at("09:00:01"), (), True)
    assert (got.title, got.folder, got.model) == ("Run it", "/work", "claude-sonnet-4-5")
    assert (got.client_session_id, got.client_version, got.subagent) == (SESSION, "3.0.65", None)


def test_an_answer_that_broke_off_has_no_figures() -> None:
    noughts = answer("09:00:01", inputTokens=0, outputTokens=0, cacheReadTokens=0, cacheWriteTokens=0)

    assert document(read_session, session(noughts), file()) == []


def test_another_agent_than_the_lead_is_a_subagent() -> None:
    (got,) = document(read_session, session(answer("09:00:01", inputTokens=1), agent="scout"))

    assert got.subagent == "scout"


def test_a_figure_out_of_bounds_is_left_out_and_counted() -> None:
    about = file()

    (got,) = document(read_session, session(answer("09:00:01", inputTokens=-1, outputTokens=5)), about)

    assert (got.usage.input_tokens, got.usage.output_tokens) == (None, 5)
    assert (about.tally.rejected, about.tally.understood, about.tally.readings) == (1, 1, 1)


def request(clock: str, model: dict[str, Any] | None = None, **figures: Any) -> dict[str, Any]:
    entry = {"ts": ms(clock), "type": "say", "say": "api_req_started", "text": json.dumps(figures)}
    return entry | ({"modelInfo": model} if model else {})


TASK = "/g/saoudrizwan.claude-dev/tasks/1772442000000/ui_messages.json"
CLAUDE = {"providerId": "anthropic", "modelId": "claude-sonnet-4-5"}


def test_a_tasks_cached_tokens_stand_beside_its_input() -> None:
    said = {"ts": ms("09:00:00"), "type": "say", "say": "text", "text": "fix the bug"}
    entry = request(
        "09:00:05", CLAUDE, tokensIn=200, tokensOut=90, cacheWrites=300, cacheReads=10, cost=0.003
    )

    (got,) = document(read_classic, [said, entry], file(TASK))

    assert (got.usage.input_tokens, got.usage.output_tokens, got.usage.total_tokens) == (510, 90, 600)
    assert (got.at, got.started_at) == (at("09:00:05"), at("09:00:05"))
    assert got.key == f"cline:1772442000000:{ms('09:00:05')}"
    assert (got.client_session_id, got.title, got.model) == (
        "1772442000000",
        "fix the bug",
        "claude-sonnet-4-5",
    )


@pytest.mark.parametrize(("prompt", "tokens"), [(600, 600), (900, 900)])
def test_the_messages_own_metrics_tell_what_the_input_means(prompt: int, tokens: int) -> None:
    history = [
        {"role": "user", "ts": ms("09:00:05"), "content": []},
        {"role": "assistant", "ts": ms("09:00:09"), "metrics": {"tokens": {"prompt": prompt}}},
    ]
    about = file(TASK, {"api_conversation_history.json": history})

    (got,) = document(read_classic, [request("09:00:05", tokensIn=600, tokensOut=9, cacheReads=300)], about)

    assert got.usage.input_tokens == tokens


def test_a_request_without_figures_gives_nothing_and_the_one_that_has_them_replaces_it() -> None:
    cancelled = request("09:00:05", cancelReason="user_cancelled")

    assert document(read_classic, [cancelled, request("09:00:09", tokensIn=None)], file(TASK)) == []


@pytest.mark.parametrize("doc", ["", "[", "{}", "[1, null, {}]", '{"messages": {"a": 1}}', "[[[]]]", "null"])
def test_whatever_the_file_holds_nothing_is_raised(doc: str) -> None:
    assert document(read_session, doc) == []
    assert document(read_classic, doc) == []
