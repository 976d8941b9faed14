"""Token figures from clients' records."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from kimi_mitm.logs.figures import MOST, Figures, with_error_figures
from kimi_mitm.logs.source import Tally
from kimi_mitm.records import Problem, Reading, Source, Usage


@pytest.fixture
def tally() -> Tally:
    return Tally()


@pytest.fixture
def figures(tally: Tally) -> Figures:
    return Figures(tally)


@pytest.mark.parametrize(
    ("value", "kept"), [(0, 0), (7, 7), (7.0, 7), (MOST, MOST), (None, None)], ids=lambda value: str(value)
)
def test_whole_numbers_within_bounds_are_kept(
    figures: Figures, tally: Tally, value: Any, kept: int | None
) -> None:
    assert figures.tokens(value) == kept
    assert tally.rejected == 0


@pytest.mark.parametrize(
    "value",
    [-1, MOST + 1, 10**30, 1.5, float("nan"), float("inf"), True, "12", [], {}],
    ids=lambda value: str(value),
)
def test_anything_else_is_unknown_and_counted(figures: Figures, tally: Tally, value: Any) -> None:
    assert figures.tokens(value) is None
    assert tally.rejected == 1


def test_cached_tokens_apart_are_added(figures: Figures) -> None:
    """15,000 read, 300 written and 50 fresh tokens are a prompt of 15,350."""
    usage = figures.usage(input=50, output=88, cache_read=15_000, cache_write=300, cache_apart=True)

    assert usage == Usage(
        input_tokens=15_350,
        output_tokens=88,
        cache_read_tokens=15_000,
        cache_write_tokens=300,
        total_tokens=15_438,
    )


def test_a_sum_with_a_rejected_part_is_unknown(figures: Figures) -> None:
    """The rest of the record is kept."""
    usage = figures.usage(input=50, output=88, cache_read=-4, cache_write=300, cache_apart=True)

    assert usage == Usage(output_tokens=88, cache_write_tokens=300)


def test_reasoning_apart_is_added_to_the_output(figures: Figures) -> None:
    usage = figures.usage(input=65, output=7, reasoning=5, reasoning_apart=True)

    assert (usage.output_tokens, usage.reasoning_tokens) == (12, 5)


def test_nothing_known_is_no_usage(figures: Figures) -> None:
    assert not figures.usage()


@pytest.mark.parametrize(
    ("total", "output"),
    [(1184, 107), (1173, 96), (None, 107), (0, 107), ("?", 107)],
    ids=lambda value: str(value),
)
def test_the_total_tells_whether_thoughts_are_in_the_output(
    figures: Figures, total: Any, output: int
) -> None:
    """1,077 + 96 + 11 = 1,184: apart; 1,077 + 96 = 1,173: inside. Google's way where it doesn't tell."""
    usage = figures.google(prompt=1077, answer=96, cached=64, thoughts=11, total=total)

    assert (usage.input_tokens, usage.output_tokens, usage.reasoning_tokens) == (1077, output, 11)


def test_results_of_server_tools_stand_outside_the_prompt(figures: Figures) -> None:
    usage = figures.google(prompt=100, answer=10, tool=30, total=140)

    assert (usage.input_tokens, usage.total_tokens) == (130, 140)


@pytest.mark.parametrize(
    ("value", "dollars"),
    [(0.25, "0.25"), ("1.5", "1.5"), (0, "0"), (-1, None), ("x", None), (True, None), (float("inf"), None)],
    ids=lambda value: str(value),
)
def test_dollars(figures: Figures, value: Any, dollars: str | None) -> None:
    assert figures.dollars(value) == (Decimal(dollars) if dollars else None)


def failed(message: str) -> Reading:
    return Reading(
        source=Source.LOGS,
        reported=True,
        at=datetime(2026, 3, 2, tzinfo=UTC),
        key="x",
        origin="x:1",
        problem=Problem("invalid_request", message),
    )


def test_an_error_that_states_the_prompt_s_tokens_has_them() -> None:
    reading = with_error_figures(failed("prompt is too long: 213462 tokens > 200000 maximum"))

    assert reading.source is Source.API_ERROR
    assert reading.usage == Usage(input_tokens=213_462)
    assert reading.context_window == 200_000


@pytest.mark.parametrize("message", ["Prompt is too long", "overloaded", "Quota exceeded, limit: 250000"])
def test_an_error_without_figures_stays_as_it_is(message: str) -> None:
    assert with_error_figures(failed(message)) == failed(message)
