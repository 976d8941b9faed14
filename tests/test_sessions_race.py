"""Many requests at once, in two engines on one database file: one session for one change."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from kimi_mitm.engine import session_keeper
from kimi_mitm.engine.session_keeper import SessionKeeper
from kimi_mitm.events import Hub
from kimi_mitm.sessions.seen import Seen
from kimi_mitm.settings import Settings
from kimi_mitm.store import Store

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
async def keepers(tmp_path, monkeypatch):
    settings = Settings(db=str(tmp_path / "kimi.db"))
    stores, made = [], []
    for number in range(2):
        monkeypatch.setattr(session_keeper.owner, "this_process", lambda number=number: f"process-{number}")
        stores.append(await Store.open(settings.db, said=lambda text: None))
        made.append(SessionKeeper(settings, stores[-1], Hub(heartbeat_s=0)))
    yield made
    for store in stores:
        await store.close(5)


async def place(keeper, number, provider, **known):
    seen = Seen(
        exchange_id=f"{id(keeper)}-{number}", user="alice", client="claude-code", provider=provider, **known
    )
    return (await keeper.change(lambda book: book.place(seen, NOW))).session_id


@pytest.mark.parametrize("known", [{}, {"client_session_id": "one"}], ids=["no id", "id"])
async def test_requests_at_once_make_one_session_for_one_change(keepers, known):
    first = await asyncio.gather(*(place(keepers[n % 2], n, "A", **known) for n in range(40)))
    second = await asyncio.gather(*(place(keepers[n % 2], 100 + n, "B", **known) for n in range(40)))

    assert len(set(first)) == len(set(second)) == 1
    assert first[0] != second[0]


async def test_an_engine_that_is_always_second_decides_too(keepers, monkeypatch):
    slow, quick = keepers
    transact = slow._store.transact

    async def second(work):
        await quick.change(lambda book: book.toggle_flag("alice", NOW))
        return await transact(work)

    monkeypatch.setattr(slow._store, "transact", second)
    await slow.change(lambda book: book.toggle_flag("bob", NOW))

    assert slow.book.flag.version == 2
    assert slow.book.flag.enabled is True


async def test_toggles_at_once_in_two_engines_are_all_toggles(keepers):
    await asyncio.gather(
        *(keepers[n % 2].change(lambda book: book.toggle_flag("alice", NOW)) for n in range(21))
    )
    await keepers[0].change(lambda book: book.sweep(NOW))

    assert keepers[0].book.flag.version == 21
    assert keepers[0].book.flag.enabled is False


async def test_requests_at_once_for_one_config_get_one_session(keepers):
    got = await asyncio.gather(
        *(keepers[n % 2].change(lambda book: book.get_or_create("alice", "c1", NOW)) for n in range(20))
    )

    assert len({placement.session_id for placement in got}) == 1
    assert [placement.created for placement in got].count(True) == 1
