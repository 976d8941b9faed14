"""Exchanges in the database: what goes in comes out, page by page or as a stream."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import insert
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncEngine

from kimi_mitm.records import Composition, EstimateKind, Exchange, Operation, Problem, Source
from kimi_mitm.store import exchanges as rows
from kimi_mitm.store import tables
from kimi_mitm.store.database import connect
from kimi_mitm.store.dialect import upsert
from kimi_mitm.store.exchanges import BadCursor, Wanted
from kimi_mitm.store.rows import row_of

START = datetime(2026, 3, 1, 12, 0, 0, 250000, tzinfo=UTC)


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    engine = await connect(str(tmp_path / "kimi.db"))
    yield engine
    await engine.dispose()


def one(name: str, second: float = 0, **more: Any) -> Exchange:
    return Exchange(id=name, started_at=START + timedelta(seconds=second), **more)


async def save(engine: AsyncEngine, *records: Exchange) -> None:
    async with engine.begin() as connection:
        await rows.save(connection, records)


async def pages(engine: AsyncEngine, wanted: Wanted) -> list[list[str]]:
    found, after = [], wanted.after
    while True:
        page, after = await rows.page(engine, _after(wanted, after))
        found.append([e.id for e in page])
        if after is None:
            return found


def _after(wanted: Wanted, after: str | None) -> Wanted:
    return Wanted(newest_first=wanted.newest_first, limit=wanted.limit, after=after)


async def test_every_field_comes_back_as_it_went_in(engine: AsyncEngine) -> None:
    record = one(
        "a",
        first_token_at=START + timedelta(microseconds=1),
        ended_at=START + timedelta(seconds=2),
        ttft_ms=0.001,
        session_id="s",
        side=True,
        status=200,
        stream=False,
        operation=Operation.EMBEDDINGS,
        estimate_kind=EstimateKind.CALIBRATED,
        input_tokens=0,
        is_estimated=False,
        source=Source.API_ERROR,
        is_noise=False,
        composition=Composition(system=3, media=4),
        cost_usd=Decimal("0.0000001230"),
        error=Problem("odd", 'quote " and \u2028 and \x00 and 🙂'),
        notes={"title": "t", "n": 1, "yes": True, "none": None},
    )
    await save(engine, record)

    assert await rows.get(engine, "a") == record


async def test_unknown_stays_unknown(engine: AsyncEngine) -> None:
    await save(engine, one("a"))

    assert await rows.get(engine, "a") == one("a")
    assert await rows.get(engine, "b") is None


async def test_a_record_is_written_over_the_one_with_its_id_and_keeps_its_place(engine: AsyncEngine) -> None:
    await save(engine, one("a"), one("b"))
    await save(engine, one("a", input_tokens=5))

    found = [e async for e in rows.stream(engine, Wanted())]
    assert [(e.id, e.input_tokens) for e in found] == [("a", 5), ("b", None)]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("newest_first", [False, True])
async def test_pages_give_every_record_once_even_where_many_started_at_once(
    engine: AsyncEngine, limit: int, newest_first: bool
) -> None:
    records = [one(str(i), second=i // 5) for i in range(23)]
    random.Random(1).shuffle(records)
    await save(engine, *records)

    found = await pages(engine, Wanted(limit=limit, newest_first=newest_first))

    flat = [name for page in found for name in page]
    assert sorted(flat, key=int) == [str(i) for i in range(23)]
    started = [int(name) // 5 for name in flat]
    assert started == sorted(started, reverse=newest_first)
    assert all(len(page) == limit for page in found[:-1])


@pytest.mark.parametrize("newest_first", [False, True])
async def test_what_comes_between_two_pages_neither_repeats_nor_hides_anything(
    engine: AsyncEngine, newest_first: bool
) -> None:
    await save(engine, *(one(f"old{i}", second=i) for i in range(10)))
    wanted = Wanted(limit=4, newest_first=newest_first)
    first, after = await rows.page(engine, wanted)
    await save(engine, one("new", second=50), one("late", second=-50), one("old3", second=3, input_tokens=1))

    rest = await pages(engine, Wanted(limit=4, newest_first=newest_first, after=after))

    seen = [e.id for e in first] + [name for page in rest for name in page]
    assert len(seen) == len(set(seen))
    assert {f"old{i}" for i in range(10)} <= set(seen)
    assert ("new" in seen, "late" in seen) == (not newest_first, newest_first)


@pytest.mark.parametrize("cursor", ["", "x", "ÿ", "====", "MjAyNg", "MjAyNiBh", "a" * 10_000, "\x00"])
async def test_a_cursor_of_nobodys_is_refused(engine: AsyncEngine, cursor: str) -> None:
    with pytest.raises(BadCursor):
        await rows.page(engine, Wanted(after=cursor))


async def test_filters_by_session_provider_and_start(engine: AsyncEngine) -> None:
    await save(
        engine,
        one("a", session_id="s", provider="openai"),
        one("b", second=1, session_id="s", provider="google"),
        one("c", second=2, session_id="t", provider="openai"),
    )

    async def ids(**wanted: Any) -> list[str]:
        return [e.id async for e in rows.stream(engine, Wanted(**wanted))]

    assert await ids(session="s") == ["a", "b"]
    assert await ids(provider="openai") == ["a", "c"]
    assert await ids(since=START + timedelta(seconds=1)) == ["b", "c"]
    assert await ids(session="s", provider="x-ai") == []
    assert await rows.count(engine, Wanted(provider="openai", limit=1)) == 2


async def test_fifty_thousand_rows_are_streamed_in_little_memory(engine: AsyncEngine) -> None:
    notes = {"title": "x" * 500}
    made = [
        {**row_of(one(str(i), second=i, provider="openai", model="gpt-4o", notes=notes)), "owner": None}
        for i in range(1000)
    ]
    async with engine.begin() as connection:
        for block in range(50):
            values = [{**row, "id": f"{block}-{row['id']}"} for row in made]
            await connection.execute(insert(tables.exchanges), values)

    process, seen, peak = psutil.Process(), 0, 0
    before = process.memory_info().rss
    async for _ in rows.stream(engine, Wanted()):
        seen += 1
        if seen % 1000 == 0:
            peak = max(peak, process.memory_info().rss - before)

    assert seen == 50_000
    assert peak < 30 * 1024 * 1024  # the rows are 75 MB


async def test_figures_come_in_pieces_and_tell_reported_from_estimated(engine: AsyncEngine) -> None:
    reported = {"source": Source.USAGE, "is_estimated": False, "input_tokens": 9}
    await save(engine, one("a", **reported), one("b", second=1, error=Problem("x", "y"), input_tokens=8))

    found = [row async for piece in rows.figures(engine, Wanted()) for row in piece]

    assert [(f.input_tokens, f.reported, f.failed) for f in found] == [(9, True, False), (8, False, True)]


def test_writing_over_is_spelt_the_same_for_postgresql() -> None:
    class Connection:
        dialect = postgresql.dialect()

    for table, key in (
        (tables.exchanges, "id"),
        (tables.readings, "key"),
        (tables.learner_states, "key"),
        (tables.log_offsets, "path"),
        (tables.facts, "name"),
    ):
        statement = upsert(Connection(), table, key)
        compiled = str(statement.compile(dialect=postgresql.dialect()))
        assert f"ON CONFLICT ({key}) DO UPDATE SET" in compiled
        assert "seq =" not in compiled.partition("DO UPDATE")[2]
