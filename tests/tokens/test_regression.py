"""Weights are learned from few rows, and outliers don't move them."""

from __future__ import annotations

import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kimi_mitm.tokens.regression import Normal, Row, dot, fit, spreads

PRIOR = {
    "const": Normal(4, 10),
    "text": Normal(1, 0.1),
    "any_tools": Normal(80, 200),
    "tools": Normal(1, 0.4),
}


def rows(count: int, *, const: float = 7, text: float = 1.1, tools: float = 340, seed: int = 1) -> list[Row]:
    """Prompts of a provider that counts by these weights."""
    chance = random.Random(seed)
    found = []
    for place in range(count):
        x = {"const": 1.0, "text": float(chance.randrange(5, 400))}
        if place % 2:
            x |= {"any_tools": 1.0, "tools": float(chance.randrange(30, 200))}
        truth = {"const": const, "text": text, "any_tools": tools, "tools": 1.2}
        found.append(Row(x, round(dot(truth, x))))
    return found


def test_without_rows_there_is_nothing_to_fit() -> None:
    """The prior stands then."""
    assert fit([], PRIOR) == {}


def test_a_few_rows_tell_the_weights() -> None:
    """A hidden preamble of hundreds of tokens is found."""
    weights = fit(rows(12), PRIOR)

    assert weights["text"] == pytest.approx(1.1, abs=0.01)
    assert weights["any_tools"] == pytest.approx(340, abs=8)


def test_one_row_explains_itself() -> None:
    """Even far from what was believed."""
    (row,) = rows(2)[1:]

    assert dot(fit([row], PRIOR), row.x) == pytest.approx(row.y, abs=3)


@pytest.mark.parametrize("tokens", [1, 18_000, 10**9])
def test_an_outlier_moves_nothing(tokens: int) -> None:
    """One answer from another context among ten ordinary ones."""
    odd = Row({"const": 1.0, "text": 30.0}, tokens)
    ordinary = rows(10)

    weights = fit([*ordinary[:5], odd, *ordinary[5:]], PRIOR)

    assert dot(weights, {"const": 1.0, "text": 100.0}) == pytest.approx(117, abs=3)


def test_a_start_gives_the_same_weights() -> None:
    """Going on from the last weights is only quicker."""
    found = rows(30)
    earlier = fit(found[:-1], PRIOR)

    quick, slow = fit(found, PRIOR, start=earlier), fit(found, PRIOR)

    for row in found:
        assert dot(quick, row.x) == pytest.approx(dot(slow, row.x), abs=1.5)


def test_spreads_shrink_with_rows() -> None:
    """More rows, more confidence."""
    few, many = rows(4), rows(60)

    narrow = spreads(many, PRIOR, fit(many, PRIOR))
    wide = spreads(few, PRIOR, fit(few, PRIOR))

    assert all(narrow[name] <= wide[name] <= PRIOR[name].sd for name in PRIOR)


VALUES = st.floats(0, 1e7, allow_nan=False)


@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.sampled_from([*PRIOR, "unknown"]), VALUES, max_size=5), st.floats(1, 1e8)
        ),
        max_size=12,
    )
)
@example([({"tools": 2700780.0, "const": 9721982.0, "any_tools": 9989782.0}, 1.0)])
@settings(deadline=None)
def test_any_rows_can_be_fitted(pairs: list[tuple[dict[str, float], float]]) -> None:
    """No figures break the arithmetic."""
    weights = fit([Row(x, y) for x, y in pairs], PRIOR)

    assert all(abs(weight) < 1e30 for weight in weights.values())
