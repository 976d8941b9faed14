"""A session's figures: sums of what is known, and where nothing is known, nothing."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_mitm.records import Composition, Exchange, Problem, Source
from kimi_mitm.sessions.stats import NO_FIGURES, ContextLevel, SessionStats

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def exchange(number=1, **known):
    defaults = {"is_estimated": False, "source": Source.USAGE}
    at = START + timedelta(seconds=number)
    return Exchange(id=f"x{number}", started_at=at, **{**defaults, **known})


def stats(*exchanges):
    total = NO_FIGURES
    for one in exchanges:
        total = total.with_exchange(one)
    return total


def test_without_figures_everything_is_unknown():
    figures = stats(exchange())

    assert figures.requests == 1
    assert (figures.max_tokens, figures.mean_tokens, figures.total_prompt_tokens, figures.cost_usd) == (
        None,
    ) * 4
    assert (figures.median_error, figures.last_error, figures.context_level, figures.memory_ratio) == (
        None,
    ) * 4
    assert figures.unpriced_requests == 1


def test_sums_maximum_and_mean():
    figures = stats(
        exchange(
            1,
            input_tokens=100,
            output_tokens=20,
            total_tokens=120,
            cache_read_tokens=64,
            cost_usd=Decimal("0.1"),
        ),
        exchange(2, input_tokens=300, output_tokens=50, reasoning_tokens=30, cost_usd=Decimal("0.2")),
        exchange(3, side=True, input_tokens=10, is_estimated=True, source=Source.PROXY),
        exchange(4, error=Problem("overloaded", "later")),
    )

    assert (figures.requests, figures.side_requests, figures.failed_requests) == (4, 1, 1)
    assert (figures.total_prompt_tokens, figures.total_completion_tokens) == (410, 70)
    assert (figures.total_cached_tokens, figures.total_reasoning_tokens) == (64, 30)
    assert (figures.max_tokens, figures.mean_tokens, figures.measured, figures.estimated) == (
        350,
        160.0,
        3,
        1,
    )
    assert (figures.cost_usd, figures.unpriced_requests) == (Decimal("0.3"), 2)


def test_accuracy_counts_only_what_the_provider_reported():
    figures = stats(
        exchange(1, estimated_input_tokens=90, input_tokens=100),
        exchange(2, estimated_input_tokens=100, input_tokens=100),
        exchange(3, estimated_input_tokens=130, input_tokens=100),
        exchange(4, estimated_input_tokens=500, input_tokens=100, source=Source.LOGS),
        exchange(5, estimated_input_tokens=500, input_tokens=500, is_estimated=True),
        exchange(6, estimated_input_tokens=500, input_tokens=0),
        exchange(7, input_tokens=100),
    )

    assert (figures.judged, figures.median_error, figures.last_error, figures.p90_error) == (3, 0.1, 0.3, 0.3)


def test_accuracy_rests_on_the_last_two_hundred():
    figures = stats(
        *(exchange(n, estimated_input_tokens=200, input_tokens=100) for n in range(300)),
        *(exchange(n, estimated_input_tokens=100, input_tokens=100) for n in range(150)),
    )

    assert (len(figures.errors), figures.judged, figures.median_error) == (200, 450, 0.0)


@pytest.mark.parametrize(
    ("percent", "level"),
    [
        (0.0, ContextLevel.NORMAL),
        (79.99, ContextLevel.NORMAL),
        (80.0, ContextLevel.HIGH),
        (90.0, ContextLevel.VERY_HIGH),
        (95.0, ContextLevel.CRITICAL),
        (120.0, ContextLevel.CRITICAL),
        (None, None),
    ],
)
def test_context_levels(percent, level):
    assert stats(exchange(input_tokens=1, context_percent=percent)).context_level is level


def test_the_context_is_that_of_the_last_turn_of_the_conversation():
    figures = stats(
        exchange(2, input_tokens=200, context_percent=20.0, context_window=1000),
        exchange(1, input_tokens=100, context_percent=10.0, context_window=1000),
        exchange(3, side=True, input_tokens=5, context_percent=0.5, context_window=1000),
        exchange(4, error=Problem("aborted", "")),
    )

    assert (figures.context_tokens, figures.context_percent, figures.context_window) == (200, 20.0, 1000)


def test_memory_is_a_share_of_the_last_turns_prompt():
    figures = stats(
        exchange(1, composition=Composition(system=50, memory=50)),
        exchange(2, composition=Composition(system=50, user=250, memory=100)),
    )

    assert (figures.memory_tokens, figures.chat_tokens, figures.memory_ratio) == (100, 300, 0.25)


def test_providers_and_models_in_the_order_of_their_use():
    figures = stats(
        exchange(1, provider="openai", model="gpt-5"),
        exchange(2, provider="unknown"),
        exchange(3, provider="anthropic", model="claude-sonnet-4-5"),
        exchange(4, provider="openai", model="gpt-5-mini"),
    )

    assert figures.providers == ("openai", "anthropic")
    assert figures.models == ("gpt-5", "claude-sonnet-4-5", "gpt-5-mini")


_MAYBE = st.none() | st.integers(0, 10**6)
_EXCHANGES = st.builds(
    lambda number, figures, side, estimated, cost: exchange(
        number,
        side=side,
        is_estimated=estimated,
        cost_usd=None if cost is None else Decimal(cost) / 1000,
        **dict(
            zip(
                ("input_tokens", "output_tokens", "estimated_input_tokens", "total_tokens"),
                figures,
                strict=True,
            )
        ),
    ),
    st.integers(0, 20),
    st.tuples(_MAYBE, _MAYBE, _MAYBE, _MAYBE),
    st.booleans(),
    st.booleans(),
    _MAYBE,
)
_SETTLED_TWICE = st.lists(st.tuples(_EXCHANGES, _EXCHANGES), max_size=6)


@given(_SETTLED_TWICE)
def test_a_figure_that_is_corrected_counts_as_if_it_had_been_right_at_once(pairs):
    """But that a sum which was known once stays a number: 0 where every part of it was taken back."""
    corrected = NO_FIGURES
    for first, _ in pairs:
        corrected = corrected.with_exchange(first)
    for first, second in pairs:
        corrected = corrected.with_exchange(second, first)
    right = stats(*(second for _, second in pairs))

    names = {f.name for f in fields(SessionStats)} - {
        "errors",
        "context_tokens",
        "context_percent",
        "context_window",
        "last_turn_at",
        "providers",
        "models",
        "memory_tokens",
        "chat_tokens",
    }
    for name in names:
        assert (getattr(corrected, name) or 0) == (getattr(right, name) or 0), name
    assert sorted(corrected.errors) == sorted(right.errors)
