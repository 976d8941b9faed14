"""Names by their figures."""

from __future__ import annotations

import pytest

from kimi_mitm.fusion.alike import Alike
from kimi_mitm.records import Usage

ONE = Usage(input_tokens=100, output_tokens=10)
OTHER = Usage(input_tokens=100, output_tokens=11)


def test_names_with_equal_figures_are_found() -> None:
    made = Alike()
    made.put("a", ONE)
    made.put("b", OTHER)
    made.put("c", ONE)

    assert list(made.of(ONE)) == ["a", "c"]


def test_half_a_pair_of_figures_is_like_nothing() -> None:
    made = Alike()
    made.put("a", Usage(input_tokens=100))

    assert list(made.of(Usage(input_tokens=100))) == []


def test_a_name_has_only_its_last_figures() -> None:
    made = Alike()
    made.put("a", ONE)
    made.put("a", OTHER)
    made.remove("unknown")

    assert list(made.of(ONE)) == []
    made.remove("a")
    assert list(made.of(OTHER)) == []


@pytest.mark.parametrize(
    ("figures", "names"),
    [
        ((100, 10), ["both", "input", "output"]),
        ((100, 11), ["input"]),
        ((100, None), ["both", "input"]),
        ((None, 10), ["both", "output"]),
        ((0, 0), ["none at all"]),
        ((None, None), []),
    ],
)
def test_names_agree_that_are_equal_as_far_as_both_are_known(
    figures: tuple[int | None, int | None], names: list[str]
) -> None:
    made = Alike()
    made.put("both", ONE)
    made.put("input", Usage(input_tokens=100))
    made.put("output", Usage(output_tokens=10))
    made.put("none at all", Usage(input_tokens=0, output_tokens=0))
    made.put("unknown", Usage())
    made.put("gone", ONE)
    made.remove("gone")

    assert sorted(made.agreeing(Usage(input_tokens=figures[0], output_tokens=figures[1]))) == names
