"""Sessions through the whole engine: frames in, sessions, archives and events out."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from kimi_mitm import link, owner
from kimi_mitm.engine.session_keeper import SessionKeeper
from kimi_mitm.sessions.record import EndReason, Kind, Session, Status
from kimi_mitm.sessions.rows import from_row
from kimi_mitm.store.tables import sessions as tables
from tests.engine_rig import EPOCH, Rig, chat_answer, crash, engine, start

CLAUDE = {"user-agent": "claude-cli/2.1.3 (external, cli)"}
CODEX = {"user-agent": "codex_exec/0.63.0 (Linux)"}
TOOLS = [{"name": "Bash", "description": "runs", "input_schema": {"type": "object"}}]


@pytest.fixture
def two_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every engine started from now on takes itself for another process; all of them run."""
    names = itertools.cycle(f"{pid}@" for pid in (os.getpid(), os.getppid(), 1))

    class Keeper(SessionKeeper):
        def __init__(self, *args: Any) -> None:
            name = next(names)
            monkeypatch.setattr(owner, "this_process", lambda: name)
            super().__init__(*args)

    monkeypatch.setattr("kimi_mitm.engine.desk.SessionKeeper", Keeper)


async def stored(rig: Rig) -> dict[str, Session]:
    assert rig.desk.store.engine is not None
    async with rig.desk.store.engine.connect() as connection:
        rows = (await connection.execute(select(tables.sessions))).mappings().all()
    return {row["session_id"]: from_row(dict(row)) for row in rows}


