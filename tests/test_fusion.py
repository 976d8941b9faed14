"""Fusion: each rule, each boundary, and that the order of arrival makes no difference."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_mitm.fusion.rules import Fused, is_hybrid, settle
from kimi_mitm.records import Reading, Source, Usage

T0 = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


def reading(source: Source, tokens: int | None = None, *, at: float = 0, **more: Any) -> Reading:
    usage = more.pop("usage", Usage(input_tokens=tokens))
    reported = more.pop("reported", source is Source.USAGE)
    key = more.pop("key", f"{source}:{at}:{tokens}")
    moment = T0 + timedelta(seconds=at)
    return Reading(source=source, reported=reported, at=moment, key=key, origin=key, usage=usage, **more)


USAGE, CHAT, ERROR, PROXY, LOGS = (
    Source.USAGE,
    Source.COMPILE_CHAT,
    Source.API_ERROR,
    Source.PROXY,
    Source.LOGS,
)


def fused(*readings: Reading, at: float = 0, **more: Any) -> Fused:
    return settle(readings, now=T0 + timedelta(seconds=at), **more)


def test_nothing_known_is_no_figure() -> None:
    got = settle([])

    assert (got.rule, got.winner, bool(got.usage), got.is_estimated) == (None, None, False, True)


def test_the_wires_usage_settles_it_however_old() -> None:
    got = fused(reading(USAGE, 900, at=-60), reading(CHAT, 5000), reading(PROXY, 1000))

    assert (got.rule, got.source, got.usage.input_tokens) == (1, USAGE, 900)
    assert not got.is_estimated
    assert not got.stale


def test_a_log_joined_by_id_stands_in_for_a_wire_without_usage() -> None:
    log = reading(LOGS, 900, at=-60, reported=True, joined_by="id")

    got = fused(log, reading(PROXY, 1000))

    assert (got.rule, got.source, got.via, got.usage.input_tokens) == (2, USAGE, "logs", 900)
    assert not got.is_estimated


@pytest.mark.parametrize("more", [{"reported": True, "joined_by": "time"}, {"joined_by": "id"}])
def test_a_log_joined_by_time_or_of_estimates_does_not(more: dict[str, Any]) -> None:
    got = fused(reading(LOGS, 5000, **more), reading(PROXY, 1000))

    assert (got.rule, got.source, got.usage.input_tokens) == (3, PROXY, 1000)


def test_a_log_that_lacks_the_cached_tokens_settles_the_output_only() -> None:
    usage = Usage(input_tokens=900, output_tokens=70)
    log = reading(LOGS, usage=usage, reported=True, joined_by="id", lower_bound=True)

    got = fused(log, reading(PROXY, 1000))

    assert (got.source, got.usage.input_tokens) == (PROXY, 1000)
    assert (got.figures["output_tokens"].rule, got.usage.output_tokens) == (2, 70)


@pytest.mark.parametrize(
    ("sources", "winner"),
    [
        ((CHAT, ERROR, PROXY, LOGS), CHAT),
        ((ERROR, PROXY, LOGS), ERROR),
        ((PROXY, LOGS), PROXY),
        ((LOGS,), LOGS),
    ],
)
def test_the_highest_priority_wins_within_the_window(sources: tuple[Source, ...], winner: Source) -> None:
    got = fused(*[reading(s, 1000 * (i + 1), at=-float(i)) for i, s in enumerate(sources)])

    assert (got.rule, got.source) == (3, winner)


def test_of_equal_priority_the_newer_wins() -> None:
    got = fused(reading(PROXY, 1, at=-2), reading(PROXY, 2, at=-1), reading(PROXY, 3, at=-3))

    assert got.usage.input_tokens == 2


@pytest.mark.parametrize(("age", "source"), [(5.0, CHAT), (5.000001, PROXY)])
def test_exactly_five_seconds_is_still_fresh(age: float, source: Source) -> None:
    assert fused(reading(CHAT, 5000, at=-age), reading(PROXY, 1000)).source is source


def test_the_window_can_be_set() -> None:
    assert fused(reading(CHAT, 5000, at=-9), reading(PROXY, 1000), window_s=9).source is CHAT


def test_with_none_fresh_the_last_known_is_marked_stale() -> None:
    got = fused(reading(CHAT, 5000, at=-20), reading(LOGS, 1000, at=-10))

    assert (got.rule, got.source, got.usage.input_tokens, got.stale) == (5, LOGS, 1000, True)


def test_a_reading_from_the_future_is_fresh() -> None:
    assert fused(reading(LOGS, 7, at=3)).rule == 3


@pytest.mark.parametrize(
    ("proxy", "logs", "hybrid"),
    [
        (1000, 1100, False),  # exactly 100 tokens
        (1000, 1101, True),
        (1101, 1000, True),
        (900, 1100, False),  # exactly 20 % of the mean: 200 of 1000
        (901, 1100, True),
        (9000, 11000, False),
        (9001, 11000, True),
        (1000, 1000, False),
        (0, 0, False),
    ],
)
def test_hybrid_boundaries(proxy: int, logs: int, hybrid: bool) -> None:
    got = fused(reading(PROXY, proxy), reading(LOGS, logs))

    assert is_hybrid(proxy, logs) is hybrid
    assert got.source is (Source.HYBRID if hybrid else PROXY)
    assert got.rule == (4 if hybrid else 3)
    assert got.usage.input_tokens == (max(proxy, logs) if hybrid else proxy)
    assert got.is_estimated


def test_no_hybrid_with_a_stale_log() -> None:
    assert fused(reading(PROXY, 1000), reading(LOGS, 1101, at=-5.1)).source is PROXY


def test_no_hybrid_above_a_higher_priority() -> None:
    assert fused(reading(PROXY, 1000), reading(LOGS, 1101), reading(ERROR, 4)).source is ERROR


@pytest.mark.parametrize(
    ("floor", "other", "source", "tokens"),
    [
        (30_000, reading(PROXY, 20_000), CHAT, 30_000),
        (10_000, reading(PROXY, 20_000), PROXY, 20_000),
        (10_000, reading(ERROR, 20_000, reported=True), ERROR, 20_000),
        (30_000, reading(USAGE, 20_000), USAGE, 20_000),
    ],
)
def test_a_lower_bound_is_only_a_floor(floor: int, other: Reading, source: Source, tokens: int) -> None:
    got = fused(reading(CHAT, floor, lower_bound=True), other)

    assert (got.source, got.usage.input_tokens) == (source, tokens)
    assert got.lower_bound is (source is CHAT)


def test_a_floor_alone_says_that_it_is_one() -> None:
    got = fused(reading(CHAT, 11_330, lower_bound=True, context_window=32_768))

    assert (got.rule, got.source, got.lower_bound, got.about.context_window) == (3, CHAT, True, 32_768)


def test_a_floor_of_a_lower_priority_does_not_win() -> None:
    got = fused(reading(ERROR, 500, lower_bound=True), reading(CHAT, 100))

    assert got.source is CHAT


def test_fields_are_settled_one_by_one() -> None:
    wire = reading(USAGE, usage=Usage(input_tokens=900))
    log = reading(
        LOGS,
        usage=Usage(input_tokens=890, output_tokens=70, cost_usd=Decimal("0.01")),
        reported=True,
        joined_by="id",
    )

    got = fused(wire, log)

    assert got.usage == Usage(input_tokens=900, output_tokens=70, total_tokens=970, cost_usd=Decimal("0.01"))
    assert got.figures["output_tokens"].rule == 2
    assert got.source is USAGE
    assert got.via is None


@pytest.mark.parametrize(("cached", "kept"), [(400, 400), (0, None), (901, None)])
def test_a_logs_part_must_fit_into_the_wires_whole(cached: int, kept: int | None) -> None:
    log = reading(LOGS, usage=Usage(cache_read_tokens=cached), reported=True, joined_by="id")

    assert fused(reading(USAGE, 900), log).usage.cache_read_tokens == kept


_TOLD: dict[str, Any] = {
    "input_tokens": 1250,
    "output_tokens": 90,
    "cache_read_tokens": 700,
    "reasoning_tokens": 40,
    "cost_usd": Decimal("0.02"),
}


@pytest.mark.parametrize("how", [{"reported": True, "joined_by": "time"}, {"joined_by": "id"}, {}])
@pytest.mark.parametrize("output", [30, None])
def test_no_part_of_a_logs_figures_is_put_into_the_proxys_estimate(
    how: dict[str, Any], output: int | None
) -> None:
    """Cached tokens of the one in a prompt of the other would be a figure that nobody gave."""
    guess = reading(PROXY, usage=Usage(input_tokens=7000, output_tokens=output))

    got = fused(guess, reading(LOGS, usage=Usage(**_TOLD), **how)).usage

    assert (got.input_tokens, got.cache_read_tokens, got.cost_usd) == (7000, None, None)
    assert (got.output_tokens, got.reasoning_tokens) == ((30, None) if output else (90, 40))


def test_a_hybrid_that_takes_the_logs_figure_takes_its_parts_too() -> None:
    log = reading(LOGS, usage=Usage(**_TOLD), reported=True, joined_by="time")

    larger, smaller = (fused(reading(PROXY, proxy), log).usage for proxy in (1100, 1390))

    assert (larger.input_tokens, larger.cache_read_tokens, larger.cost_usd) == (1250, 700, Decimal("0.02"))
    assert (smaller.input_tokens, smaller.cache_read_tokens, smaller.cost_usd) == (1390, None, None)


@pytest.mark.parametrize(("whole", "kept"), [(1250, 700), (1251, None)])
def test_a_part_of_a_log_tied_by_time_needs_the_wires_whole(whole: int, kept: int | None) -> None:
    log = reading(LOGS, usage=Usage(**_TOLD), reported=True, joined_by="time")

    assert fused(reading(USAGE, whole), log).usage.cache_read_tokens == kept


def test_zero_stays_zero_where_one_reading_gave_both() -> None:
    log = reading(LOGS, usage=Usage(input_tokens=5, cache_read_tokens=0), reported=True)

    assert fused(log).usage.cache_read_tokens == 0


def test_a_total_alone_is_kept() -> None:
    got = fused(reading(USAGE, usage=Usage(total_tokens=12)))

    assert (got.usage, got.rule) == (Usage(total_tokens=12), 1)


def test_a_later_reading_of_one_key_replaces_the_earlier() -> None:
    got = fused(reading(LOGS, 1, at=-1, key="k"), reading(LOGS, 2, key="k"))

    assert got.usage.input_tokens == 2
    assert len(got.candidates) == 1


def test_every_candidate_is_shown_with_its_age() -> None:
    got = fused(reading(PROXY, 1, at=-2), reading(LOGS, 2, at=-7))

    assert [(c.reading.source, c.age_s, c.fresh, c.priority) for c in got.candidates] == [
        (PROXY, 2.0, True, 2),
        (LOGS, 7.0, False, 1),
    ]


def test_without_a_time_the_newest_reading_is_the_reference() -> None:
    got = settle([reading(PROXY, 1, at=0), reading(LOGS, 2, at=5)])

    assert got.source is PROXY


def test_what_only_logs_know_is_kept_beside_the_wires_figures() -> None:
    log = reading(LOGS, 5, title="Fix the build", folder="/w", branch="main", subagent="explore", side=False)

    about = fused(reading(USAGE, 900, client="codex"), log).about

    assert (about.title, about.folder, about.branch, about.subagent) == (
        "Fix the build",
        "/w",
        "main",
        "explore",
    )
    assert (about.client, about.side) == ("codex", False)


_figure = st.none() | st.integers(0, 3000)
_readings = st.lists(
    st.builds(
        lambda source, tokens, out, at, flag, floor, by, key: reading(
            source,
            usage=Usage(input_tokens=tokens, output_tokens=out),
            at=at / 2,
            reported=flag,
            lower_bound=floor,
            joined_by=by,
            key=key,
        ),
        st.sampled_from([USAGE, CHAT, ERROR, PROXY, LOGS]),
        _figure,
        _figure,
        st.integers(-20, 2),
        st.booleans(),
        st.booleans(),
        st.sampled_from(["id", "time", None]),
        st.sampled_from("abcdefgh"),
    ),
    max_size=7,
)


@given(_readings, st.randoms())
def test_the_order_of_arrival_makes_no_difference(readings: list[Reading], random: Any) -> None:
    shuffled = list(readings)
    random.shuffle(shuffled)

    assert settle(readings, now=T0) == settle(shuffled, now=T0)


@given(_readings)
def test_every_figure_is_one_that_a_reading_gave(readings: list[Reading]) -> None:
    got = settle(readings, now=T0)

    for name, found in got.figures.items():
        assert found.value in {getattr(r.usage, name) for r in readings}
    assert (got.usage.input_tokens is None) == all(
        c.reading.usage.input_tokens is None for c in got.candidates
    )
