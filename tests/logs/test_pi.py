"""pi's sessions."""

from __future__ import annotations

from typing import Any

from kimi_mitm.logs.pi import SessionReader
from kimi_mitm.records import Source
from tests.logs.give import at, lines, ms

HEAD = {"type": "session", "id": "s1", "timestamp": "2026-03-02T09:00:00.000Z", "cwd": "/work"}


def answer(**more: Any) -> dict[str, Any]:
    message = {
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "usage": {"input": 1013, "output": 107, "cacheRead": 64, "cacheWrite": 32, "cost": {"total": 0.004}},
        "stopReason": "toolUse",
        "timestamp": ms("09:00:01"),
        "responseId": "msg_1",
    } | more
    return {"type": "message", "id": "e1", "timestamp": "2026-03-02T09:00:02.500Z", "message": message}


def test_an_answer_has_ids_times_and_the_whole_prompt() -> None:
    (got,) = lines(SessionReader, [HEAD, {"type": "message", "message": {"role": "user"}}, answer()])

    assert (got.usage.input_tokens, got.usage.output_tokens, got.usage.total_tokens) == (1109, 107, 1216)
    assert (got.ids, got.key, got.at, got.started_at) == (
        ("msg_1",),
        "pi:msg_1",
        at("09:00:02.500"),
        at("09:00:01"),
    )
    assert (got.client_session_id, got.folder, got.finish_reason) == ("s1", "/work", "toolUse")


def test_a_failed_request_has_no_figures_but_its_errors() -> None:
    zero = {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0}
    plain = answer(usage=zero, responseId=None, errorMessage="overloaded")
    long = answer(usage=zero, responseId=None, errorMessage="prompt is too long: 9 tokens > 8 maximum")

    first, second = lines(SessionReader, [HEAD, plain, long])

    assert (first.usage.input_tokens, first.problem is not None, first.source) == (None, True, Source.LOGS)
    assert (second.usage.input_tokens, second.source) == (9, Source.API_ERROR)


def test_a_name_is_a_title() -> None:
    (got,) = lines(
        SessionReader, [HEAD, {"type": "session_info", "name": "Fix it", "timestamp": HEAD["timestamp"]}]
    )

    assert (got.title, got.client_session_id) == ("Fix it", "s1")
