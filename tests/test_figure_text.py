from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kimi_mitm import notes
from kimi_mitm.records import Composition, EstimateKind, Exchange, Operation, Problem, Source
from kimi_mitm.views.figure_text import figure_lines

STARTED = Exchange(
    id="x1",
    started_at=datetime(2026, 3, 1, tzinfo=UTC),
    client="claude-code",
    provider="anthropic",
    served_by="aws",
    model="claude-sonnet-4-5",
    wire_format="anthropic.messages",
    operation=Operation.CHAT,
    session_id="s_1",
    estimated_input_tokens=12_411,
    estimate_kind=EstimateKind.CALIBRATED,
    estimate_p90_error=0.031,
    composition=Composition(system=2_000, tools=8_411, tool_results=2_000),
    context_window=200_000,
    context_percent=6.2,
)
SETTLED = replace(
    STARTED,
    input_tokens=12_903,
    output_tokens=540,
    cache_read_tokens=11_020,
    cache_write_tokens=0,
    reasoning_tokens=120,
    is_estimated=False,
    source=Source.USAGE,
    response_model="claude-sonnet-4-5-20250929",
    delta_tokens=1_204,
    history_ratio=0.906,
    is_noise=True,
    cost_usd=Decimal("0.0412"),
    ttft_ms=950.0,
    duration_ms=4200.0,
)


def lines(exchange: Exchange, *, settled: bool = True) -> dict[str, str]:
    found = figure_lines(notes.metadata(exchange, settled=settled))
    return dict(line.split(": ", 1) for line in found)


def test_each_figure_says_where_it_comes_from() -> None:
    found = lines(SETTLED)

    assert found == {
        "exchange": (
            "claude-code → anthropic · served by aws · "
            "claude-sonnet-4-5 (answered by claude-sonnet-4-5-20250929)"
        ),
        "recorded": "anthropic.messages · session s_1",
        "prompt": "12,411 estimated (calibrated, 9 of 10 within 3.1 %) → 12,903 (reported)",
        "answer": "540 (reported), 120 of it reasoning",
        "cached": "11,020 read, 0 written (reported)",
        "cost": "$0.0412 (list price, from reported tokens)",
        "context": "6.2 % of 200,000",
        "new": "1,204 tokens since the previous exchange, 91 % is history, mostly noise",
        "parts": "system 2,000 · tools 8,411 · tool results 2,000 (estimated)",
        "time": "first token after 0.95 s, all in 4.20 s",
    }


@pytest.mark.parametrize(
    ("changes", "settled", "prompt"),
    [
        ({}, False, "12,411 estimated (calibrated, 9 of 10 within 3.1 %) → no report yet"),
        ({"estimate_p90_error": None}, True, "12,411 estimated (calibrated) → nothing reported"),
        ({"estimated_input_tokens": None}, False, "no report yet"),
        (
            {"input_tokens": 13_000, "source": Source.HYBRID, "estimate_p90_error": None},
            True,
            "12,411 estimated (calibrated) → 13,000 (fused: hybrid)",
        ),
    ],
)
def test_an_estimate_is_never_shown_as_a_report(changes: dict[str, Any], settled: bool, prompt: str) -> None:
    assert lines(replace(STARTED, **changes), settled=settled)["prompt"] == prompt


def test_an_estimated_answer_says_so() -> None:
    assert lines(replace(STARTED, output_tokens=23))["answer"] == "23 (estimated)"


def test_a_failure_is_told() -> None:
    assert lines(replace(STARTED, error=Problem("rate_limit", "slow down")))["failed"] == "rate_limit"


def test_a_flow_of_others_has_no_figures() -> None:
    assert figure_lines({}) == []
    assert figure_lines({"kimi.input_tokens": 5}) == []


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.sampled_from([*notes.metadata(SETTLED, settled=True), "kimi.error"]),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text()),
    )
)
def test_whatever_a_file_holds_is_survived(metadata: dict[str, Any]) -> None:
    figure_lines({**metadata, "kimi.id": "x"})
