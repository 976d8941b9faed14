"""An edit taken back."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_mitm.launch.merge import Tangled, take_back

ORIGINAL = "a\nb\nc\nd\n"
WRITTEN = "a\nX\nb\nC\nd\n"


def test_an_untouched_file_is_as_it_was() -> None:
    assert take_back(ORIGINAL, WRITTEN, WRITTEN) == ORIGINAL


@pytest.mark.parametrize(
    ("now", "found"),
    [
        ("0\na\nX\nb\nC\nd\n9\n", "0\na\nb\nc\nd\n9\n"),
        ("a\nX\nb\nnew\nC\nd\n", "a\nb\nnew\nc\nd\n"),
        ("X\nC\n", "c\n"),
    ],
)
def test_later_edits_of_other_lines_stay(now: str, found: str) -> None:
    assert take_back(ORIGINAL, WRITTEN, now) == found


@pytest.mark.parametrize("now", ["a\nY\nb\nC\nd\n", "a\nb\nC\nd\n", ""])
def test_lines_that_were_edited_since_are_not_taken_back(now: str) -> None:
    with pytest.raises(Tangled):
        take_back(ORIGINAL, WRITTEN, now)


LINES = st.lists(st.sampled_from("abcd"), max_size=6).map(lambda lines: "".join(f"{x}\n" for x in lines))


@given(LINES, LINES)
def test_what_was_written_goes_back_to_the_original(original: str, written: str) -> None:
    assert take_back(original, written, written) == original


@given(LINES, LINES, LINES)
def test_any_text_gives_a_text_or_a_refusal(original: str, written: str, now: str) -> None:
    with contextlib.suppress(Tangled):
        take_back(original, written, now)