async def claude(rig: Rig, session: str, text: str = "hello", **more: Any) -> str | None:
    """One turn of Claude Code; its session."""
    n = await rig.open(
        {
            "model": "claude-sonnet-4-5",
            "max_tokens": 100,
            "tools": TOOLS,
            "messages": [{"role": "user", "content": text}],
        },
        host="api.anthropic.com",
        path="/v1/messages",
        wire_format="anthropic.messages",
        served_by="anthropic",
        headers={**CLAUDE, "x-claude-code-session-id": session},
        **more,
    )
    message = {
        "id": f"msg_{n}",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "content": [{"type": "text", "text": f"answer to {text}"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 10, "output_tokens": 2},
    }
    await rig.answer(n, json.dumps(message).encode())
    await rig.end(n)
    return (await rig.records())[-1].session_id


async def embed(rig: Rig) -> str | None:
    n = await rig.open(
        {"model": "mistral-embed", "input": "x"},
        host="api.mistral.ai",
        path="/v1/embeddings",
        wire_format="openai.embeddings",
        served_by="mistral",
    )
    await rig.answer(n, json.dumps({"object": "list", "data": [], "usage": {"prompt_tokens": 1}}).encode())
    await rig.end(n)
    return (await rig.records())[-1].session_id


async def complete_while_typing(rig: Rig, model: str) -> str | None:
    n = await rig.open(
        {"model": model, "prompt": "def f(", "suffix": "\n  return 1"},
        host="codestral.mistral.ai",
        path="/v1/fim/completions",
        wire_format="openai.completions",
        served_by="mistral",
    )
    await rig.answer(n, chat_answer(model))
    await rig.end(n)
    found = (await rig.records())[-1]
    assert found.side
    return found.session_id


@pytest.mark.parametrize(("flag", "sessions"), [(True, 3), (False, 1)])
async def test_models_of_two_providers_in_turn_make_three_sessions_or_one(
    tmp_path: Path, flag: bool, sessions: int
) -> None:
    async with engine(tmp_path, auto_session=flag) as rig:
        found = [(await rig.chat(model)).session_id for model in ("gpt-4o", "claude-sonnet-4-5", "gpt-4o")]

        assert len(set(found)) == sessions
        assert len(await stored(rig)) == sessions
        assert len(rig.events("auto_session:created")) == sessions - 1
        assert len(rig.events("session:switched")) == sessions - 1


async def test_the_events_of_a_switch_come_before_those_of_the_exchange_that_made_it(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        await rig.chat("gpt-4o")
        rig.told.clear()
        await rig.chat("claude-sonnet-4-5")

    kinds = [kind for kind, _ in rig.told]
    assert kinds[:4] == ["session:started", "auto_session:created", "session:switched", "exchange:started"]
    switched, created = rig.events("session:switched")[0], rig.events("auto_session:created")[0]
    assert switched["new_session"] == created["session_id"]
    assert switched["old_session"] == created["old_session"] != switched["new_session"]


async def test_completion_while_typing_on_another_model_makes_no_session(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        found = [
            (await rig.chat("gpt-4o")).session_id,
            await complete_while_typing(rig, "codestral-latest"),
            (await rig.chat("gpt-4o")).session_id,
            await embed(rig),
            (await rig.chat("gpt-4o")).session_id,
        ]
        kept = list((await stored(rig)).values())

    assert len(set(found)) == 1
    assert [(s.exchanges, s.turns, s.side_kept, s.provider) for s in kept] == [(5, 3, 2, "openai")]


async def test_two_sessions_of_claude_code_side_by_side_stay_two(tmp_path: Path) -> None:
    one, two = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
    async with engine(tmp_path) as rig:
        found = [await claude(rig, name) for name in (one, two, one, two, two, one)]

    assert found[0] == found[2] == found[5]
    assert found[1] == found[3] == found[4]
    assert found[0] != found[1]


async def test_codex_resumed_goes_on_in_its_session(tmp_path: Path) -> None:
    thread = "0199a213-81c0-7800-8aa1-bbab2a035a53"
    headers = {**CODEX, "session_id": thread}
    body = {"tools": [{"type": "function", "function": {"name": "shell"}}]}
    async with engine(tmp_path) as rig:
        first = await rig.chat("gpt-5", headers=headers, body=body)
    async with engine(tmp_path) as rig:
        second = await rig.chat("gpt-5", headers=headers, body=body)
        kept = list((await stored(rig)).values())

    assert first.client == "codex"
    assert first.session_id == second.session_id
    assert [(s.client_session_id, s.resumed, s.status) for s in kept] == [(thread, 1, Status.ACTIVE)]


async def test_each_run_of_a_client_is_its_own_session_and_says_that_it_was_one_shot(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        for name in ("1" * 32, "2" * 32):
            await claude(rig, name, "fix it")
    async with engine(tmp_path) as rig:
        kept = list((await stored(rig)).values())

    assert [s.kind for s in kept] == [Kind.ONE_SHOT] * 2


@pytest.mark.parametrize(("by", "sessions"), [("provider", 1), ("client", 2), ("exchange", 4)])
async def test_what_tells_sessions_apart_is_an_option(tmp_path: Path, by: str, sessions: int) -> None:
    async with engine(tmp_path, session_by=by) as rig:
        found = [await claude(rig, name * 32) for name in "1212"]

    assert len(set(found)) == sessions


async def test_an_id_of_ours_in_x_session_id_decides(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        made = await rig.desk.keeper.change(
            lambda book: book.get_or_create("alice", "chat-1", rig.clock.now, name="My chat")
        )
        first = await rig.chat("gpt-4o", headers={"x-session-id": made.session_id})
        other = await rig.chat("gpt-4o")

    assert first.session_id == made.session_id
    assert other.session_id != made.session_id


async def test_closing_archives_what_is_live(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        record = await rig.chat("gpt-4o", text="remember me", user="alice")
    async with engine(tmp_path) as after:
        session = (await stored(after))[record.session_id or ""]

    archives = list((tmp_path / "users" / "alice" / "dialogs" / "archived").glob("*.yaml"))
    assert len(archives) == 1
    assert "remember me" in archives[0].read_text()
    assert (session.end_reason, session.archive_due) == (EndReason.SHUTDOWN, False)
    ended = rig.events("session:ended")
    assert [e["archive_id"] for e in ended] == [f"alice/{archives[0].stem}"]


async def test_five_minutes_of_idleness_end_a_session(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        first = await rig.chat()
        for _ in range(9):
            await rig.pass_time(31)
        idle = (await stored(rig))[first.session_id or ""]
        await rig.pass_time(31)
        over = (await stored(rig))[first.session_id or ""]
        second = await rig.chat()

    assert idle.status is Status.IDLE
    assert (over.status, over.end_reason) == (Status.ENDED, EndReason.TIMEOUT)
    assert (over.ended_at or rig.clock.now) - over.last_activity_at == rig.desk.keeper.book.rules.timeout
    assert over.archive_id is not None
    assert second.session_id != first.session_id


async def test_activity_keeps_a_session_alive_and_so_does_an_exchange_under_way(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        first = await rig.chat()
        await rig.pass_time(250)
        n = await rig.open({"model": "gpt-4o", "messages": [{"role": "user", "content": "think long"}]})
        for _ in range(20):
            await rig.pass_time(60)
        await rig.answer(n, chat_answer())
        await rig.end(n)
        await rig.pass_time(250)
        last = await rig.chat()

    assert last.session_id == first.session_id


async def test_how_often_idle_sessions_are_looked_for_is_an_option(tmp_path: Path) -> None:
    async with engine(tmp_path, session_timeout=10.0, session_check_interval=100.0) as rig:
        first = await rig.chat()
        await rig.pass_time(50)
        assert (await stored(rig))[first.session_id or ""].live
        await rig.pass_time(51)
        assert not (await stored(rig))[first.session_id or ""].live


@pytest.mark.parametrize("ends", [True, False])
async def test_a_session_ends_with_its_last_connection_if_one_wants_that(tmp_path: Path, ends: bool) -> None:
    async with engine(tmp_path, archive_on_disconnect=ends) as rig:
        record = await rig.chat(conn="c1")
        await rig.chat(conn="c2")
        for name in ("c1", "c2"):
            rig.intake.handle(link.Gone(conn=name, at=rig.clock.now.timestamp()), b"")
            await rig.settle()
            live = (await stored(rig))[record.session_id or ""].live
            assert live is (not ends or name == "c1")


async def test_a_session_that_was_live_at_a_crash_is_ended_and_archived_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, "this_process", lambda: "999999999@1")
    dead = await start(tmp_path)
    record = await dead.chat("gpt-4o", text="before the crash", user="alice")
    await crash(dead)
    monkeypatch.undo()

    async with engine(tmp_path) as rig:
        session = (await stored(rig))[record.session_id or ""]

    assert (session.end_reason, session.archive_due) == (EndReason.CRASH, False)
    archives = list((tmp_path / "users" / "alice" / "dialogs" / "archived").glob("*.yaml"))
    assert "before the crash" in archives[0].read_text()
    assert [e["end_reason"] for e in rig.events("session:ended")] == ["crash"]


async def test_a_session_of_a_process_that_runs_is_left_alone(tmp_path: Path, two_processes: None) -> None:
    first = await start(tmp_path)
    record = await first.chat()
    async with engine(tmp_path) as second:
        assert (await stored(second))[record.session_id or ""].live
    assert (await stored(first))[record.session_id or ""].live
    await first.desk.close()


async def test_two_engines_on_one_database_make_one_session_of_one_conversation(
    tmp_path: Path, two_processes: None
) -> None:
    async with engine(tmp_path) as one, engine(tmp_path) as two:
        found = [await claude(rig, "5" * 32) for rig in (one, two, two, one, two)]
        kept = await stored(one)

    assert len(set(found)) == 1
    assert [s.exchanges for s in kept.values()] == [5]


async def test_a_file_is_read_by_its_own_times(tmp_path: Path) -> None:
    async with engine(tmp_path, offline=True) as rig:
        near = [await rig.chat(at=EPOCH + i * 60) for i in range(3)]
        await rig.pass_time(10_000)
        later = await rig.chat(at=EPOCH + 200)
        far = await rig.chat(at=EPOCH + 5000)

    assert len({e.session_id for e in [*near, later]}) == 1
    assert far.session_id != later.session_id
