"""Names by their figures."""

from __future__ import annotations

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
