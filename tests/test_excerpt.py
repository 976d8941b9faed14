from __future__ import annotations

import base64

import pytest

from kimi_mitm.views import excerpt
from kimi_mitm.views.excerpt import Lightened, Unreadable


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("hello", ["user: hello"]),
        ("", ["user:"]),
        ("two\nlines", ["user: |", "  two", "  lines"]),
        ("a: b", ["user: |", "  a: b"]),
        ("{}", ["user: |", "  {}"]),
        ("- x", ["user: |", "  - x"]),
        ("x #y", ["user: |", "  x #y"]),
        ("ends with:", ["user: |", "  ends with:"]),
        ("é" * 91, ["user: |", "  " + "é" * 91]),
    ],
)
def test_an_entry_stands_on_its_line_if_it_is_short_and_plain(text: str, lines: list[str]) -> None:
    assert excerpt.block("user", text, 1000) == lines


def test_long_lines_are_cut_at_spaces_or_where_there_are_none() -> None:
    words = excerpt.block("user", "word " * 50, 1000)
    solid = excerpt.block("user", "x" * 250, 1000)

    assert "".join(line[2:] for line in words[1:]) == "word " * 50
    assert [len(line) for line in words[1:]] == [122, 122, 12]
    assert [len(line) for line in solid[1:]] == [122, 122, 12]


def test_a_long_text_keeps_its_ends_and_says_how_much_is_missing() -> None:
    cut = excerpt.clip("a" * 750 + "b" * 5000 + "c" * 250, 1000)

    assert cut == "a" * 750 + "\n… 5,000 characters left out …\n" + "c" * 250


def test_a_text_that_is_hardly_too_long_is_whole() -> None:
    assert excerpt.clip("a" * 1100, 1000) == "a" * 1100


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (83_140, "83.1 KB"), (4_900_000, "4.9 MB")]
)
def test_a_size_in_short(count: int, text: str) -> None:
    assert excerpt.size(count) == text


def test_a_value_is_lightened_wherever_its_texts_are() -> None:
    light = Lightened(100).lighten({"a": ["x y z t u " * 500, 1, None, True], "b": {"c": "short"}})

    assert light["b"] == {"c": "short"}
    assert light["a"][1:] == [1, None, True]
    assert "4,900 characters left out" in light["a"][0]


@pytest.mark.parametrize("start", ["", "data:image/png;base64,"])
def test_media_keep_their_beginning_and_their_size(start: str) -> None:
    data = base64.b64encode(bytes(range(256)) * 1000).decode()
    lightened = Lightened(100)

    light = lightened.lighten({"url": start + data})

    assert light["url"] == (start + data)[: len(start) + 48_000]
    assert lightened.media[0] == pytest.approx(256_000, abs=3)


def test_too_many_values_are_not_walked() -> None:
    with pytest.raises(Unreadable, match="too many values"):
        Lightened(100).lighten([0] * 50_000)
