"""What of a log's record is kept, and the exchange that it makes alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from kimi_mitm.log_exchange import clean, made_of
from kimi_mitm.records import Operation, Problem, Reading, Source

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEY = "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789ABCD"


def reading(**known: Any) -> Reading:
    usual = {"source": Source.LOGS, "reported": True, "at": NOW, "key": "k", "origin": "f:1"}
    return Reading(**{**usual, **known})


def test_secrets_in_titles_and_errors_are_masked_and_the_rest_stays() -> None:
    kept = clean(reading(title=f"use {KEY}", problem=Problem("auth", f"bad {KEY}"), folder="/a", ids=("r",)))

    assert KEY not in str(kept)
    assert (kept.folder, kept.ids, kept.problem and kept.problem.type) == ("/a", ("r",), "auth")
    assert clean(reading()) == reading()


def test_the_exchange_of_a_record_alone_says_so() -> None:
    begun = NOW - timedelta(seconds=3)
    made = made_of(
        reading(started_at=begun, model="moonshotai/kimi-k2.5", client="pi", user="alice", side=True)
    )

    assert (made.id, made.source, made.transport, made.operation) == (
        *("log:k", Source.LOGS, "unknown", Operation.CHAT),
    )
    assert (made.started_at, made.ended_at) == (begun, NOW)
    assert (made.provider, made.client, made.user, made.side) == ("moonshotai", "pi", "alice", True)
    assert (made.served_by, made.input_tokens, made.cost_usd) == (None, None, None)


def test_a_start_after_the_end_is_none() -> None:
    assert made_of(reading(started_at=NOW + timedelta(seconds=9))).started_at == NOW
