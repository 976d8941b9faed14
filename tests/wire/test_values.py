"""Reading JSON that anybody may have sent."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_mitm.wire.draft import Draft
from kimi_mitm.wire.format import WireError
from kimi_mitm.wire.values import body, count, digits, dump, first, get, items, text, total


@pytest.mark.parametrize(("value", "tokens"), [(0, 0), (7, 7), (28.0, 28), (10**9 - 1, 10**9 - 1)])
def test_a_count_is_a_whole_number(value: Any, tokens: int) -> None:
    assert count(value) == tokens
    assert type(count(value)) is int


@pytest.mark.parametrize(
    "value", [None, True, False, -1, 1.5, "7", 10**9, 10**400, float("inf"), float("nan"), [], {}]
)
def test_what_is_no_count_is_unknown(value: Any) -> None:
    assert count(value) is None


@pytest.mark.parametrize(
    ("value", "tokens"),
    [
        ("12", 12),
        (" 12 ", 12),
        ("0", 0),
        ("-1", None),
        ("1.0", None),
        ("٣", None),
        ("9" * 40, None),
        (None, None),
    ],
)
def test_a_header_counts_in_digits(value: Any, tokens: int | None) -> None:
    assert digits(value) == tokens


def test_a_path_leads_through_objects_and_arrays() -> None:
    doc = {"a": [{"b": 1}, {"b": 2}]}
    assert get(doc, "a", 1, "b") == get(doc, "a", -1, "b") == 2
    assert get(doc, "a", 2, "b") is get(doc, "a", "b") is get(doc, 0) is get(None, "a") is None
    assert get(doc) is doc


def test_the_first_name_that_is_not_null_counts() -> None:
    assert first({"a": None, "b": 0, "c": 1}, "a", "b", "c") == 0
    assert first([], "a") is None


def test_small_readers() -> None:
    assert (text(""), text(3), text("x")) == (None, None, "x")
    assert (items(None), items("ab"), items([1])) == ([], [], [1])
    assert (total(None, 2, 3), total(None), total()) == (5, None, None)
    assert dump({"a": [1]}) == '{"a":[1]}'


@pytest.mark.parametrize("data", [b"", b"3", b"[]", b"{", b"\x00" * 9, b'{"a":' * 100_000])
def test_a_body_that_is_no_object_is_the_wires_error(data: bytes) -> None:
    with pytest.raises(WireError):
        body(data)


@given(st.binary(max_size=50))
def test_arbitrary_bytes_are_a_body_or_the_wires_error(data: bytes) -> None:
    with contextlib.suppress(WireError):
        assert isinstance(body(data), dict)


def calls(*pieces: dict[str, Any]) -> list[tuple[str, str, str | None]]:
    draft = Draft(200, {})
    for piece in pieces:
        draft.call(piece.get("key"), piece.get("name"), piece.get("arguments"), piece.get("id"))
    return [(call.name, call.arguments, call.id) for call in draft.answer().tool_calls]


def test_pieces_of_a_call_are_joined_by_their_key() -> None:
    found = calls(
        {"key": 0, "name": "f", "id": "a"},
        {"key": 1, "name": "g"},
        {"key": 0, "arguments": '{"x"'},
        {"key": 1, "arguments": "{}"},
        {"key": 0, "arguments": ":1}"},
    )
    assert found == [("f", '{"x":1}', "a"), ("g", "{}", None)]


def test_without_a_key_a_name_begins_a_call_and_the_rest_belongs_to_the_last() -> None:
    found = calls({"name": "f", "arguments": {"x": 1}}, {"name": "g"}, {"arguments": "{"}, {"arguments": "}"})
    assert found == [("f", '{"x":1}', None), ("g", "{}", None)]


@pytest.mark.parametrize("key", [[], {}, 1.5, b"x"])
def test_any_key_is_survived(key: Any) -> None:
    assert calls({"key": key, "name": "f"}) == [("f", "", None)]


def test_of_a_figure_the_last_one_stated_stands() -> None:
    draft = Draft(200, {})
    each: Any
    for each in ({"a": 1, "b": 2}, {"a": 3, "b": None}, {"a": "x"}, [], None):
        draft.keep(each, "a", "b")
    assert draft.figures == {"a": 3, "b": 2}
