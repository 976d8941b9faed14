from __future__ import annotations

import asyncio
import csv
import json
from pathlib import Path
from typing import Any

import pytest

from kimi_mitm import link
from kimi_mitm.engine import calls
from kimi_mitm.render import CSV_COLUMNS
from tests.engine_rig import Rig, engine

USER = {"x-user-id": "alice"}


async def ask(rig: Rig, command: str, **args: Any) -> link.Reply:
    """Gives a command and waits for its answer."""
    n = 1000 + len(rig.downward.heard)
    await rig.desk.handle([link.Call(n=n, name=command, args=args)])
    async with asyncio.timeout(10):
        while rig.desk.calls._tasks:
            await asyncio.wait(rig.desk.calls._tasks)
    (reply,) = (m for m in rig.downward.heard if isinstance(m, link.Reply) and m.n == n)
    return reply


def leftovers(folder: Path) -> list[Path]:
    return list(folder.glob("*.part"))


def states(rig: Rig) -> list[link.State]:
    return [m for m in rig.downward.heard if isinstance(m, link.State)]


async def test_the_state_is_told_at_the_start(tmp_path: Path) -> None:
    async with engine(tmp_path, auto_session=False) as rig:
        assert states(rig) == [link.State(auto_session=False)]


async def test_toggling_flips_the_flag_and_is_told_at_once(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        first, second = await ask(rig, "toggle"), await ask(rig, "toggle")

        assert first.value == "automatic sessions are off"
        assert second.value == "automatic sessions are on"
        assert [s.auto_session for s in states(rig)] == [True, False, True]
        assert rig.desk.keeper.book.flag.last is not None
        assert rig.desk.keeper.book.flag.last.by == "mitmproxy"


async def test_a_flag_that_an_admin_holds_is_not_flipped(tmp_path: Path) -> None:
    from datetime import UTC, datetime

    async with engine(tmp_path) as rig:
        await rig.desk.keeper.change(lambda book: book.force_flag(True, "root", datetime.now(UTC)))

        assert (await ask(rig, "toggle")).error == "an admin holds the flag"


async def test_the_next_exchange_goes_to_a_new_session(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        before = await rig.chat()
        reply = await ask(rig, "session.new", name="spike", user="")
        after = await rig.chat()

        assert after.session_id != before.session_id
        assert reply.value == f"session {after.session_id} of {before.user} is the current one"
        session = rig.desk.keeper.book.session(after.session_id or "")
        assert session is not None
        assert session.name == "spike"


async def test_a_new_session_before_any_traffic_is_nobodys_in_particular(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        assert "of unknown is the current one" in (await ask(rig, "session.new")).value


async def test_the_session_used_last_is_ended(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        record = await rig.chat()
        reply = await ask(rig, "session.end", session="")

        assert reply.value == f"session {record.session_id} of {record.user} has ended"
        assert states(rig)[-1].sessions == []
        assert (await ask(rig, "session.end")).error == "there is no live session"


async def test_a_session_is_found_by_the_start_of_its_id(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        record = await rig.chat()
        assert record.session_id is not None

        assert (await ask(rig, "session.end", session="s_zzz")).error == "no live session begins with s_zzz"
        assert (await ask(rig, "session.end", session=record.session_id[:6])).error is None


async def test_what_several_sessions_begin_with_ends_none_of_them(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        await rig.chat()
        await ask(rig, "session.new")

        assert (await ask(rig, "session.end", session="s_")).error == "more than one session begins with s_"


async def test_the_live_sessions_are_told_with_their_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "STATE_S", 0)
    async with engine(tmp_path) as rig:
        record = await rig.chat()

        (session,) = states(rig)[-1].sessions
        assert (session.id, session.requests, session.tokens) == (record.session_id, 1, 12)
        assert (session.model, session.current) == ("gpt-4o", True)
        assert states(rig)[-1].live == 1


async def test_a_flood_of_exchanges_tells_the_state_once_a_second(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        for _ in range(5):
            await rig.chat()

        assert len(states(rig)) <= 3


async def test_stats_add_up_all_exchanges_or_a_sessions(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        first = await rig.chat()
        await ask(rig, "session.new")
        await rig.chat("gpt-4o-mini")

        everything = (await ask(rig, "stats", session="")).value.splitlines()
        session = (await ask(rig, "stats", session=(first.session_id or "")[:8])).value.splitlines()

    assert everything[0].startswith("all: 2 exchanges · 24 in · 6 out · <$0.0001")
    assert "estimates off by" in everything[0]
    assert {line.partition(":")[0] for line in everything[1:]} == {"gpt-4o", "gpt-4o-mini"}
    assert session[0].startswith(f"{first.session_id}: 1 exchange · 12 in")


@pytest.mark.parametrize("count", [0, 3])
async def test_an_export_holds_every_exchange(
    tmp_path: Path, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "_WRITTEN_AT_ONCE", 2)
    async with engine(tmp_path) as rig:
        records = [await rig.chat() for _ in range(count)]
        reply = await ask(rig, "export", path=str(tmp_path / "out.jsonl"))
        table = await ask(rig, "export", path=str(tmp_path / "out.CSV"))

    assert reply.value == f"{count} exchanges written to {tmp_path}/out.jsonl"
    assert table.error is None
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    rows = list(csv.reader((tmp_path / "out.CSV").read_text().splitlines()))
    assert [json.loads(line)["id"] for line in lines] == [r.id for r in records]
    assert tuple(rows[0]) == CSV_COLUMNS
    assert len(rows) == count + 1
    assert leftovers(tmp_path) == []


async def test_an_export_that_fails_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    async with engine(tmp_path) as rig:
        nowhere = await ask(rig, "export", path=str(tmp_path / "none" / "out.jsonl"))
        folder = await ask(rig, "export", path=str(tmp_path / "folder"))

    assert nowhere.error == "No such file or directory"
    assert folder.error == "Is a directory"
    assert leftovers(tmp_path) == []


async def test_without_a_database_commands_say_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    async with engine(tmp_path, db=str(tmp_path / "file" / "kimi.db")) as rig:
        assert (await ask(rig, "stats")).error == "there is no database to read from"
        assert (await ask(rig, "toggle")).value == "automatic sessions are off"


async def test_an_unknown_command_is_refused_and_a_fault_is_told_by_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    async with engine(tmp_path) as rig:
        assert (await ask(rig, "dance")).error == "no such command"
        monkeypatch.setattr(rig.desk.store, "flush", broken)
        reply = await ask(rig, "stats")
        monkeypatch.undo()

    assert reply.error is not None
    assert reply.error.startswith("it failed (ZeroDivisionError")
