"""What is shown of how far estimates were off."""

from __future__ import annotations

import pytest

from kimi_mitm import accuracy


@pytest.mark.parametrize(
    ("count", "place"), [(1, 1), (3, 3), (9, 9), (10, 9), (11, 10), (20, 18), (40, 36), (200, 180)]
)
def test_nine_in_ten_do_not_exceed_the_90th_percentile(count: int, place: int) -> None:
    """It is the smallest error of which that is true."""
    errors = [float(n) for n in range(count, 0, -1)]

    assert accuracy.p90(errors) == place


def test_the_median_of_an_even_number_lies_between_two() -> None:
    """As everybody has it."""
    assert accuracy.median([4.0, 1.0, 2.0, 3.0]) == 2.5


def test_nothing_judged_is_unknown() -> None:
    """Not zero."""
    assert accuracy.median([]) is None
    assert accuracy.p90([]) is None
