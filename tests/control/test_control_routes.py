"""What each route answers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import httpx
import pytest
from fake_service import START, FakeService, settled

from kimi_mitm.control.service import ControlError
from kimi_mitm.records import Composition, EstimateKind, Exchange, Problem
from kimi_mitm.render import exchange_json


def exchange(number: int = 1, **more: object) -> Exchange:
    made = Exchange(
        id=f"x_{number:04d}",
        started_at=START + timedelta(seconds=number),
        provider="moonshotai",
        model="kimi-k2.5",
        estimated_input_tokens=1000 * number,
        estimate_kind=EstimateKind.CALIBRATED,
        composition=Composition(user=1000 * number),
        cost_usd=Decimal("0.0000001"),
        session_id="s_0001",
    )
    return replace(made, **more)


# The flag


async def test_the_flag_can_be_read(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/auto-session")

    assert answer.status_code == 200
    assert answer.json()["enabled"] is True
    assert answer.json()["updated_at"] is None
    assert answer.json()["updated_by"] is None


async def test_setting_the_flag_says_when_and_by_whom(client: httpx.AsyncClient) -> None:
    answer = await client.put("/api/auto-session", json={"enabled": False}, headers={"X-User-Id": "alice"})

    assert answer.status_code == 200
    assert answer.json()["enabled"] is False
    assert answer.json()["updated_by"] == "alice"
    assert answer.json()["updated_at"] == "2026-03-01T12:00:00.000000Z"
    assert (await client.get("/api/auto-session")).json() == answer.json()


async def test_toggling_flips_it_each_time(client: httpx.AsyncClient) -> None:
    answers = [(await client.post("/api/auto-session/toggle")).json()["enabled"] for _ in range(3)]

    assert answers == [False, True, False]


async def test_the_history_is_newest_first_and_limited(client: httpx.AsyncClient) -> None:
    for _ in range(3):
        await client.post("/api/auto-session/toggle")
    history = (await client.get("/api/auto-session/history?limit=2")).json()["history"]

    assert [change["enabled"] for change in history] == [False, True]


async def test_the_older_names_do_the_same(client: httpx.AsyncClient) -> None:
    changed = await client.post("/api/sessions/toggle-auto", json={"enabled": False})

    assert changed.json()["enabled"] is False
    assert (await client.get("/api/sessions/auto-status")).json() == changed.json()
    assert (await client.get("/api/auto-session")).json() == changed.json()


async def test_a_provider_can_have_its_own_value_and_lose_it(client: httpx.AsyncClient) -> None:
    given = await client.put("/api/auto-session/providers/x-ai", json={"enabled": False})
    taken = await client.delete("/api/auto-session/providers/x-ai")

    assert given.json()["providers"] == {"x-ai": False}
    assert given.json()["enabled"] is True
    assert taken.json()["providers"] == {}


@pytest.mark.parametrize(
    "body",
    [
        "{}",
        '{"enabled": 1}',
        '{"enabled": "true"}',
        '{"enabled": null}',
        '{"enabled": []}',
        '{"enabled": NaN}',
        '{"enabled": true, "other": 1}',
        '{"Enabled": true}',
        "[]",
        "true",
        '"x"',
        "null",
        "{",
        "",
        '{"enabled": true, "\\ud800": 1}',
        '{"a":' * 5000 + "1" + "}" * 5000,
        '{"enabled": ' + "1" * 5000 + "}",
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/api/auto-session"),
        ("POST", "/api/sessions/toggle-auto"),
        ("PUT", "/api/auto-session/providers/openai"),
    ],
)
async def test_a_wrong_body_changes_nothing(
    client: httpx.AsyncClient, service: FakeService, method: str, path: str, body: str
) -> None:
    answer = await client.request(method, path, content=body, headers={"content-type": "application/json"})

    assert answer.status_code in (400, 422)
    assert set(answer.json()) == {"error"}
    assert set(answer.json()["error"]) == {"code", "message"}
    assert service.history == []


async def test_an_unknown_field_is_named_and_its_value_is_not(client: httpx.AsyncClient) -> None:
    answer = await client.put("/api/auto-session", json={"enabled": True, "wrong": "secret-value"})

    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "invalid"
    assert "wrong" in answer.json()["error"]["message"]
    assert "secret-value" not in answer.text


@pytest.mark.parametrize("body", ['{"enabled": true}', "[1]", '"x"'])
async def test_a_toggle_takes_no_fields(client: httpx.AsyncClient, service: FakeService, body: str) -> None:
    answer = await client.post(
        "/api/auto-session/toggle", content=body, headers={"content-type": "application/json"}
    )

    assert answer.status_code == 422
    assert service.history == []


@pytest.mark.parametrize("content", [b"", b"{}"])
async def test_a_toggle_may_have_an_empty_body(client: httpx.AsyncClient, content: bytes) -> None:
    answer = await client.post(
        "/api/auto-session/toggle", content=content, headers={"content-type": "application/json"}
    )

    assert answer.status_code == 200


@pytest.mark.parametrize("name", ["", "a\tb", "é" * 80])
async def test_a_callers_name_is_tamed(client: httpx.AsyncClient, name: str) -> None:
    answer = await client.put(
        "/api/auto-session", json={"enabled": True}, headers={"X-User-Id": name.encode("latin-1", "replace")}
    )

    by = answer.json()["updated_by"]
    assert by == "api" or (by.isprintable() and len(by) <= 64)


# Sessions


async def test_get_or_create_creates_once(client: httpx.AsyncClient) -> None:
    wanted = {"config_id": "team", "user_id": "alice", "name": "n", "provider": "openai", "model": "gpt-5"}
    first = await client.post("/api/sessions", json=wanted)
    second = await client.post("/api/sessions", json=wanted)

    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()
    assert {"session_id", "config_id", "user_id", "session_status", "updated_at"} <= set(first.json())
    assert first.json()["config_id"] == "team"


@pytest.mark.parametrize("how", ["end", "clear"])
async def test_after_the_end_a_new_one_is_created(client: httpx.AsyncClient, how: str) -> None:
    first = (await client.post("/api/sessions", json={"config_id": "c"})).json()["session_id"]
    if how == "end":
        await client.post(f"/api/sessions/{first}/end")
    else:
        await client.delete(f"/api/sessions/{first}")
    again = await client.post("/api/sessions", json={"config_id": "c"})

    assert again.status_code == 201
    assert again.json()["session_id"] != first


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"config_id": ""},
        {"config_id": 1},
        {"config_id": "a\u0000b"},
        {"config_id": "x" * 129},
        {"config_id": "a", "user_id": {}},
        {"config_id": "a", "provider": "../x"},
        {"config_id": "a", "extra": 1},
    ],
)
async def test_a_wrong_wish_creates_nothing(
    client: httpx.AsyncClient, service: FakeService, body: dict[str, object]
) -> None:
    answer = await client.post("/api/sessions", json=body)

    assert answer.status_code == 422
    assert service.known == {}


async def test_sessions_are_listed_by_filters_and_pages(
    client: httpx.AsyncClient, service: FakeService
) -> None:
    for number in range(5):
        service.add_session("alice" if number % 2 else "bob", "codex", "openai", "gpt-5")

    async def ids(query: str) -> list[str]:
        found = (await client.get(f"/api/sessions?{query}")).json()["sessions"]
        return [one["session_id"] for one in found]

    assert await ids("user=alice") == ["s_0004", "s_0002"]
    assert await ids("provider=openai&status=started") == ["s_0005", "s_0004", "s_0003", "s_0002", "s_0001"]
    assert await ids("status=ended") == []
    page = (await client.get("/api/sessions?limit=3")).json()
    assert await ids(f"limit=3&after={page['next']}") == ["s_0002", "s_0001"]


async def test_the_current_ones_are_one_per_user_and_client(
    client: httpx.AsyncClient, service: FakeService
) -> None:
    for user, tool in [("alice", "codex"), ("alice", "codex"), ("alice", "claude-code"), ("bob", "codex")]:
        service.add_session(user, tool, "openai", "gpt-5")

    found = (await client.get("/api/sessions/active")).json()["sessions"]
    hers = (await client.get("/api/sessions/active?user=alice")).json()["sessions"]

    assert sorted(one["session_id"] for one in found) == ["s_0002", "s_0003", "s_0004"]
    assert sorted(one["session_id"] for one in hers) == ["s_0002", "s_0003"]


async def test_switching_makes_it_current(client: httpx.AsyncClient, service: FakeService) -> None:
    service.add_session("alice", "codex", "openai", "gpt-5")
    service.add_session("alice", "codex", "x-ai", "grok-4")
    answer = await client.post("/api/sessions/s_0001/activate")

    assert answer.json()["current"] is True
    assert (await client.get("/api/sessions/s_0002")).json()["current"] is False


async def test_an_ended_one_cannot_be_switched_to(client: httpx.AsyncClient, service: FakeService) -> None:
    service.add_session("alice", "codex", "openai", "gpt-5")
    ended = await client.post("/api/sessions/s_0001/end")
    answer = await client.post("/api/sessions/s_0001/activate")

    assert ended.json()["session_status"] == "ended"
    assert ended.json()["archive_id"]
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "ended")


async def test_a_cleared_one_is_gone(client: httpx.AsyncClient, service: FakeService) -> None:
    service.add_session("alice", "codex", "openai", "gpt-5")
    answer = await client.delete("/api/sessions/s_0001")

    assert (answer.status_code, answer.content) == (204, b"")
    assert (await client.get("/api/sessions/s_0001")).status_code == 404
    assert (await client.delete("/api/sessions/s_0001")).status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/sessions/none"),
        ("POST", "/api/sessions/none/end"),
        ("POST", "/api/sessions/none/activate"),
        ("DELETE", "/api/sessions/none"),
        ("GET", "/api/exchanges/none"),
        ("GET", "/api/fusion?session=none"),
        ("GET", "/none"),
        ("GET", "/api/sessions/"),
        ("GET", "/static/none.js"),
    ],
)
async def test_what_is_not_there_is_404_in_the_same_shape(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    answer = await client.request(method, path)

    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


# Exchanges and figures


async def test_an_exchange_is_the_exports_object(client: httpx.AsyncClient, service: FakeService) -> None:
    full = settled(exchange(), 1012, 12, error=Problem("aborted", "left"), notes={"title": "t"})
    service.put_exchange(full, "exchange:completed")

    assert (await client.get("/api/exchanges/x_0001")).json() == exchange_json(full)
    assert (await client.get("/api/exchanges")).json() == {"exchanges": [exchange_json(full)], "next": None}


async def test_exchanges_come_oldest_first_page_by_page(
    client: httpx.AsyncClient, service: FakeService
) -> None:
    for number in range(1, 8):
        service.put_exchange(exchange(number), "exchange:started")
    seen: list[str] = []
    cursor = ""
    while True:
        page = (await client.get(f"/api/exchanges?limit=3{cursor}")).json()
        seen += [one["id"] for one in page["exchanges"]]
        if page["next"] is None:
            break
        cursor = f"&after={page['next']}"

    assert seen == [f"x_{number:04d}" for number in range(1, 8)]


async def test_exchanges_can_be_filtered_and_turned_round(
    client: httpx.AsyncClient, service: FakeService
) -> None:
    for number in range(1, 5):
        service.put_exchange(exchange(number, session_id=f"s_{number % 2}"), "exchange:started")

    async def ids(query: str) -> list[str]:
        return [one["id"] for one in (await client.get(f"/api/exchanges?{query}")).json()["exchanges"]]

    assert await ids("session=s_1") == ["x_0001", "x_0003"]
    assert await ids("order=desc&limit=2") == ["x_0004", "x_0003"]
    assert await ids("provider=openai") == []
    assert await ids("since=2026-03-01T12:00:03Z") == ["x_0003", "x_0004"]
    assert await ids("since=2026-03-01T12:00:03") == ["x_0003", "x_0004"]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=x",
        "limit=" + "9" * 5000,
        "after=%00",
        "order=up",
        "since=yesterday",
        "since=NaN",
        "since=0",
        "since=-1.5",
        "sesion=x",
        "provider=../etc",
        "session=" + "x" * 129,
    ],
)
async def test_a_wrong_query_is_422(client: httpx.AsyncClient, query: str) -> None:
    answer = await client.get(f"/api/exchanges?{query}")

    assert answer.status_code == 422
    assert set(answer.json()["error"]) == {"code", "message"}


async def test_a_cursor_from_elsewhere_is_404(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/exchanges?after=bm9wZQ==")

    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "no_such_page"


async def test_statistics_keep_unknown_apart_from_zero(
    client: httpx.AsyncClient, service: FakeService
) -> None:
    service.put_exchange(exchange(cost_usd=None), "exchange:started")
    stats = (await client.get("/api/stats")).json()

    assert stats["requests"] == 1
    assert stats["cost_usd"] is None
    assert stats["unpriced_requests"] == 1
    assert stats["total_prompt_tokens"] is None


async def test_statistics_are_by_provider_and_model(client: httpx.AsyncClient, service: FakeService) -> None:
    service.put_exchange(settled(exchange(), 1000, 12), "exchange:completed")
    stats = (await client.get("/api/stats?session=s_0001&since=2026-01-01T00:00:00Z")).json()

    assert stats["by_provider"][0]["provider"] == "moonshotai"
    assert stats["by_model"][0]["model"] == "kimi-k2.5"
    assert stats["cost_usd"] == "0.0000001"
    assert stats["estimate_accuracy"]["median_error"] == 0.0


async def test_fusion_shows_the_reading_and_its_candidates(
    client: httpx.AsyncClient, service: FakeService
) -> None:
    service.put_exchange(settled(exchange(), 1012, 12), "exchange:completed")
    fusion = (await client.get("/api/fusion")).json()

    assert fusion["reading"]["source"] == "usage"
    assert fusion["candidates"][0]["source"] == "proxy"


# Health, metrics, faults


async def test_health_has_the_contracts_fields(client: httpx.AsyncClient) -> None:
    answer = await client.get("/health")

    assert answer.status_code == 200
    assert {
        "status",
        "version",
        "uptime_s",
        "active_sessions",
        "exchanges",
        "queue_depth",
        "dropped",
        "store",
        "log_sources",
    } <= set(answer.json())


async def test_health_is_503_when_the_store_cannot_be_written(
    client: httpx.AsyncClient, service: FakeService
) -> None:
    service.store = "unwritable"
    answer = await client.get("/health")

    assert answer.status_code == 503
    assert answer.json()["store"] == "unwritable"


async def test_metrics_are_prometheus_text(client: httpx.AsyncClient) -> None:
    answer = await client.get("/metrics")

    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert 'kimi_exchanges_total{model="kimi-k2.5",outcome="ok",provider="moonshotai"} 0.0' in answer.text
    assert "# TYPE kimi_sessions_active gauge" in answer.text
    assert "not_in_the_table" not in answer.text


async def test_a_refusal_of_the_engine_is_passed_on(client: httpx.AsyncClient, service: FakeService) -> None:
    service.fail = ControlError(409, "busy", "Not now.")
    answer = await client.get("/api/auto-session")

    assert answer.status_code == 409
    assert answer.json() == {"error": {"code": "busy", "message": "Not now."}}


async def test_a_fault_of_ours_shows_nothing_of_us(
    client: httpx.AsyncClient, service: FakeService, caplog: pytest.LogCaptureFixture
) -> None:
    service.fail = RuntimeError("/home/alice/secret.db is broken")
    answer = await client.get("/api/stats")

    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal"
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert "secret.db is broken" in caplog.text


async def test_a_time_in_an_answer_is_utc(client: httpx.AsyncClient, service: FakeService) -> None:
    service.add_session("alice", "codex", "openai", "gpt-5")
    at = (await client.get("/api/sessions/s_0001")).json()["started_at"]

    assert at.endswith("Z")
    assert datetime.fromisoformat(at).tzinfo == UTC
