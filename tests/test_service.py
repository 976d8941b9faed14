"""Every route of the control endpoint over real HTTP, answered by the whole engine."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.core.result import Ok

from kimi_mitm import __version__, link
from kimi_mitm.records import Reading, Source, Usage
from kimi_mitm.render import exchange_json, instant
from tests.engine_rig import EPOCH, Rig, chat_answer, engine

ANY_PORT = ("127.0.0.1", 0)
BOUNDED = settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@asynccontextmanager
async def served(folder: Path, **more: Any) -> AsyncIterator[tuple[Rig, httpx.AsyncClient]]:
    """An engine with its endpoint on a free port, and somebody who asks."""
    async with engine(folder, control=ANY_PORT, **more) as rig:
        address = rig.desk.door.address
        assert address is not None
        base = f"http://{address[0]}:{address[1]}"
        async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=60) as client:
            yield rig, client


async def get(client: httpx.AsyncClient, path: str, **params: Any) -> Any:
    answer = await client.get(path, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_health_says_how_things_are(tmp_path: Path) -> None:
    async with served(tmp_path) as (rig, client):
        await rig.chat()
        rig.clock.wait(90)
        health = await get(client, "/health")

    assert (health["status"], health["store"], health["version"]) == ("ok", "ok", __version__)
    assert (health["active_sessions"], health["exchanges"], health["dropped"]) == (1, 1, 0)
    assert health["uptime_s"] == 90
    assert health["warnings"] == []


async def test_health_without_a_store_is_503_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "kimi.db").write_text("Dear diary,\n" * 500)
    async with served(tmp_path) as (_, client):
        answer = await client.get("/health")
        listed = await client.get("/api/exchanges")
        flag = await client.post("/api/auto-session/toggle", json={})

    assert answer.status_code == 503
    assert (answer.json()["status"], answer.json()["store"]) == ("failing", "unwritable")
    assert answer.json()["warnings"] == ["The store: the database can't be opened: file is not a database."]
    assert (listed.status_code, listed.json()["error"]["code"]) == (503, "no_store")
    assert flag.json()["enabled"] is False


async def test_health_shows_what_was_lost_passed_through_and_tripped_over(tmp_path: Path) -> None:
    async with served(tmp_path) as (rig, client):
        rig.intake.handle(link.Lost(bodies=2, frames=1, hurried=3, restarts=1), b"")
        rig.intake.handle(link.Tls(host="api.pinned.com", at=EPOCH), b"")
        rig.desk.faulty("TypeError in draft.py:1")
        await rig.settle()
        health = await get(client, "/health")

    assert (health["status"], health["dropped"]) == ("degraded", 3)
    assert len(health["warnings"]) == 5
    assert "api.pinned.com" in " ".join(health["warnings"])
    assert "TypeError in draft.py:1" in " ".join(health["warnings"])


async def test_the_flag_is_read_set_toggled_and_remembered(tmp_path: Path) -> None:
    async with served(tmp_path) as (rig, client):
        assert (await get(client, "/api/auto-session"))["enabled"] is True
        put = await client.put("/api/auto-session", json={"enabled": False}, headers={"x-user-id": "alice"})
        assert (put.json()["enabled"], put.json()["updated_by"]) == (False, "alice")
        toggled = await client.post("/api/auto-session/toggle")
        assert toggled.json()["enabled"] is True
        old = await client.post("/api/sessions/toggle-auto", json={"enabled": False})
        assert old.json()["enabled"] is False
        status = await get(client, "/api/sessions/auto-status")
        history = await get(client, "/api/auto-session/history")
    async with served(tmp_path) as (_, client):
        after = await get(client, "/api/auto-session")

    assert status["enabled"] is after["enabled"] is False
    assert [h["enabled"] for h in history["history"]] == [False, True, False]
    assert len(rig.events("auto_session:toggled")) == 3


async def test_a_wrong_body_is_422_and_changes_nothing(tmp_path: Path) -> None:
    async with served(tmp_path) as (rig, client):
        for body in ({}, {"enabled": "yes"}, {"enabled": 1}, {"enabled": True, "more": 1}, [], "x", None):
            answer = await client.put("/api/auto-session", json=body)
            assert answer.status_code == 422, body
            assert set(answer.json()["error"]) == {"code", "message"}

    assert rig.events("auto_session:toggled") == []


async def test_the_admin_holds_the_flag_for_one_provider_or_all(tmp_path: Path) -> None:
    async with served(tmp_path, control_admin_token="adm1n-t0ken") as (_, client):
        admin = {"authorization": "Bearer adm1n-t0ken"}
        one = await client.put("/api/auto-session/providers/moonshotai", json={"enabled": False})
        assert one.json()["providers"] == {"moonshotai": False}
        refused = await client.put("/api/auto-session/forced", json={"enabled": True})
        assert refused.status_code == 403
        forced = await client.put("/api/auto-session/forced", json={"enabled": False}, headers=admin)
        assert (forced.json()["enabled"], forced.json()["forced"]) == (False, True)
        others = await client.post("/api/auto-session/toggle")
        assert (others.status_code, others.json()["error"]["code"]) == (403, "forced")
        released = await client.delete("/api/auto-session/forced", headers=admin)
        assert released.json()["forced"] is False
        gone = await client.delete("/api/auto-session/providers/moonshotai")
        assert gone.json()["providers"] == {}


async def test_what_the_flag_did_is_counted(tmp_path: Path) -> None:
    async with served(tmp_path) as (rig, client):
        for model in ("gpt-4o", "claude-sonnet-4-5"):
            await rig.chat(model)
        await client.put("/api/auto-session", json={"enabled": False})
        await rig.chat("gpt-4o")
        counts = (await get(client, "/api/auto-session"))["counts"]

    assert counts == {"created": 1, "resumed": 0, "suppressed": 1}


async def test_a_session_is_made_once_for_a_user_and_config_and_found_again(tmp_path: Path) -> None:
    wanted = {"config_id": "team", "user_id": "alice", "name": "Our work"}
    async with served(tmp_path) as (_, client):
        first = await client.post("/api/sessions", json=wanted)
        again = await client.post("/api/sessions", json=wanted)
        other = await client.post("/api/sessions", json={**wanted, "user_id": "bob"})
        many = await asyncio.gather(
            *(client.post("/api/sessions", json={"config_id": "race", "user_id": "a"}) for _ in range(10))
        )
    async with served(tmp_path) as (_, client):
        restarted = await client.post("/api/sessions", json=wanted)
        session_id = restarted.json()["session_id"]
        await client.post(f"/api/sessions/{session_id}/end")
        ended = await client.post("/api/sessions", json=wanted)

    assert (first.status_code, again.status_code, other.status_code) == (201, 200, 201)
    assert first.json()["session_id"] == again.json()["session_id"] == restarted.json()["session_id"]
    assert (first.json()["config_id"], first.json()["user_id"]) == ("team", "alice")
    assert len({a.json()["session_id"] for a in many}) == 1
    assert sorted(a.status_code for a in many) == [200] * 9 + [201]
    assert restarted.status_code == 200
    assert ended.status_code == 201
    assert ended.json()["session_id"] != session_id


async def test_sessions_are_listed_filtered_shown_switched_ended_and_cleared(tmp_path: Path) -> None:
    async with served(tmp_path) as (rig, client):
        first = (await rig.chat("gpt-4o", user="alice")).session_id
        second = (await rig.chat("claude-sonnet-4-5", user="alice")).session_id
        bob = (await rig.chat("gpt-4o", user="bob")).session_id

        async def listed(**query: Any) -> set[str]:
            return {s["session_id"] for s in (await get(client, "/api/sessions", **query))["sessions"]}

        assert await listed() == {first, second, bob}
        assert await listed(user="alice") == {first, second}
        assert await listed(provider="openai") == {first, bob}
        assert await listed(status="ended") == set()
        active = (await get(client, "/api/sessions/active"))["sessions"]
        assert {s["session_id"] for s in active} == {second, bob}
        back = await client.post(f"/api/sessions/{first}/activate")
        assert (back.status_code, back.json()["current"]) == (200, True)
        assert (await rig.chat("gpt-4o", user="alice")).session_id == first
        shown = await get(client, f"/api/sessions/{first}")
        assert shown["statistics"]["requests"] == 2
        assert shown["statistics"]["total_prompt_tokens"] == 24
        ended = await client.post(f"/api/sessions/{first}/end")
        assert ended.json()["session_status"] == "ended"
        assert ended.json()["archive_id"].startswith("alice/")
        conflict = await client.post(f"/api/sessions/{first}/activate")
        assert (conflict.status_code, conflict.json()["error"]["code"]) == (409, "ended")
        cleared = await client.delete(f"/api/sessions/{second}")
        assert cleared.status_code == 204
        assert (await client.get(f"/api/sessions/{second}")).status_code == 404
        assert await listed() == {first, bob}
        for path in ("/api/sessions/s_none", "/api/sessions/..%2f..%2fetc"):
            assert (await client.get(path)).status_code in (404, 422)


async def test_sessions_are_paged(tmp_path: Path) -> None:
    async with served(tmp_path) as (rig, client):
        for i in range(7):
            rig.clock.wait(1)
            await rig.chat(user=f"user{i}")
        found, after = [], None
        while True:
            page = await get(client, "/api/sessions", limit=3, **({"after": after} if after else {}))
            found += [s["user_id"] for s in page["sessions"]]
            after = page["next"]
            if after is None:
                break
        wrong = await client.get("/api/sessions", params={"after": "zzz"})

    assert found == [f"user{i}" for i in range(6, -1, -1)]
    assert wrong.status_code == 404


async def test_exchanges_are_the_records_that_export_writes(tmp_path: Path) -> None:
    async with served(tmp_path) as (rig, client):
        records = [await rig.chat("gpt-4o"), await rig.chat("claude-sonnet-4-5"), await rig.chat("gpt-4o")]
        page = await get(client, "/api/exchanges")
        first = await get(client, f"/api/exchanges/{records[0].id}")
        some = await get(client, "/api/exchanges", session=records[1].session_id)
        others = await get(client, "/api/exchanges", provider="openai", limit=1)
        more = await get(client, "/api/exchanges", provider="openai", limit=1, after=others["next"])
        newest = await get(client, "/api/exchanges", order="desc", limit=1)
        missing = await client.get("/api/exchanges/nothing")
        bad = await client.get("/api/exchanges", params={"after": "nothing"})

    assert page == {"exchanges": [exchange_json(r) for r in records], "next": None}
    assert first == exchange_json(records[0])
    assert [e["id"] for e in some["exchanges"]] == [records[1].id]
    assert [e["id"] for e in others["exchanges"] + more["exchanges"]] == [records[0].id, records[2].id]
    assert newest["exchanges"][0]["id"] == records[2].id
    assert (missing.status_code, bad.status_code) == (404, 404)


async def test_statistics_add_up(tmp_path: Path) -> None:
    async with served(tmp_path) as (rig, client):
        for model in ("gpt-4o", "gpt-4o", "claude-sonnet-4-5"):
            last = await rig.chat(model)
        n = await rig.open({"model": "gpt-4o", "messages": []})
        await rig.end(n, error="connection refused")
        stats = await get(client, "/api/stats")
        one = await get(client, "/api/stats", session=last.session_id)
        later = await get(client, "/api/stats", since=instant(last.started_at + timedelta(hours=1)))

    assert (stats["requests"], stats["errors"], stats["max_tokens"], stats["mean_tokens"]) == (4, 1, 15, 15)
    assert (stats["total_prompt_tokens"], stats["total_completion_tokens"]) == (36, 9)
    assert stats["estimate_accuracy"]["requests"] == 3
    assert [(p["provider"], p["requests"]) for p in stats["by_provider"]] == [("openai", 3), ("anthropic", 1)]
    assert [(m["model"], m["requests"]) for m in stats["by_model"]] == [
        ("gpt-4o", 3),
        ("claude-sonnet-4-5", 1),
    ]
    assert (one["requests"], one["total_prompt_tokens"]) == (1, 12)
    assert (later["requests"], later["total_prompt_tokens"], later["cost_usd"]) == (0, None, None)


async def test_fusion_shows_the_rule_and_every_candidate(tmp_path: Path) -> None:
    async with served(tmp_path) as (rig, client):
        nothing = await client.get("/api/fusion")
        record = await rig.chat("gpt-4o")
        reading = Reading(
            source=Source.LOGS,
            reported=True,
            at=record.ended_at or record.started_at,
            key="k",
            origin="/home/a/log.jsonl:7",
            ids=(record.response_id or "",),
            usage=Usage(input_tokens=11),
            client=record.client,
        )
        await rig.desk.logs.take([reading])
        fused = await get(client, "/api/fusion", session=record.session_id)
        latest = await get(client, "/api/fusion")

    assert nothing.status_code == 404
    assert (fused["reading"]["source"], fused["reading"]["rule"]) == ("usage", "reported on the wire")
    assert fused["reading"]["input_tokens"] == 12
    assert {c["source"] for c in fused["candidates"]} == {"usage", "proxy", "logs"}
    assert latest == fused


async def test_metrics_have_prometheus_names(tmp_path: Path) -> None:
    async with served(tmp_path) as (rig, client):
        await rig.chat("gpt-4o")
        await rig.chat("claude-sonnet-4-5")
        await rig.open({"model": "gpt-4o", "messages": []})
        text = (await client.get("/metrics")).text

    labels = 'model="gpt-4o",outcome="ok",provider="openai"'
    assert f"kimi_exchanges_total{{{labels}}} 1.0" in text
    assert 'kimi_tokens_total{kind="input",model="gpt-4o",provider="openai"} 12.0' in text
    for line in (
        "kimi_exchanges_in_flight 1.0",
        "kimi_sessions_active 3.0",
        "kimi_auto_session_created_total 2.0",
        "kimi_auto_session_enabled 1.0",
        "kimi_store_writable 1.0",
        "kimi_dropped_total 0.0",
        "kimi_queue_depth 0.0",
        "kimi_event_readers 0.0",
    ):
        assert line in text
    assert "kimi_estimate_error_ratio{" in text
    assert "kimi_cost_usd_total{" in text


async def test_events_reach_a_reader_as_they_happen(tmp_path: Path) -> None:
    async with served(tmp_path) as (rig, client), client.stream("GET", "/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        record = asyncio.create_task(rig.chat())
        kinds = []
        async with asyncio.timeout(60):
            async for line in stream.aiter_lines():
                if line.startswith("event: "):
                    kinds.append(line.removeprefix("event: "))
                if kinds[-1:] == ["exchange:completed"]:
                    break
        await record

    assert [k for k in kinds if k != "heartbeat"] == [
        *("session:started", "exchange:started", "exchange:completed"),
    ]


async def test_the_page_its_documents_and_the_schema_are_there(tmp_path: Path) -> None:
    async with served(tmp_path) as (_, client):
        for path in ("/", "/docs", "/openapi.json"):
            assert (await client.get(path)).status_code == 200


async def test_with_a_token_everything_but_health_needs_it(tmp_path: Path) -> None:
    async with served(tmp_path, control_token="t0ken") as (_, client):
        assert (await client.get("/health")).status_code == 200
        assert (await client.get("/api/stats")).status_code == 401
        allowed = await client.get("/api/stats", headers={"authorization": "Bearer t0ken"})
        assert allowed.status_code == 200


async def test_a_foreign_host_is_turned_away(tmp_path: Path) -> None:
    async with served(tmp_path) as (_, client):
        assert (await client.get("/api/stats", headers={"host": "evil.example"})).status_code == 403


async def test_a_busy_port_is_a_warning_and_everything_else_goes_on(tmp_path: Path) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        async with engine(tmp_path, control=("127.0.0.1", port)) as rig:
            await rig.chat()
            words = rig.downward.words()
            ready = next(m for m in rig.downward.heard if isinstance(m, link.Ready))

    assert words == [f"the control endpoint is off, 127.0.0.1:{port} can't be had: Address already in use"]
    assert ready.control is None


async def test_the_port_is_free_again_at_the_end(tmp_path: Path) -> None:
    for visited in (True, False):
        async with served(tmp_path) as (rig, client):
            address = rig.desk.door.address
            if visited:
                await get(client, "/health")
        assert address is not None
        with socket.socket() as again:
            again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            again.bind(address)


def test_the_web_framework_is_loaded_at_the_first_visit_not_before(tmp_path: Path) -> None:
    script = f"""
