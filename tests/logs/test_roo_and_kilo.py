"""Roo Code and Kilo Code: tasks whose input is the whole prompt, and Kilo's store."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kimi_mitm.logs import kilo_code, roo_code
from kimi_mitm.logs.kilo_code import read_legacy
from kimi_mitm.logs.roo_code import read_roo_task
from kimi_mitm.logs.source import ReadDocument
from tests.logs.give import document, file, ms

TASK = "/g/tasks/t1/ui_messages.json"


def request(**figures: Any) -> dict[str, Any]:
    text = json.dumps({"apiProtocol": "anthropic", **figures})
    return {"ts": ms("09:00:05"), "type": "say", "say": "api_req_started", "text": text}


@pytest.mark.parametrize(("read", "client"), [(read_roo_task, "roo-code"), (read_legacy, "kilo-code")])
def test_input_is_the_whole_prompt(read: ReadDocument, client: str) -> None:
    entry = request(tokensIn=9770, tokensOut=91, cacheWrites=120, cacheReads=9400, cost=0.0037)

    (got,) = document(read, [entry], file(TASK))

    assert (got.usage.input_tokens, got.usage.cache_read_tokens, got.client) == (9770, 9400, client)
    assert (got.key, got.client_session_id) == (f"{client}:t1:{ms('09:00:05')}", "t1")


def test_cached_tokens_beyond_the_input_must_stand_beside_it() -> None:
    (got,) = document(read_roo_task, [request(tokensIn=50, tokensOut=9, cacheReads=9400)], file(TASK))

    assert got.usage.input_tokens == 9450


def test_an_estimate_for_lack_of_usage_is_not_reported() -> None:
    (got,) = document(read_legacy, [request(tokensIn=50, tokensOut=9, usageMissing=True)], file(TASK))

    assert not got.reported


def test_the_model_is_the_one_that_the_environment_named_last() -> None:
    def user(clock: str, model: str) -> dict[str, Any]:
        block = {"type": "text", "text": f"<environment_details>\n<model>{model}</model>"}
        return {"role": "user", "ts": ms(clock), "content": [block]}

    history = [user("09:00:01", "old"), user("09:00:05", "claude-sonnet-4-5"), user("09:01:00", "later")]
    beside = {
        "api_conversation_history.json": history,
        "history_item.json": {"task": "fix the bug", "workspace": "/work"},
    }

    (got,) = document(read_roo_task, [request(tokensIn=50, tokensOut=9)], file(TASK, beside))

    assert (got.model, got.title, got.folder) == ("claude-sonnet-4-5", "fix the bug", "/work")


def test_every_source_is_of_the_client_that_the_wire_names() -> None:
    assert {source.client for source in kilo_code.SOURCES} == {"kilo-code"}
    assert {source.client for source in roo_code.SOURCES} == {"roo-code"}
