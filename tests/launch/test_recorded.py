"""The exchanges of a run, asked for at its end."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from kimi_mitm.launch import recorded

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ROW: dict[str, Any] = {
    "session_id": "s_1",
    "client_session_id": None,
    "estimated_input_tokens": 10,
    "input_tokens": 12,
    "output_tokens": 3,
    "is_estimated": False,
    "source": "usage",
    "cost_usd": None,
    "side": False,
    "error": None,
    "ended_at": "2026-03-01T12:00:01Z",
    "notes": {"run": "r1"},
}


def asked(monkeypatch: pytest.MonkeyPatch, *pages: list[dict[str, Any]]) -> list[recorded.Seen] | None:
    """What is found when the proxy answers with one page after the other, and with the last from then on.
    Time passes by asking only."""
    left, clock = list(pages), [0.0]

    def answer(*_: Any, **__: Any) -> dict[str, Any]:
        return {"exchanges": left.pop(0) if len(left) > 1 else left[0], "next": None}

    monkeypatch.setattr(recorded.proxies, "get", answer)
    monkeypatch.setattr(recorded.time, "sleep", lambda s: clock.__setitem__(0, clock[0] + s))
    monkeypatch.setattr(recorded.time, "monotonic", lambda: clock[0])
    found = recorded.of_control(("127.0.0.1", 1), "", "r1", NOW)
    assert clock[0] < 5
    return found


def test_an_exchange_that_is_stored_late_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    found = asked(monkeypatch, [], [], [{**ROW, "ended_at": None}], [ROW])

    assert [(one.input_tokens, one.open) for one in found or []] == [(12, False)]


@pytest.mark.parametrize("rows", [[], [{**ROW, "notes": {"run": "another"}}], [{**ROW, "notes": None}]])
def test_a_run_without_any_is_not_waited_for_long(
    monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, Any]]
) -> None:
    assert asked(monkeypatch, rows) == []


def test_one_that_does_not_end_is_given_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    found = asked(monkeypatch, [{**ROW, "ended_at": None}])

    assert [one.open for one in found or []] == [True]