import asyncio, json, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from tests.engine_rig import engine

HEAVY = ("fastapi", "uvicorn", "pydantic", "alembic")

def loaded():
    return [name for name in HEAVY if name in sys.modules]

async def main():
    async with engine(Path({str(tmp_path)!r}), control=("127.0.0.1", 0)) as rig:
        await rig.chat()
        before = loaded()
        reader, writer = await asyncio.open_connection(*rig.desk.door.address)
        writer.write(b"GET /health HTTP/1.1\\r\\nHost: 127.0.0.1\\r\\nConnection: close\\r\\n\\r\\n")
        answer = await reader.read()
        writer.close()
        print(json.dumps([before, loaded(), answer[:15].decode()]))

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr

    before, after, status = json.loads(done.stdout)
    assert [name for name in before if name != "pydantic"] == []
    assert {"fastapi", "uvicorn"} <= set(after)
    assert status == "HTTP/1.1 200 OK"


async def test_schemathesis_finds_nothing_in_the_real_service(tmp_path: Path) -> None:
    async with served(tmp_path) as (rig, client):
        for model in ("gpt-4o", "claude-sonnet-4-5"):
            await rig.chat(model)
        n = await rig.open({"model": "gpt-4o", "messages": []})
        await rig.answer(n, chat_answer())
        await rig.end(n)
        document = await get(client, "/openapi.json")
        base = str(client.base_url)
        failed = await asyncio.to_thread(_walk, document, base)

    assert failed == []


def _walk(document: dict[str, Any], base: str) -> list[str]:
    """Bounded: a few generated calls to each operation."""
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=base)
    failed: list[str] = []
    for result in schema.get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()

        @BOUNDED
        @given(case=operation.as_strategy())
        def check(case: schemathesis.Case) -> None:
            case.call_and_validate(base_url=base)

        try:
            check()
        except Exception as e:
            failed.append(f"{operation.method} {operation.path}: {e}"[:2000])
    return failed


@pytest.mark.parametrize("path", ["/health", "/api/exchanges", "/api/sessions", "/metrics"])
async def test_answers_are_quick_while_exchanges_come_in(tmp_path: Path, path: str) -> None:
    async with served(tmp_path) as (rig, client):
        await client.get(path)

        async def traffic() -> None:
            for _ in range(30):
                await rig.chat()

        busy = asyncio.create_task(traffic())
        while not busy.done():
            assert (await client.get(path)).status_code == 200
        await busy
