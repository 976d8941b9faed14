"""Records of clients' logs meet the exchanges of the wire, through the whole engine."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from kimi_mitm import owner
from kimi_mitm.records import Exchange, Problem, Reading, Source, Usage
from kimi_mitm.store import readings as reading_rows
from tests.engine_rig import EPOCH, Clock, Rig, chat_answer, crash, engine, files_with, sse, start
from tests.waiting import until

CODEX = {"user-agent": "codex_exec/0.63.0", "session_id": "0199a213-81c0-7800-8aa1-bbab2a035a53"}
AT = datetime.fromtimestamp(EPOCH, UTC)


def record(key: str = "k1", second: float = 1.9, **more: Any) -> Reading:
    """A record of Codex' log about the first exchange, which ended at 1.9 s."""
    known = {
        "source": Source.LOGS,
        "reported": True,
        "at": AT + timedelta(seconds=second),
        "key": key,
        "origin": "rollout.jsonl:1",
        "client": "codex",
        "model": "gpt-5",
        "log": "codex",
        "usage": Usage(input_tokens=500, output_tokens=40),
    }
    return Reading(**{**known, **more})


async def call(rig: Rig, *, usage: bool = False, response_id: str = "resp-1", **more: Any) -> Exchange:
    """A streamed exchange, by default without usage."""
    body = {"model": "gpt-5", "stream": True, "messages": [{"role": "user", "content": "hello there"}]}
    body["tools"] = [{"type": "function", "function": {"name": "shell"}}]
    n = await rig.open(body, **{"headers": CODEX, **more})
    chunk = {"id": response_id, "model": "gpt-5", "choices": [{"index": 0, "delta": {"content": "hi"}}]}
    stop = {"id": response_id, "model": "gpt-5", "choices": [{"index": 0, "finish_reason": "stop"}]}
    figures = {"id": response_id, "choices": [], "usage": {"prompt_tokens": 480, "completion_tokens": 39}}
    await rig.answer(n, *sse(chunk, stop, *([figures] if usage else [])), content_type="text/event-stream")
    await rig.end(n)
    return await rig.record(rig.events("exchange:completed")[-1]["id"])


