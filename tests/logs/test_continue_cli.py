"""Continue's command line: one document per session."""

from __future__ import annotations

from typing import Any

import pytest

from kimi_mitm.logs.continue_cli import read_session
from kimi_mitm.logs.source import is_note
from tests.logs.give import MODIFIED, document


def session(*usages: dict[str, Any] | None, title: str = "Untitled Session") -> dict[str, Any]:
    history: list[dict[str, Any]] = [{"message": {"role": "user", "content": "q"}}]
    for usage in usages:
        message = {"role": "assistant", "content": "a"} | ({"usage": usage} if usage else {})
        history.append({"message": message})
    return {"sessionId": "s1", "title": title, "workspaceDirectory": "/work", "history": history}


def openai(prompt: int = 1077) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": 107,
        "prompt_tokens_details": {"cached_tokens": 64},
        "completion_tokens_details": {"reasoning_tokens": 11},
        "model": "gpt-4o",
        "cost_cents": 0,
    }


def test_openais_usage_is_the_wires() -> None:
    (got,) = document(read_session, session(openai()))

    assert (got.usage.input_tokens, got.usage.cache_read_tokens, got.usage.reasoning_tokens) == (1077, 64, 11)
    assert (got.usage.cost_usd, got.model, got.client_session_id, got.at) == (None, "gpt-4o", "s1", MODIFIED)
    assert (got.folder, got.title, got.reported) == ("/work", None, True)
    assert got.undated


def test_anthropics_cached_tokens_are_added() -> None:
    details = {"cache_write_tokens": 32, "cache_read_tokens": 64, "cached_tokens": 64}
    usage = {"prompt_tokens": 1013, "completion_tokens": 107, "prompt_tokens_details": details}

    (got,) = document(read_session, session(usage))

    assert (got.usage.input_tokens, got.usage.cache_write_tokens, got.usage.total_tokens) == (1109, 32, 1216)


def test_an_answer_keeps_its_key_when_others_come_and_go() -> None:
    before = [one.key for one in document(read_session, session(openai(1), openai(2)))]

    after = [one.key for one in document(read_session, session(openai(2), openai(3), openai(3)))]

    assert before[1] == after[0]
    assert len({*before, *after}) == 4


def test_a_session_without_usage_has_a_title_at_most() -> None:
    (got,) = document(read_session, session(None, title="Fix it"))

    assert is_note(got)
    assert got.title == "Fix it"


@pytest.mark.parametrize(
    "doc", ["", "[]", "{}", '{"sessionId": "s", "history": {"a": 1}}', '{"sessionId": []}']
)
def test_rubbish_gives_nothing(doc: str) -> None:
    assert document(read_session, doc) == []
