"""Clients' logs, and clients that ignore the proxy."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from kimi_mitm.doctor import traffic
from kimi_mitm.doctor.finding import Finding, State
from kimi_mitm.doctor.traffic import Log
from kimi_mitm.logs.follow import select
from kimi_mitm.records import Exchange, Source
from kimi_mitm.store import exchanges
from kimi_mitm.store.database import connect

STARTED = datetime(2026, 6, 1, 12, tzinfo=UTC)
LATER = STARTED + timedelta(minutes=5)


def log(client: str, **more: Any) -> Log:
    source = next(s for s in select(("auto",)) if s.client == client)
    return replace(Log(source, 1, 0, LATER), **more)


def by_wire(client: str) -> Exchange:
    return Exchange(id=f"w-{client}", started_at=LATER, client=client, method="POST")


def by_log(client: str) -> Exchange:
    return Exchange(id=f"log:{client}", started_at=LATER, client=client, source=Source.LOGS)


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    made = await connect(str(tmp_path / "kimi.db"))
    yield made
    await made.dispose()


async def look(engine: AsyncEngine, logs: list[Log], *records: Exchange) -> list[Finding]:
    async with engine.begin() as connection:
        await exchanges.save(connection, records)
    return list(await traffic.check_clients(logs, engine, STARTED))


async def test_a_client_whose_log_grows_while_nothing_comes_by_the_proxy_is_named(
    engine: AsyncEngine,
) -> None:
    [found] = await look(engine, [log("codex")])

    assert (found.subject, found.state) == ("client: codex", State.FAULT)
    assert "ignores the proxy: its log grew at 12:05 UTC" in found.text
    assert found.mend == "kimi-mitm run -- codex"


async def test_calls_that_only_the_log_tells_of_are_counted(engine: AsyncEngine) -> None:
    [found] = await look(engine, [log("codex")], by_log("codex"))

    assert "1 calls in its log, none by the proxy since 12:00 UTC" in found.text


async def test_a_client_that_comes_by_the_proxy_is_well(engine: AsyncEngine) -> None:
    assert await look(engine, [log("codex")], by_wire("codex"), by_log("codex")) == []


async def test_a_log_that_did_not_grow_since_the_start_says_nothing(engine: AsyncEngine) -> None:
    assert await look(engine, [log("codex", changed=STARTED - timedelta(hours=1))]) == []


async def test_a_client_that_does_not_name_itself_may_be_the_one_that_came(engine: AsyncEngine) -> None:
    [found] = await look(engine, [log("cline")], by_wire("ai-sdk"))

    assert found.state is State.UNKNOWN


def test_logs_are_told_one_by_one(tmp_path: Path) -> None:
    folder = tmp_path / ".codex" / "sessions" / "2026" / "06" / "01"
    folder.mkdir(parents=True)
    (folder / "rollout-2026-06-01T12-00-00-1.jsonl").write_text("{}\n")

    logs = traffic.find(tmp_path, {}, "linux")
    [found] = traffic.check_logs(logs, None)

    assert (found.subject, found.state) == ("log: codex", State.OK)
    assert found.text.startswith("1 file, last changed ")


def test_a_log_that_is_not_understood_is_told_from_the_proxys_own_word() -> None:
    health = {"warnings": ["The log codex is seen, not understood."]}

    [found] = traffic.check_logs([log("codex")], health)

    assert found.state is State.WARNING


def test_a_log_that_cannot_be_read_is_a_fault() -> None:
    [found] = traffic.check_logs([log("codex", unreadable=1)], None)

    assert found.state is State.FAULT
    assert "1 of 1 files can't be read" in found.text


def test_no_log_at_all_is_said() -> None:
    [found] = traffic.check_logs([], None)

    assert found.state is State.UNKNOWN
