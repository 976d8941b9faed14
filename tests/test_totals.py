"""What many exchanges add up to."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_mitm.store.totals import Figures, Tally, Totals


def row(**known: Any) -> Figures:
    nothing = dict.fromkeys(Figures._fields)
    return Figures(**{**nothing, "provider": "openai", "failed": False, "reported": False, **known})


def test_a_sum_of_nothing_known_is_unknown() -> None:
    totals = Totals()
    totals.add(row())

    assert (totals.requests, totals.unpriced_requests) == (1, 1)
    assert totals.total_prompt_tokens is None
    assert totals.cost_usd is None
    assert (totals.max_tokens, totals.mean_tokens, totals.median_error) == (None, None, None)
    assert (totals.p90_error, totals.last_error) == (None, None)


def test_what_is_known_is_summed_and_zero_is_known() -> None:
    totals = Totals()
    for known in (
        {"input_tokens": 10, "output_tokens": 0, "total_tokens": 10, "cost_usd": "0.10"},
        {"input_tokens": 5, "cache_read_tokens": 4},
        {"failed": True},
    ):
        totals.add(row(**known))

    assert (totals.requests, totals.failed, totals.unpriced_requests) == (3, 1, 2)
    assert (totals.total_prompt_tokens, totals.total_completion_tokens) == (15, 0)
    assert (totals.total_cached_tokens, totals.total_reasoning_tokens) == (4, None)
    assert (totals.max_tokens, totals.mean_tokens) == (10, 7.5)
    assert totals.cost_usd == Decimal("0.10")


def test_money_adds_up_to_the_cent() -> None:
    totals = Totals()
    for _ in range(10):
        totals.add(row(cost_usd="0.1"))

    assert totals.cost_usd == Decimal("1.0")


@pytest.mark.parametrize(
    ("known", "errors"),
    [
        ({"reported": True, "input_tokens": 100, "estimated_input_tokens": 110}, [0.1]),
        ({"reported": True, "input_tokens": 100, "estimated_input_tokens": 0}, [1.0]),
        ({"reported": True, "input_tokens": 0, "estimated_input_tokens": 5}, []),
        ({"reported": True, "input_tokens": 100}, []),
        ({"reported": False, "input_tokens": 100, "estimated_input_tokens": 110}, []),
    ],
)
def test_estimates_are_judged_where_the_provider_reported(known: dict[str, Any], errors: list[float]) -> None:
    totals = Totals()
    totals.add(row(**known))

    assert totals.errors == errors


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=200))
def test_the_ninetieth_percentile_is_the_least_that_nine_in_ten_do_not_exceed(estimates: list[int]) -> None:
    totals = Totals()
    for estimate in estimates:
        totals.add(row(reported=True, input_tokens=100, estimated_input_tokens=estimate))
    found = totals.p90_error
    assert found is not None

    within = sum(error <= found for error in totals.errors)
    below = sum(error < found for error in totals.errors)
    assert within >= 0.9 * len(estimates)
    assert below < 0.9 * len(estimates)
    assert totals.last_error == totals.errors[-1]


def test_the_same_by_provider_and_by_model_most_requests_first() -> None:
    tally = Tally()
    tally.add(
        [
            row(model="gpt-4o", input_tokens=1),
            row(provider="anthropic", model="claude", input_tokens=2),
            row(provider="anthropic", model="claude", input_tokens=3),
            row(provider="anthropic", model=None, input_tokens=4),
        ]
    )

    assert [(p, t.total_prompt_tokens) for p, t in tally.by_provider()] == [("anthropic", 9), ("openai", 1)]
    assert [key for key, _ in tally.by_model()] == [
        *(("anthropic", "claude"), ("openai", "gpt-4o"), ("anthropic", None)),
    ]
    assert tally.all.requests == 4
