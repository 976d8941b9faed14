"""What holds for every reader: however a file is cut, read again or filled with rubbish."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kimi_mitm.logs import SOURCES
from kimi_mitm.logs.find import Finder
from kimi_mitm.logs.history import read_whole
from kimi_mitm.logs.jsonl import Lines
from kimi_mitm.logs.source import File, LogSource, State, Tally
from kimi_mitm.records import Reading
from tests.shared import CLIENT_LOGS, LOGS

MODIFIED = datetime(2026, 11, 20, 12, tzinfo=UTC)
LINE_SOURCES = [source for source in SOURCES if source.lines]
DOCUMENT_SOURCES = [source for source in SOURCES if source.document]


@cache
def found() -> tuple[Any, ...]:
    """Every log there is to test with: its source, and its path."""
    return tuple(_found())


def _found() -> Iterator[Any]:
    for root in (CLIENT_LOGS, LOGS):
        for folder in sorted(root.iterdir()) if root else []:
            for source in SOURCES:
                for file in Finder(source, folder, {}, "linux").files():
                    name = f"{folder.name}-{source.name}-{Path(file.path).name}"
                    yield pytest.param(source, file, id=name)


def line_files() -> list[Any]:
    return [param for param in found() if param.values[0].lines]


def about(path: str, tally: Tally | None = None) -> File:
    def beside(name: str) -> bytes | None:
        file = Path(path).parent / name
        return file.read_bytes() if file.is_file() else None

    return File(path=path, modified=MODIFIED, tally=tally or Tally(), beside=beside)


def start(source: LogSource, path: str, state: State, offset: int = 0, number: int = 0) -> Lines:
    assert source.lines
    return Lines(source.lines(about(path), state), Tally(), offset, number)


def last_by_key(readings: list[Reading]) -> dict[str, Reading]:
    return {reading.key: reading for reading in readings}


@pytest.mark.parametrize(("source", "file"), line_files())
def test_a_prefix_and_the_rest_are_the_whole(source: LogSource, file: Any) -> None:
    """Also when the reader in between was made anew from its saved state, at any byte."""
    data = Path(file.path).read_bytes()
    whole = last_by_key(list(start(source, file.path, {}).feed(data)))
    ends = [at for at, byte in enumerate(data) if byte == 10]
    cuts = {0, 1, len(data) // 2, len(data) - 1, len(data), *ends, *(at + 1 for at in ends)}
    cuts |= set(range(0, len(data), max(1, len(data) // 40)))

    for cut in sorted(cuts):
        first = start(source, file.path, {})
        readings = list(first.feed(data[:cut]))
        state = msgspec.json.decode(msgspec.json.encode(dict(first.reader.state())))
        second = start(source, file.path, state, first.offset, first.number)
        readings += second.feed(data[first.offset :])
        assert last_by_key(readings) == whole


@pytest.mark.parametrize(("source", "file"), line_files())
def test_bytes_may_come_one_by_one(source: LogSource, file: Any) -> None:
    data = Path(file.path).read_bytes()[:200_000]
    whole = list(start(source, file.path, {}).feed(data))

    lines = start(source, file.path, {})
    pieces = [reading for at in range(len(data)) for reading in lines.feed(data[at : at + 1])]

    assert pieces == whole


@pytest.mark.parametrize(("source", "file"), found())
def test_reading_again_changes_nothing(source: LogSource, file: Any) -> None:
    """The same keys, and under each the same reading."""
    once = list(read_whole(source, file, None, Tally()))
    twice = list(read_whole(source, file, None, Tally()))

    assert twice == once
    assert last_by_key(once + twice) == last_by_key(once)


@pytest.mark.parametrize(("source", "file"), found())
def test_readings_say_where_they_are_from(source: LogSource, file: Any) -> None:
    for reading in read_whole(source, file, None, Tally()):
        assert reading.origin.startswith(file.path)
        assert reading.client == source.client
        assert reading.log == source.name
        assert reading.key.startswith((f"{source.client}:", f"{source.name}:"))
        assert reading.at.tzinfo is UTC


def with_values(doc: Any, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """The document with one value, anywhere in it, replaced."""
    if isinstance(doc, dict) and doc:
        return st.sampled_from(sorted(doc)).flatmap(
            lambda key: st.one_of(values, with_values(doc[key], values)).map(lambda new: doc | {key: new})
        )
    if isinstance(doc, list) and doc:
        return with_values(doc[0], values).map(lambda new: [new, *doc[1:]])
    return values


RUBBISH = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(),
    st.text(max_size=8),
    st.just([]),
    st.just({}),
    st.just([None, {"type": 1}]),
    st.just({"a": "b", "type": ["x"]}),
)


def documents(source: LogSource) -> list[Any]:
    """Documents of this source that gave a reading, as the strategies' starting points."""
    docs: list[Any] = []
    for param in found():
        owner, file = param.values
        if owner is source and not source.database:
            data = Path(file.path).read_bytes()
            for part in data.splitlines() if source.lines else [data]:
                try:
                    docs.append(msgspec.json.decode(part))
                except msgspec.DecodeError:
                    continue
    return docs[:200]


