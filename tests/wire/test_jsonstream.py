from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_mitm.wire.jsonstream import Documents

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.lists(st.dictionaries(st.text(max_size=5), VALUES, max_size=4), max_size=5)


def documents(data: bytes, piece: int | None = None) -> list[bytes]:
    splitter = Documents()
    size = piece or max(len(data), 1)
    return [
        found for start in range(0, len(data), size) for found in splitter.feed(data[start : start + size])
    ]


@pytest.mark.parametrize("separator", ["\n", "", ", ", "\r\n\r\n", "  "])
@given(OBJECTS, st.integers(1, 20), st.sampled_from([None, 2]))
def test_objects_in_a_row_are_told_apart(
    separator: str, objects: list[dict[str, Any]], piece: int, indent: int | None
) -> None:
    data = separator.join(json.dumps(each, indent=indent) for each in objects).encode()
    assert [json.loads(found) for found in documents(data, piece)] == objects


@given(OBJECTS, st.integers(1, 20), st.booleans(), st.sampled_from([None, 2]))
def test_an_arrays_elements_are_documents(
    objects: list[dict[str, Any]], piece: int, escape: bool, indent: int | None
) -> None:
    data = json.dumps(objects, ensure_ascii=escape, indent=indent).encode("utf-8", "surrogatepass")
    assert [json.loads(found.decode("utf-8", "surrogatepass")) for found in documents(data, piece)] == objects


def test_an_element_is_there_with_its_last_byte() -> None:
    splitter = Documents()
    assert splitter.feed(b'[{"a": "}"') == []
    assert splitter.feed(b"}") == [b'{"a": "}"}']
    assert splitter.feed(b',\r\n{"b":1}]') == [b'{"b":1}']
    assert splitter.array


def test_a_quote_behind_a_backslash_ends_no_string() -> None:
    text = json.dumps({"a": '\\"}{', "b": "\\"})
    for piece in (1, 2, 3):
        assert documents(text.encode(), piece) == [text.encode()]


def test_what_never_ended_is_left() -> None:
    splitter = Documents()
    splitter.feed(b'{"a":1}{"b":')
    assert splitter.rest() == b'{"b":'


def test_a_large_document_in_pieces_takes_linear_time() -> None:
    data = json.dumps({"a": 'x\\"' * 700_000, "b": [{"c": 1}] * 50_000}).encode()
    started = time.process_time()
    assert documents(data, 4096) == [data]
    assert time.process_time() - started < 3


@given(st.binary(max_size=300), st.integers(1, 50))
def test_any_bytes_give_the_same_documents_however_they_are_cut(data: bytes, piece: int) -> None:
    assert documents(data, piece) == documents(data)


@given(st.lists(st.sampled_from(list('{}[]",\\ a1\n'))).map("".join), st.integers(1, 5))
def test_any_brackets_give_the_same_documents_however_they_are_cut(text: str, piece: int) -> None:
    assert documents(text.encode(), piece) == documents(text.encode())
