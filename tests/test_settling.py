"""An exchange's figures, settled from its readings and settled anew."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from kimi_mitm.fusion import settling
from kimi_mitm.records import Exchange, Problem, Reading, Source, Usage

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def exchange(**known: Any) -> Exchange:
    usual = {
        "id": "x",
        "flow_id": "f",
        "started_at": NOW,
        "ended_at": NOW + timedelta(seconds=1),
        "provider": "openai",
        "served_by": "openai",
        "model": "gpt-4o",
        "estimated_input_tokens": 100,
        "context_window": 1000,
    }
    return Exchange(**{**usual, **known})


def reading(source: Source = Source.USAGE, *, reported: bool = True, **known: Any) -> Reading:
    usage = known.pop("usage", Usage(input_tokens=120, output_tokens=10, total_tokens=130))
    usual = {"key": source.value, "origin": "here", "at": NOW + timedelta(seconds=1), "usage": usage}
    return Reading(source=source, reported=reported, **{**usual, **known})


def test_reported_usage_settles_figures_fill_and_price() -> None:
    settled = settling.settle(exchange(), [reading()])

    assert (settled.input_tokens, settled.output_tokens, settled.total_tokens) == (120, 10, 130)
    assert (settled.source, settled.is_estimated, settled.via) == (Source.USAGE, False, None)
    assert settled.context_percent == 12.0
    assert settled.cost_usd == Decimal("0.0004")


def test_an_estimate_is_shown_but_never_priced() -> None:
    settled = settling.settle(
        exchange(), [reading(Source.PROXY, reported=False, usage=Usage(input_tokens=100))]
    )

    assert (settled.input_tokens, settled.is_estimated, settled.cost_usd) == (100, True, None)
    assert settled.context_percent == 10.0


def test_without_any_reading_nothing_is_known_but_the_estimates_fill() -> None:
    settled = settling.settle(exchange(), [])

    assert (settled.input_tokens, settled.is_estimated, settled.source) == (None, True, Source.PROXY)
    assert settled.context_percent == 10.0


def test_a_window_that_only_a_reading_knows_is_taken_over() -> None:
    settled = settling.settle(exchange(context_window=None), [reading(context_window=2400)])

    assert (settled.context_window, settled.context_percent) == (2400, 5.0)


def test_what_the_provider_says_it_cost_wins_and_survives_settling_anew() -> None:
    usage = Usage(input_tokens=120, output_tokens=10, cost_usd=Decimal("0.5"))
    once = settling.settle(exchange(), [reading(usage=usage)])
    again = settling.settle(once, settling.wire_readings(once))

    assert once.cost_usd == Decimal("0.5")
    assert again == once


@pytest.mark.parametrize(
    "readings",
    [
        [reading()],
        [reading(), reading(Source.PROXY, reported=False, usage=Usage(input_tokens=100, output_tokens=9))],
        [reading(Source.PROXY, reported=False, usage=Usage(input_tokens=100, output_tokens=9))],
        [],
    ],
)
def test_settling_anew_from_the_record_alone_changes_nothing(readings: list[Reading]) -> None:
    once = settling.settle(exchange(), readings)

    assert settling.settle(once, settling.wire_readings(once)) == once


def test_a_failed_exchange_has_no_figures_unless_its_error_states_them() -> None:
    stated = exchange(error=Problem("invalid", "prompt is too long: 213462 tokens > 200000 maximum"))
    quota = exchange(error=Problem("quota", "You exceeded your quota, limit: 250000"))

    settled = settling.settle(stated, settling.wire_readings(stated))
    assert (settled.input_tokens, settled.source) == (213462, Source.API_ERROR)
    assert settling.wire_readings(quota) == []


def test_what_a_log_knows_beside_figures_is_noted_the_newest_word_last() -> None:
    old = reading(Source.LOGS, title="old", folder="/a", at=NOW)
    new = reading(Source.LOGS, title="new", branch="main", subagent="explorer", joined_by="id")
    noted = settling.described(exchange(notes={"kept": 1}), [new, old])

    assert noted.notes == {
        **{"kept": 1, "title": "new", "folder": "/a"},
        **{"branch": "main", "subagent": "explorer", "joined_by": "id"},
    }
    assert settling.described(noted, [new, old]) is noted


def test_secrets_in_a_title_are_not_noted() -> None:
    key = "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789ABCD"
    noted = settling.described(exchange(), [reading(Source.LOGS, title=f"use {key}")])

    assert key not in str(noted.notes)