async def test_a_record_joined_by_id_settles_what_the_wire_left_open(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        before = await call(rig)
        await rig.desk.logs.take([record(ids=("resp-1",))])
        after = await rig.record(before.id)
        told = rig.events("fusion:updated")

    assert (before.source, before.is_estimated) == (Source.PROXY, True)
    assert (after.input_tokens, after.output_tokens, after.total_tokens) == (500, 40, 540)
    assert (after.source, after.via, after.is_estimated) == (Source.USAGE, "logs", False)
    assert after.cost_usd is not None
    assert after.session_id == before.session_id
    assert [t["input_tokens"] for t in told] == [500]


async def test_a_record_joined_by_time_that_is_near_the_estimate_makes_a_hybrid(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        n = await rig.open(
            {
                "model": "gpt-5",
                "stream": True,
                "tools": [{"type": "function", "function": {"name": "shell"}}],
                "messages": [{"role": "user", "content": "some words of a prompt " * 400}],
            },
            headers=CODEX,
        )
        chunk = {"id": "r", "model": "gpt-5", "choices": [{"index": 0, "delta": {"content": "hi"}}]}
        await rig.answer(n, *sse(chunk), content_type="text/event-stream")
        await rig.end(n)
        before = await rig.record(rig.events("exchange:completed")[-1]["id"])
        larger = (before.estimated_input_tokens or 0) + 150
        await rig.desk.logs.take([record(usage=Usage(input_tokens=larger))])
        after = await rig.record(before.id)

    assert (after.source, after.input_tokens, after.is_estimated) == (Source.HYBRID, larger, False)
    assert after.notes["joined_by"] == "time"


async def test_usage_on_the_wire_stands_against_any_log(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        before = await call(rig, usage=True)
        await rig.desk.logs.take([record(ids=("resp-1",), title="A title", folder="/home/a/project")])
        after = await rig.record(before.id)

    assert (after.input_tokens, after.output_tokens, after.source, after.via) == (480, 39, Source.USAGE, None)
    assert after.cost_usd == before.cost_usd
    assert (after.notes["title"], after.notes["folder"]) == ("A title", "/home/a/project")


async def test_what_a_client_says_it_cost_is_only_noted(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        before = await call(rig, usage=True)
        usage = Usage(input_tokens=480, output_tokens=39, cost_usd=Decimal("9.99"))
        await rig.desk.logs.take([record(ids=("resp-1",), usage=usage)])
        after = await rig.record(before.id)

    assert after.cost_usd == before.cost_usd
    assert after.notes["cost_usd_of_log"] == "9.99"


async def test_the_same_record_again_changes_nothing(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        before = await call(rig)
        await rig.desk.logs.take([record(ids=("resp-1",))])
        first = await rig.record(before.id)
        rig.told.clear()
        for _ in range(3):
            await rig.desk.logs.take([record(ids=("resp-1",))])
        again = await rig.record(before.id)
        told = list(rig.told)

    assert again == first
    assert told == []


async def test_a_later_version_of_a_record_takes_the_earlier_ones_place(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        before = await call(rig)
        await rig.desk.logs.take([record(ids=("resp-1",), usage=Usage(input_tokens=500, output_tokens=1))])
        await rig.desk.logs.take(
            [record(ids=("resp-1",), second=2.5, usage=Usage(input_tokens=500, output_tokens=70))]
        )
        after = await rig.record(before.id)
        session = rig.desk.keeper.book.session(after.session_id or "")

    assert (after.input_tokens, after.output_tokens) == (500, 70)
    assert session is not None
    assert (session.stats.requests, session.stats.total_completion_tokens) == (1, 70)


async def test_a_record_that_comes_before_the_exchange_ends_settles_it_then(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        n = await rig.open({"model": "gpt-5", "stream": True, "messages": []}, headers=CODEX)
        await rig.desk.logs.take([record(ids=("resp-1",))])
        chunk = {"id": "resp-1", "model": "gpt-5", "choices": [{"index": 0, "delta": {"content": "hi"}}]}
        await rig.answer(n, *sse(chunk), content_type="text/event-stream")
        await rig.end(n)
        after = await rig.record(rig.events("exchange:completed")[-1]["id"])

    assert (after.input_tokens, after.via) == (500, "logs")


async def test_a_record_of_the_requests_start_is_kept_through_the_exchanges_end(tmp_path: Path) -> None:
    """Cline writes its record when it asks, and again when it is answered."""
    start_at = AT + timedelta(seconds=1)
    early = record(at=start_at, started_at=start_at, usage=Usage(input_tokens=333))
    async with engine(tmp_path) as rig:
        n = await rig.open({"model": "gpt-5", "stream": True, "messages": []}, headers=CODEX)
        await rig.desk.logs.take([early])
        chunk = {"id": "resp-1", "model": "gpt-5", "choices": [{"index": 0, "delta": {"content": "hi"}}]}
        await rig.answer(n, *sse(chunk), content_type="text/event-stream")
        await rig.end(n)
        found = await rig.records()
        kept = await reading_rows.by_exchange(rig.desk.store.engine)

    assert len(found) == 1
    assert [r.key for r in kept[found[0].id]] == ["k1"]


async def test_a_record_that_was_never_on_the_wire_becomes_an_exchange_after_a_while(tmp_path: Path) -> None:
    clock = Clock()
    at = clock.now
    async with engine(tmp_path, clock) as rig:
        await rig.desk.logs.take([record(at=at, ids=("resp-9",), user="alice", title="t")])
        assert await rig.records() == []
        await rig.pass_time(29)
        assert await rig.records() == []
        await rig.pass_time(2)
        found = await rig.records()

    assert [(e.source, e.input_tokens, e.client, e.model) for e in found] == [
        (Source.LOGS, 500, "codex", "gpt-5")
    ]
    assert found[0].id == "log:k1"
    assert found[0].provider == "openai"
    assert found[0].session_id is not None
    assert found[0].notes["title"] == "t"
    assert [e["id"] for e in rig.events("exchange:completed")] == ["log:k1"]


async def test_the_exchange_of_a_record_goes_when_the_wires_turns_up(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        await rig.desk.logs.take([record(ids=("resp-1",))])
        await rig.desk.logs.expire(datetime.max.replace(tzinfo=UTC))
        assert [e.id for e in await rig.records()] == ["log:k1"]
        seen = await call(rig)
        found = await rig.records()
        counted = [session.stats for session in rig.desk.keeper.book.live()]

    assert [e.id for e in found] == [seen.id]
    assert found[0].via == "logs"
    assert sum(stats.requests for stats in counted) == 1
    assert sum(stats.total_prompt_tokens or 0 for stats in counted) == 500


async def test_two_exchanges_at_once_never_swap_their_records(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        numbers = [
            await rig.open({"model": "gpt-5", "stream": True, "messages": []}, headers=CODEX, at=EPOCH)
            for _ in range(2)
        ]
        for n in numbers:
            chunk = {
                "id": f"resp-{n}",
                "model": "gpt-5",
                "choices": [{"index": 0, "delta": {"content": "x"}}],
            }
            await rig.answer(n, *sse(chunk), content_type="text/event-stream")
            await rig.end(n)
        await rig.desk.logs.take(
            [
                record(f"k{n}", ids=(f"resp-{n}",), usage=Usage(input_tokens=100 * n))
                for n in reversed(numbers)
            ]
        )
        found = await rig.records()

    assert [(e.response_id, e.input_tokens) for e in found] == [(f"resp-{n}", 100 * n) for n in numbers]


async def test_of_two_that_fit_equally_none_is_taken(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        for _ in range(2):
            await rig.open({"model": "gpt-5", "stream": True, "messages": []}, headers=CODEX, at=EPOCH)
        for n in (1, 2):
            await rig.answer(n, chat_answer("gpt-5"))
            await rig.end(n)
        await rig.desk.logs.take([record(second=3.0, usage=Usage(input_tokens=77))])
        await rig.desk.logs.expire(datetime.max.replace(tzinfo=UTC))
        found = await rig.records()

    assert [e.input_tokens for e in found] == [12, 12]
    assert rig.desk.logs.joiner.counts.ambiguous == 1


async def test_a_restart_keeps_what_logs_said(tmp_path: Path) -> None:
    clock = Clock()
    async with engine(tmp_path, clock) as rig:
        before = await call(rig, at=clock.now.timestamp() - 10)
        await rig.desk.logs.take([record(at=before.ended_at, ids=("resp-1",))])
        settled = await rig.record(before.id)
    async with engine(tmp_path, clock) as rig:
        readings = await rig.desk.logs.readings(settled)
        await rig.desk.logs.take([record(at=before.ended_at, ids=("resp-1",))])
        again = await rig.record(before.id)

    assert {r.key for r in readings} >= {"k1"}
    assert again == settled


async def test_a_record_that_waited_when_the_engine_was_killed_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    dead = await start(tmp_path, clock)
    await dead.desk.logs.take([record(at=clock.now, ids=("resp-9",))])
    await dead.desk.store.flush()
    await crash(dead)

    async with engine(tmp_path, clock) as rig:
        await rig.pass_time(31)
        found = await rig.records()

    assert [(e.id, e.input_tokens) for e in found] == [("log:k1", 500)]


async def test_a_title_that_is_about_a_session_names_it(tmp_path: Path) -> None:
    note = record(
        usage=Usage(),
        reported=False,
        ids=(),
        title="Fix sk-proj-abcdefghijklmnopqrstuvwxyz0123456789ABCD",
        folder="/home/a/p",
        client_session_id=CODEX["session_id"],
    )
    async with engine(tmp_path) as rig:
        exchange = await call(rig, usage=True)
        await rig.desk.logs.take([note])
        session = rig.desk.keeper.book.session(exchange.session_id or "")

    assert session is not None
    assert session.name is not None
    assert session.name.startswith("Fix sk-")
    assert "abcdefgh" not in session.name
    assert session.folder == "/home/a/p"


async def test_secrets_in_a_record_are_not_kept(tmp_path: Path) -> None:
    key = "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789ABCD"
    problem = Problem("auth", f"Incorrect API key provided: {key}")
    async with engine(tmp_path) as rig:
        await rig.desk.logs.take([record(ids=("r",), usage=Usage(), problem=problem, title=key)])
        await rig.desk.logs.expire(datetime.max.replace(tzinfo=UTC))
        found = await rig.records()

    assert found[0].error is not None
    assert not files_with(tmp_path, key)


async def test_the_learner_learns_from_a_report_that_only_a_log_had(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        for i in range(4):
            exchange = await call(rig, response_id=f"resp-{i}")
            assert len(rig.desk.lessons) == 1
            await rig.desk.logs.take(
                [record(f"k{i}", ids=(f"resp-{i}",), at=exchange.ended_at, usage=Usage(input_tokens=700))]
            )
            assert len(rig.desk.lessons) == 0
        last = await call(rig, response_id="resp-9")
        await rig.pass_time(5)
        await rig.desk.store.flush()
        kept = await rig.desk.store.learner()

    assert last.estimated_input_tokens == pytest.approx(700, rel=0.2)
    assert kept


async def test_the_learner_does_not_learn_from_a_client_own_count(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        first = await call(rig)
        await rig.desk.logs.take([record(ids=("resp-1",), reported=False, usage=Usage(input_tokens=9000))])
        last = await call(rig, response_id="resp-2")

    assert last.estimated_input_tokens == first.estimated_input_tokens


async def test_what_may_be_learned_later_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kimi_mitm.engine.lessons._MOST", 3)
    async with engine(tmp_path) as rig:
        for i in range(6):
            await call(rig, response_id=f"resp-{i}")
        assert len(rig.desk.lessons) == 3
        monkeypatch.setattr("kimi_mitm.engine.lessons._MOST_BYTES", 10)
        await call(rig, response_id="resp-9")
        assert len(rig.desk.lessons) == 0


async def test_a_record_that_trips_us_is_said_once_and_the_next_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with engine(tmp_path) as rig:
        exchange = await call(rig)
        good = rig.desk.logs.joiner.reading

        def joiner(reading: Reading) -> Any:
            if reading.key.startswith("bad"):
                raise TypeError("ours")
            return good(reading)

        monkeypatch.setattr("kimi_mitm.fusion.join.Joiner.reading", lambda self, reading: joiner(reading))
        await rig.desk.logs.take([record("bad1"), record("bad2"), record(ids=("resp-1",))])
        after = await rig.record(exchange.id)

    assert after.input_tokens == 500
    assert len(rig.downward.words()) == 1
    assert "a record of a log could not be taken in (TypeError" in rig.downward.words()[0]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Somebody's home with Codex' folder."""
    folder = tmp_path / "home" / ".codex" / "sessions" / "2026" / "03" / "01"
    folder.mkdir(parents=True)
    for name in list(os.environ):
        if name.startswith(("CODEX", "CLAUDE")):
            monkeypatch.delenv(name)
    return tmp_path / "home"


def rollout(home: Path, at: datetime) -> Path:
    def line(kind: str, payload: dict[str, Any]) -> str:
        return json.dumps(
            {"timestamp": at.isoformat().replace("+00:00", "Z"), "type": kind, "payload": payload}
        )

    usage = {"input_tokens": 900, "cached_input_tokens": 100, "output_tokens": 30, "total_tokens": 930}
    lines = [
        line("session_meta", {"id": CODEX["session_id"], "cwd": "/home/a/p", "cli_version": "0.63.0"}),
        line("turn_context", {"model": "gpt-5", "cwd": "/home/a/p"}),
        line(
            "event_msg",
            {"type": "token_count", "info": {"total_token_usage": usage, "last_token_usage": usage}},
        ),
    ]
    path = home / ".codex/sessions/2026/03/01" / f"rollout-2026-03-01T12-00-00-{CODEX['session_id']}.jsonl"
    path.write_text("".join(f"{entry}\n" for entry in lines))
    return path


async def test_logs_are_followed_and_a_restart_neither_misses_nor_repeats(tmp_path: Path, home: Path) -> None:
    settings = {"logs": ("codex",), "logs_home": str(home)}
    async with engine(tmp_path, **settings) as rig:
        logs = rig.desk.logs._logs
        assert logs is not None
        await logs.started.wait()
        rollout(home, datetime.now(UTC))
        await until(lambda: rig.desk.logs.joiner._waiting)
        health = rig.desk.logs.health()
    async with engine(tmp_path, **settings) as rig:
        logs = rig.desk.logs._logs
        assert logs is not None
        await logs.started.wait()
        found = await rig.records()
        assert not rig.desk.logs.joiner._waiting

    assert [(h.name, h.files) for h in health] == [("codex", 1)]
    assert [(e.source, e.input_tokens, e.cache_read_tokens) for e in found] == [(Source.LOGS, 900, 100)]


async def test_a_source_that_there_is_not_is_said_and_the_rest_goes_on(tmp_path: Path) -> None:
    async with engine(tmp_path, logs=("nosuch",)) as rig:
        await rig.chat()

    assert [w for w in rig.downward.words() if w.startswith("kimi_logs: no such log source: nosuch")]


async def test_following_that_fails_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def follow(*args: object) -> None:
        raise TypeError("ours")

    monkeypatch.setattr("kimi_mitm.logs.follow.Logs.follow", follow)
    async with engine(tmp_path, logs=("codex",), logs_home=str(tmp_path)) as rig:
        await rig.chat()

    assert [w for w in rig.downward.words() if "no longer followed (TypeError" in w]


async def test_open_exchanges_of_a_dead_engine_are_no_reason_to_lose_a_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer was cut by a kill; the client's log has its figures."""
    clock = Clock()
    monkeypatch.setattr(owner, "this_process", lambda: "999999999@1")
    dead = await start(tmp_path, clock)
    await dead.open(
        {"model": "gpt-5", "stream": True, "messages": []}, headers=CODEX, at=clock.now.timestamp() - 5
    )
    await crash(dead)
    monkeypatch.undo()
    async with engine(tmp_path, clock) as rig:
        await rig.desk.logs.take([record(at=clock.now, client_session_id=CODEX["session_id"])])
        await rig.pass_time(31)
        found = await rig.records()

    assert [(e.error is not None and e.error.type, e.input_tokens) for e in found] == [("aborted", 500)]


async def test_a_record_that_changes_no_figure_is_no_second_completion(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        before = await call(rig, usage=True)
        await rig.desk.logs.take([record(ids=("resp-1",), usage=Usage(input_tokens=480, output_tokens=39))])
        completed = rig.events("exchange:completed")
        after = await rig.record(before.id)

    assert len(completed) == 1
    assert after.notes["joined_by"] == "id"


async def test_a_log_names_the_client_that_hid_behind_a_library(tmp_path: Path) -> None:
    library = {"user-agent": "OpenAI/Python 2.20.0"}
    async with engine(tmp_path) as rig:
        before = await call(rig, usage=True, headers=library)
        await rig.desk.logs.take(
            [record(client="llm", client_version="0.36", client_session_id="c7", ids=("resp-1",), log="llm")]
        )
        after = await rig.record(before.id)

    assert before.client == "openai-python"
    assert (after.client, after.client_version, after.client_session_id) == ("llm", "0.36", "c7")


async def test_a_record_beside_an_exchange_is_left_to_the_next_run_and_tied_there(tmp_path: Path) -> None:
    """The proxy ended right after the client: the line with the id was not read in time."""
    clock = Clock()
    async with engine(tmp_path, clock) as rig:
        seen = await call(rig)
        unnamed = record(client_session_id="another name of the session")
        await rig.desk.logs.take([unnamed])
    clock.wait(4 * 3600)
    async with engine(tmp_path, clock) as rig:
        left = [e.id for e in await rig.records()]
        await rig.desk.logs.take([replace(unnamed, ids=("resp-1",))])
        await rig.pass_time(60)
        found = await rig.records()

    assert left == [e.id for e in found] == [seen.id]
    assert (found[0].via, found[0].input_tokens) == ("logs", 500)


async def test_what_was_left_to_the_next_run_and_is_of_no_exchange_becomes_one_there(tmp_path: Path) -> None:
    clock = Clock()
    async with engine(tmp_path, clock) as rig:
        seen = await call(rig)
        await rig.desk.logs.take([record(client_session_id="another session")])
    clock.wait(4 * 3600)
    for _ in range(2):
        async with engine(tmp_path, clock) as rig:
            await rig.pass_time(60)
            found = await rig.records()

    assert sorted(e.id for e in found) == sorted([seen.id, "log:k1"])


@pytest.mark.parametrize("other", [{"client": "aider"}, {"second": -20.0}, {"second": 30.0}])
async def test_a_record_beside_no_exchange_of_its_client_is_one_when_the_proxy_ends(
    tmp_path: Path, other: dict[str, Any]
) -> None:
    async with engine(tmp_path) as rig:
        seen = await call(rig)
        await rig.desk.logs.take([record(**{"client_session_id": "another session", **other})])
    async with engine(tmp_path) as rig:
        found = await rig.records()

    assert sorted(e.id for e in found) == sorted([seen.id, "log:k1"])


@pytest.mark.parametrize("ids", [(), ("resp-9",)])
@pytest.mark.parametrize("restart", [False, True])
async def test_a_record_that_is_an_exchange_changes_nothing_when_it_comes_again(
    tmp_path: Path, ids: tuple[str, ...], restart: bool
) -> None:
    clock = Clock()
    again = record(ids=ids)
    rig = await start(tmp_path, clock)
    await rig.desk.logs.take([again])
    await rig.desk.logs.expire(datetime.max.replace(tzinfo=UTC))
    before = await rig.records()
    if restart:
        await rig.desk.close()
        clock.wait(9 * 3600)
        rig = await start(tmp_path, clock)
    await rig.desk.logs.take([again])
    await rig.desk.logs.expire(datetime.max.replace(tzinfo=UTC))
    after = await rig.records()
    await rig.desk.close()

    assert [(e.source, e.via) for e in before] == [(Source.LOGS, None)]
    assert after == before


async def test_a_record_of_the_wire_stays_there_when_it_comes_again_much_later(tmp_path: Path) -> None:
    clock = Clock()
    async with engine(tmp_path, clock) as rig:
        await call(rig)
        await rig.desk.logs.take([record()])
        before = await rig.records()
    clock.wait(9 * 3600)
    async with engine(tmp_path, clock) as rig:
        await rig.desk.logs.take([record()])
        await rig.desk.logs.expire(datetime.max.replace(tzinfo=UTC))
        after = await rig.records()

    assert before[0].notes["joined_by"] == "time"
    assert after == before


async def test_an_exchange_of_an_earlier_runs_log_gives_way_to_the_wires(tmp_path: Path) -> None:
    clock = Clock()
    async with engine(tmp_path, clock) as rig:
        seen = await call(rig)
        await rig.desk.logs.take([record(client_session_id="another session")])
        await rig.desk.logs.expire(datetime.max.replace(tzinfo=UTC))
        assert len(await rig.records()) == 2
    async with engine(tmp_path, clock) as rig:
        await rig.desk.logs.open(since=AT - timedelta(hours=1))
        await rig.desk.logs.take([record(ids=("resp-1",))])
        found = await rig.records()

    assert [e.id for e in found] == [seen.id]
