"""Exchanges that only logs know, asked for one by one at the control endpoint."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from kimi_mitm.logs import SOURCES
from kimi_mitm.logs.find import Finder
from kimi_mitm.logs.history import read_whole
from kimi_mitm.logs.source import Tally
from kimi_mitm.records import Reading, Source, Usage
from tests.engine_rig import Rig, engine
from tests.logs.test_client_logs import folders

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
FAR = datetime(2100, 1, 1, tzinfo=UTC)


async def listed_and_fetched(rig: Rig, known: list[Reading]) -> tuple[set[str], set[str]]:
    """The ids that the list gives, and those that are found by themselves."""
    await rig.desk.logs.take(known)
    await rig.desk.logs.expire(FAR)
    await rig.desk.store.flush()
    host, port = rig.desk.door.address or ("", 0)
    listed, fetched = set(), set()
    async with httpx.AsyncClient(base_url=f"http://{host}:{port}", trust_env=False, timeout=60) as client:
        page = (await client.get("/api/exchanges", params={"limit": 500})).json()
        for exchange in page["exchanges"]:
            listed.add(exchange["id"])
            answer = await client.get(f"/api/exchanges/{quote(exchange['id'], safe='')}")
            if answer.status_code == 200:
                fetched.add(answer.json()["id"])
    return listed, fetched


@pytest.mark.parametrize("key", ["aider:/a b/.aider.chat.history.md:2026-11-20T10:00:00+00:00:3", "k" * 300])
async def test_an_exchange_is_found_whatever_its_records_key(tmp_path: Path, key: str) -> None:
    one = Reading(
        source=Source.LOGS,
        reported=True,
        at=AT - timedelta(hours=1),
        key=key,
        origin="f:1",
        usage=Usage(input_tokens=5),
    )
    async with engine(tmp_path, control=("127.0.0.1", 0)) as rig:
        listed, fetched = await listed_and_fetched(rig, [one])

    assert len(listed) == 1
    assert fetched == listed


@pytest.mark.parametrize("folder", folders(), ids=lambda folder: folder.name)
async def test_every_exchange_of_a_clients_log_that_is_listed_is_found(tmp_path: Path, folder: Path) -> None:
    known = [
        reading
        for source in SOURCES
        for found in Finder(source, folder, {}, "linux").files()
        for reading in read_whole(source, found, None, Tally())
    ]
    async with engine(tmp_path, control=("127.0.0.1", 0)) as rig:
        listed, fetched = await listed_and_fetched(rig, known)

    assert bool(listed) == any(one.usage or one.problem for one in known)
    assert fetched == listed
