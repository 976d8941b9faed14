"""What attackers send, and what each of them gets."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from control_client import BASE, connect
from fake_service import FakeService
from fastapi import FastAPI

from kimi_mitm.control.app import create_app
from kimi_mitm.control.guard import MAX_BODY, MAX_HEAD, ControlSettings

JSON = {"content-type": "application/json"}
TOKEN = "correct horse battery staple"
ADMIN = "admin's own"


def code(answer: httpx.Response) -> str:
    assert set(answer.json()) == {"error"}
    return str(answer.json()["error"]["code"])


# Hosts


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1:8082",
        "localhost",
        "LOCALHOST:1",
        "[::1]",
        "[::1]:8082",
        "kimi.mitm",
        "kimi.mitm:80",
        "Kimi.Mitm",
    ],
)
async def test_our_own_names_are_served(client: httpx.AsyncClient, host: str) -> None:
    assert (await client.get("/health", headers={"host": host})).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8082",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "evil.example#127.0.0.1",
        "user@127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:x",
        "127.0.0.1:123456",
        "127.0.0.1 ",
        "127.0.0.2",
        "0.0.0.0",
        "[::]",
        "[::ffff:127.0.0.1]",
        "2130706433",
        "127.1",
        "kimi.mitm.",
        "kimi.mitm.evil.example",
        "localhost,evil.example",
        "",
    ],
)
@pytest.mark.parametrize("path", ["/", "/health", "/api/sessions", "/events", "/metrics", "/static/app.js"])
async def test_a_rebound_name_gets_nothing(client: httpx.AsyncClient, host: str, path: str) -> None:
    answer = await client.get(path, headers={"host": host})

    assert answer.status_code == 403
    assert code(answer) == "bad_host"


async def test_two_hosts_are_refused(client: httpx.AsyncClient) -> None:
    answer = await client.get("/health", headers=[("host", "localhost"), ("host", "evil.example")])

    assert answer.status_code == 403


async def test_beyond_loopback_any_name_is_served_to_who_has_the_token(service: FakeService) -> None:
    app = create_app(service, ControlSettings(token=TOKEN, loopback=False))
    async with connect(app) as client:
        headers = {"host": "devbox.lan:8082", "authorization": f"Bearer {TOKEN}"}

        assert (await client.get("/api/auto-session", headers=headers)).status_code == 200


def test_beyond_loopback_a_token_is_needed() -> None:
    with pytest.raises(ValueError, match="kimi_control_token"):
        ControlSettings(loopback=False)


# Other sites

CROSS = [
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
    {"sec-fetch-site": "nonsense"},
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": ""},
    {"origin": "http://127.0.0.1"},
    {"origin": "http://127.0.0.1:8083"},
    {"origin": "http://localhost:8082"},
    {"origin": "http://127.0.0.1:8082.evil.example"},
    {"origin": "https://evil.example", "sec-fetch-site": "same-origin"},
    {"origin": BASE, "sec-fetch-site": "cross-site"},
]
UNSAFE = [
    ("PUT", "/api/auto-session", '{"enabled": false}'),
    ("POST", "/api/auto-session/toggle", ""),
    ("POST", "/api/sessions/toggle-auto", '{"enabled": false}'),
    ("POST", "/api/sessions", '{"config_id": "x"}'),
    ("POST", "/api/sessions/s_0001/end", ""),
    ("POST", "/api/sessions/s_0001/activate", ""),
    ("DELETE", "/api/sessions/s_0001", ""),
]


@pytest.mark.parametrize("marks", CROSS)
@pytest.mark.parametrize(("method", "path", "body"), UNSAFE)
async def test_another_site_changes_nothing(
    client: httpx.AsyncClient,
    service: FakeService,
    marks: dict[str, str],
    method: str,
    path: str,
    body: str,
) -> None:
    session = service.add_session("alice", "codex", "openai", "gpt-5")
    answer = await client.request(method, path, content=body, headers={**JSON, **marks})

    assert answer.status_code == 403
    assert code(answer) == "cross_origin"
    assert service.history == []
    assert service.known == {session.session_id: session}


@pytest.mark.parametrize(
    "marks",
    [
        {},
        {"origin": BASE},
        {"origin": BASE, "sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"},
        {"sec-fetch-site": "none"},
        {"host": "kimi.mitm", "origin": "http://kimi.mitm"},
        {"host": "LOCALHOST:99", "origin": "http://localhost:99"},
    ],
)
async def test_our_own_page_and_programs_may(client: httpx.AsyncClient, marks: dict[str, str]) -> None:
    assert (await client.post("/api/auto-session/toggle", headers=marks)).status_code == 200


@pytest.mark.parametrize("path", ["/api/sessions", "/api/exchanges", "/health", "/events", "/metrics", "/"])
@pytest.mark.parametrize(
    "marks",
    [
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
        {"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"},
        {"origin": "https://evil.example"},
    ],
)
async def test_another_site_cannot_embed_or_read(
    client: httpx.AsyncClient, path: str, marks: dict[str, str]
) -> None:
    answer = await client.get(path, headers=marks)

    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.startswith("access-control-")]


async def test_a_link_from_elsewhere_opens_the_page(client: httpx.AsyncClient) -> None:
    marks = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}

    assert (await client.get("/", headers=marks)).status_code == 200


async def test_a_preflight_gets_no_permission(client: httpx.AsyncClient) -> None:
    answer = await client.options(
        "/api/auto-session",
        headers={"origin": "https://evil.example", "access-control-request-method": "PUT"},
    )

    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.startswith("access-control-")]


# Methods


@pytest.mark.parametrize(
    "path",
    ["/api/auto-session/toggle", "/api/sessions/toggle-auto", "/api/sessions/s_0001/end"],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PATCH", "PUT", "TRACE", "PROPFIND"])
async def test_only_the_right_method_changes_anything(
    client: httpx.AsyncClient, service: FakeService, path: str, method: str
) -> None:
    service.add_session("alice", "codex", "openai", "gpt-5")
    answer = await client.request(method, path)

    assert answer.status_code in (404, 405)
    assert service.history == []
    assert service.known["s_0001"].session_status == "started"


async def test_405_says_what_is_allowed_in_the_same_shape(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/auto-session/toggle")
    several = await client.patch("/api/sessions/x")

    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
    assert several.headers["allow"] == "DELETE, GET"
    assert code(answer) == "method_not_allowed"


@pytest.mark.parametrize(
    "trick",
    [
        {"x-http-method-override": "POST"},
        {"x-http-method": "PUT"},
        {"x-method-override": "DELETE"},
    ],
)
async def test_a_method_cannot_be_overridden(
    client: httpx.AsyncClient, service: FakeService, trick: dict[str, str]
) -> None:
    answer = await client.get("/api/auto-session/toggle?_method=POST", headers=trick)

    assert answer.status_code == 405
    assert service.history == []


# Paths and names


@pytest.mark.parametrize(
    "trick",
    [
        "..%2f..%2fetc%2fpasswd",
        "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "..%5c..%5cwindows",
        "%00",
        "s_0001%00",
        "s_0001%0a",
        ".hidden",
        "s_0001/",
        "%E2%80%AE",
        "%ff%fe",
        "x" * 129,
        "'; DROP TABLE sessions; --",
        "<script>alert(1)</script>",
    ],
)
@pytest.mark.parametrize("prefix", ["/api/sessions/", "/api/exchanges/", "/static/"])
async def test_a_tricky_id_finds_nothing(client: httpx.AsyncClient, prefix: str, trick: str) -> None:
    answer = await client.get(httpx.URL(BASE).copy_with(raw_path=(prefix + trick).encode()))

    assert answer.status_code in (404, 422)
    assert set(answer.json()["error"]) == {"code", "message"}
    assert "<script" not in answer.text


async def test_a_name_that_looks_like_a_path_is_only_a_name(
    client: httpx.AsyncClient, service: FakeService
) -> None:
    wanted = {"config_id": "../../etc", "user_id": "..\\..\\<b>x</b>"}
    answer = await client.post("/api/sessions", json=wanted)

    assert answer.status_code == 201
    assert answer.json()["user_id"] == wanted["user_id"]
    assert answer.json()["session_id"] == "s_0001"
    assert answer.headers["content-type"] == "application/json"


# Sizes and kinds of bodies


async def test_the_largest_body_is_read(client: httpx.AsyncClient) -> None:
    body = b'{"enabled": true}'.ljust(MAX_BODY)

    assert (await client.put("/api/auto-session", content=body, headers=JSON)).status_code == 200


@pytest.mark.parametrize("size", [MAX_BODY + 1, 10 * 1024 * 1024])
@pytest.mark.parametrize("path", ["/api/auto-session", "/api/auto-session/toggle", "/nowhere"])
async def test_a_large_body_is_413(
    client: httpx.AsyncClient, service: FakeService, size: int, path: str
) -> None:
    answer = await client.put(path, content=b'{"enabled": false}'.ljust(size), headers=JSON)

    assert answer.status_code == 413
    assert code(answer) == "too_large"
    assert service.history == []


async def test_a_large_body_without_its_length_is_413(client: httpx.AsyncClient) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(1000):
            yield b" " * 10_000

    answer = await client.put("/api/auto-session", content=pieces(), headers=JSON)

    assert answer.status_code == 413


async def test_a_body_that_never_comes_is_408(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kimi_mitm.control.guard.BODY_TIMEOUT_S", 0.01)

    async def stuck() -> AsyncIterator[bytes]:
        import asyncio

        yield b"{"
        await asyncio.Event().wait()

    assert (await client.put("/api/auto-session", content=stuck(), headers=JSON)).status_code == 408


@pytest.mark.parametrize(
    "kind",
    [
        "application/x-www-form-urlencoded",
        "text/plain",
        "text/plain; application/json",
        "multipart/form-data; boundary=x",
        "application/jsonp",
        "application/x+json",
        "",
        None,
    ],
)
async def test_a_body_must_say_that_it_is_json(
    client: httpx.AsyncClient, service: FakeService, kind: str | None
) -> None:
    headers = {} if kind is None else {"content-type": kind}
    answer = await client.put("/api/auto-session", content='{"enabled": false}', headers=headers)

    assert answer.status_code == 415
    assert code(answer) == "unsupported_media_type"
    assert service.history == []


@pytest.mark.parametrize(
    "kind", ["application/json", "Application/JSON; charset=utf-8", "application/json ;x=y"]
)
async def test_json_is_json_however_it_is_written(client: httpx.AsyncClient, kind: str) -> None:
    answer = await client.put(
        "/api/auto-session", content='{"enabled": false}', headers={"content-type": kind}
    )

    assert answer.status_code == 200


@pytest.mark.parametrize(
    "request_",
    [
        {"headers": {"x-long": "y" * MAX_HEAD}},
        {"headers": [(f"x-{n}", "y") for n in range(MAX_HEAD // 4)]},
        {"params": {"session": "y" * MAX_HEAD}},
    ],
)
async def test_huge_headers_are_refused(client: httpx.AsyncClient, request_: dict[str, object]) -> None:
    answer = await client.get("/api/exchanges", **request_)

    assert answer.status_code == 431


# The token


@pytest.fixture
def guarded(service: FakeService) -> FastAPI:
    return create_app(service, ControlSettings(token=TOKEN, admin_token=ADMIN))


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN}x",
        f"Basic {TOKEN}",
        TOKEN,
        f"Token {TOKEN}",
        "Bearer \xff\xfe",
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/sessions"),
        ("GET", "/api/exchanges/x"),
        ("GET", "/events"),
        ("GET", "/metrics"),
        ("GET", "/openapi.json"),
        ("GET", "/nowhere"),
        ("GET", "/health/"),
        ("POST", "/api/auto-session/toggle"),
    ],
)
async def test_without_the_token_there_is_nothing(
    guarded: FastAPI, service: FakeService, authorization: str | None, method: str, path: str
) -> None:
    headers = {} if authorization is None else {"authorization": authorization.encode("latin-1")}
    async with connect(guarded) as client:
        answer = await client.request(method, path, headers=headers)

    assert answer.status_code == 401
    assert code(answer) == "unauthorized"
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert service.history == []


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
@pytest.mark.parametrize("token", [TOKEN, ADMIN])
async def test_with_it_all_is_open(guarded: FastAPI, scheme: str, token: str) -> None:
    async with connect(guarded) as client:
        answer = await client.get("/api/sessions", headers={"authorization": f"{scheme} {token}"})

    assert answer.status_code == 200


async def test_the_token_is_never_taken_from_the_address(guarded: FastAPI) -> None:
    async with connect(guarded) as client:
        answer = await client.get("/api/sessions", params={"token": TOKEN, "access_token": TOKEN})

    assert answer.status_code == 401


async def test_health_needs_none(guarded: FastAPI) -> None:
    async with connect(guarded) as client:
        assert (await client.get("/health")).status_code == 200


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_the_page_that_asks_for_it_is_shown_as_401(guarded: FastAPI, path: str) -> None:
    async with connect(guarded) as client:
        answer = await client.get(path)

        assert answer.status_code == 401
        assert answer.headers["content-type"].startswith("text/html")
        assert (await client.get("/static/app.js")).status_code == 200
        known = await client.get(path, headers={"authorization": f"Bearer {TOKEN}"})
        assert known.status_code == 200


async def test_a_foreign_site_with_the_token_is_still_foreign(guarded: FastAPI) -> None:
    headers = {"authorization": f"Bearer {TOKEN}", "origin": "https://evil.example"}
    async with connect(guarded) as client:
        assert (await client.post("/api/auto-session/toggle", headers=headers)).status_code == 403


# The admin


async def test_only_the_admin_forces_the_flag(guarded: FastAPI, service: FakeService) -> None:
    user, admin = ({"authorization": f"Bearer {token}"} for token in (TOKEN, ADMIN))
    async with connect(guarded) as client:
        refused = await client.put("/api/auto-session/forced", json={"enabled": False}, headers=user)
        forced = await client.put("/api/auto-session/forced", json={"enabled": False}, headers=admin)
        toggled = await client.post("/api/auto-session/toggle", headers=user)
        released = await client.delete("/api/auto-session/forced", headers=admin)
        again = await client.post("/api/auto-session/toggle", headers=user)

    assert (refused.status_code, code(refused)) == (403, "not_admin")
    assert (forced.json()["forced"], forced.json()["enabled"]) == (True, False)
    assert (toggled.status_code, code(toggled)) == (403, "forced")
    assert released.json()["forced"] is False
    assert again.status_code == 200


async def test_without_an_admins_token_nobody_is_admin(client: httpx.AsyncClient) -> None:
    for token in ("", "x"):
        answer = await client.put(
            "/api/auto-session/forced",
            json={"enabled": False},
            headers={"authorization": f"Bearer {token}"},
        )

        assert answer.status_code == 403


# Every answer


@pytest.mark.parametrize("path", ["/", "/docs", "/health", "/nowhere", "/static/app.js", "/api/sessions?x=1"])
async def test_every_answer_has_the_safe_headers(client: httpx.AsyncClient, path: str) -> None:
    headers = (await client.get(path)).headers

    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"
    assert "server" not in headers
    assert not [name for name in headers if name.startswith("access-control-")]