@pytest.mark.parametrize("source", LINE_SOURCES, ids=lambda source: source.name)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_rubbish_in_lines_raises_nothing(source: LogSource, data: st.DataObject) -> None:
    """A value of any type in the place of any other, and bytes that are nothing at all."""
    assert source.lines
    known = documents(source)
    doc = st.sampled_from(known).flatmap(lambda doc: with_values(doc, RUBBISH)) if known else RUBBISH
    line = st.one_of(st.binary(max_size=64), doc.map(lambda value: msgspec.json.encode(_finite(value))))
    reader = source.lines(about("/home/x/sessions/a/b.jsonl"), {})

    for number, one in enumerate(data.draw(st.lists(line, max_size=6)), 1):
        for reading in reader.feed(one.replace(b"\n", b" "), number):
            check(reading)
    source.lines(about("/b.jsonl"), msgspec.json.decode(msgspec.json.encode(dict(reader.state()))))


@pytest.mark.parametrize("source", LINE_SOURCES, ids=lambda source: source.name)
@settings(max_examples=30, deadline=None)
@given(state=st.dictionaries(st.text(max_size=9), RUBBISH, max_size=4))
def test_rubbish_in_a_saved_state_raises_nothing(source: LogSource, state: dict[str, Any]) -> None:
    assert source.lines
    names = source.lines(about("/b.jsonl"), {}).state()
    mixed = dict(zip(names, state.values(), strict=False))

    reader = source.lines(about("/b.jsonl"), mixed)

    list(reader.feed(b'{"type": "assistant"}', 1))


@pytest.mark.parametrize("source", DOCUMENT_SOURCES, ids=lambda source: source.name)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_rubbish_in_documents_raises_nothing(source: LogSource, data: st.DataObject) -> None:
    assert source.document
    known = documents(source)
    doc = st.sampled_from(known).flatmap(lambda doc: with_values(doc, RUBBISH)) if known else RUBBISH
    body = data.draw(
        st.one_of(st.binary(max_size=64), doc.map(lambda value: msgspec.json.encode(_finite(value))))
    )

    for reading in source.document(body, about("/home/x/a/b.json")):
        check(reading)


def _finite(value: Any) -> Any:
    """JSON has no NaN; whole numbers beyond 64 bits are spelt as floats by this encoder's limits."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**64:
        return float(value)
    return value


def check(reading: Reading) -> None:
    usage = replace(reading.usage, cost_usd=None)
    for name in (
        "input_tokens",
        "output_tokens",
        "cache_read_tokens",
        "cache_write_tokens",
        "reasoning_tokens",
    ):
        value = getattr(usage, name)
        assert value is None or (type(value) is int and 0 <= value <= 300_000_000)
    for name in ("model", "client_session_id", "folder", "branch", "title", "subagent", "finish_reason"):
        assert isinstance(getattr(reading, name), str | None)
    assert all(isinstance(one, str) for one in reading.ids)
