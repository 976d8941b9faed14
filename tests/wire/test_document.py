from __future__ import annotations

import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_mitm.wire.document import decode, mend, tidy
from kimi_mitm.wire.format import WireError


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{"a": 1}', {"a": 1}),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b'{"a": "x\xffy"}', {"a": "x�y"}),
        (b'{"a": "x\ny"}', {"a": "x\ny"}),
        (b'{"a": NaN, "b": -Infinity}', {"a": None, "b": None}),
        (b'{"a": "\\ud83d", "\\udc00": 1}', {"a": "?", "?": 1}),
        (b'{"a": "\\ud83d\\ude00"}', {"a": "😀"}),
    ],
)
def test_what_is_nearly_json_is_read(data: bytes, expected: Any) -> None:
    assert decode(data) == expected


@pytest.mark.parametrize("data", [b"", b"x", b"{", b'{"a": 1} x', b"[" * 100_000, b'{"a":' * 100_000])
def test_what_is_no_json_is_a_wire_error(data: bytes) -> None:
    with pytest.raises(WireError):
        decode(data)


def test_an_absurd_number_is_survived() -> None:
    assert decode(b'{"a": ' + b"9" * 6000 + b', "b": 1}')["b"] == 1


@given(st.binary(max_size=100) | st.text(max_size=50).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_a_value_or_a_wire_error(data: bytes) -> None:
    with contextlib.suppress(WireError):
        decode(data)


@pytest.mark.parametrize(
    ("data", "mended"),
    [
        (b'{"a": 1, "b": [1, {"c": "x, y', b'{"a": 1, "b": [1, {}]}'),
        (b'{"a": 1, "b": 12', b'{"a": 1}'),
        (b'{"a": {"b": 1}', b'{"a": {"b": 1}}'),
        (b'{"a": "x\\', b"{}"),
        (b'{"a": 1} trailing', b'{"a": 1}'),
        (b'[{"a": 1}, {"b": 2', b'[{"a": 1}, {}]'),
        (b"x", None),
        (b"", None),
        (b'"x', None),
        (b"]", None),
    ],
)
def test_a_cut_document_is_closed_after_its_last_whole_member(data: bytes, mended: bytes | None) -> None:
    found = mend(data)
    assert (found and found.data) == mended


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=6),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=8,
    ),
    st.integers(1, 100),
)
def test_what_is_mended_is_json(value: Any, cut: int) -> None:
    mended = mend(msgspec.json.encode([value])[:cut])
    assert mended is not None
    assert isinstance(decode(mended.data), list)


@pytest.mark.parametrize(
    ("data", "read"),
    [
        (b'// said once\n{"a": 1}', {"a": 1}),
        (b'{ /* x */ "a": "/* y */ // z", // w\n "b": 2}', {"a": "/* y */ // z", "b": 2}),
        (b'{"a": [1, 2, ], }', {"a": [1, 2]}),
        (b'{"a": ",}"}, ', None),
        (b'{"deep": ' + b"[" * 100_000 + b"]" * 100_000 + b', "a": 1}', 1),
        (b"[" * 100_000, None),
        (b'{"a": 1', None),
        (b"x", None),
        (b"", None),
    ],
)
def test_what_people_write_by_hand_or_nest_too_deep_is_tidied(data: bytes, read: Any) -> None:
    tidied = tidy(data)
    known = None if tidied is None else decode(tidied)
    assert known == read or known["a"] == read


@pytest.mark.parametrize("piece", [b"/*", b'\\"', b",", b"//", b"[", b'{"a":', b"}"])
def test_tidying_takes_time_in_proportion(piece: bytes) -> None:
    assert tidy(b'"' + piece * 200_000) is None
    assert tidy(piece * 200_000) is None


@given(st.binary(max_size=100) | st.text(alphabet='{}[]",:/*\\n 1', max_size=60).map(str.encode))
def test_any_bytes_are_tidied_or_not(data: bytes) -> None:
    tidied = tidy(data)
    if tidied is not None:
        decode(tidied)
