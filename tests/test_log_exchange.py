"""What of a log's record is kept, and the exchange that it makes alone."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kimi_mitm.control.fields import ID_PATTERN
from kimi_mitm.engine.log_exchange import clean, made_of
from kimi_mitm.fusion.match import log_exchange_id
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


@given(st.lists(st.text(max_size=200), min_size=2, max_size=6, unique=True))
def test_whatever_its_key_a_record_has_an_id_of_its_own_that_fits_into_a_path(keys: list[str]) -> None:
    digest = log_exchange_id(reading(key="a b")).removeprefix("log:")
    ids = [
        log_exchange_id(reading(key=key)) for key in (*keys, "a b", digest, "k" * 119, "k" * 120, "k" * 121)
    ]

    assert len({*keys, "a b", digest}) + 3 == len(set(ids))
    assert all(re.fullmatch(ID_PATTERN, one) for one in ids)
    assert ids == [
        log_exchange_id(reading(key=k)) for k in (*keys, "a b", digest, *("k" * n for n in (119, 120, 121)))
    ]


def test_a_start_after_the_end_is_none() -> None:
    assert made_of(reading(started_at=NOW + timedelta(seconds=9))).started_at == NOW
