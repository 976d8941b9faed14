"""The OpenAPI document: complete, with examples that are true, and kept by the routes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from control_client import connect
from fake_service import FakeService, settled
from hypothesis import HealthCheck, settings
from pydantic import BaseModel
from test_control_routes import exchange

from kimi_mitm.control import figures, models
from kimi_mitm.control.app import create_app
from kimi_mitm.control.fields import Output
from kimi_mitm.control.figures import ExchangeView
from kimi_mitm.control.guard import ControlSettings
from kimi_mitm.events import TYPES
from kimi_mitm.records import Exchange
from kimi_mitm.render import exchange_json

MODELS = sorted(
    {
        value
        for module in (models, figures)
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, BaseModel) and value.__module__ == module.__name__
    },
    key=lambda model: model.__name__,
)


def furnished() -> FakeService:
    """An engine with a little of everything in it."""
    service = FakeService()
    service.add_session("alice", "codex", "openai", "gpt-5")
    service.put_exchange(settled(exchange(), 1012, 12), "exchange:completed")
    return service


app = create_app(furnished(), ControlSettings(version="1.2.3"))
document = app.openapi()
schema = schemathesis.openapi.from_asgi("/openapi.json", app, headers={"host": "127.0.0.1:8082"})


@schema.parametrize()
@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_schemathesis_finds_nothing(case: schemathesis.Case) -> None:
    case.call_and_validate(headers={"host": "127.0.0.1:8082"})


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path, method, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]


def test_every_route_of_the_contract_is_there() -> None:
    found = {f"{method.upper()} {path}" for path, method, _ in operations()}

    assert found >= {
        "GET /health",
        "GET /api/auto-session",
        "PUT /api/auto-session",
        "POST /api/auto-session/toggle",
        "GET /api/auto-session/history",
        "GET /api/sessions/auto-status",
        "POST /api/sessions/toggle-auto",
        "POST /api/sessions",
        "GET /api/sessions",
        "GET /api/sessions/active",
        "GET /api/sessions/{session_id}",
        "POST /api/sessions/{session_id}/activate",
        "POST /api/sessions/{session_id}/end",
        "DELETE /api/sessions/{session_id}",
        "GET /api/exchanges",
        "GET /api/exchanges/{exchange_id}",
        "GET /api/stats",
        "GET /api/fusion",
        "GET /metrics",
    }
    assert set(document["x-streams"]) == {"/events", "/ws", "event"}


@pytest.mark.parametrize(("path", "method", "operation"), operations())
def test_every_operation_says_what_it_does_and_how_it_fails(
    path: str, method: str, operation: dict[str, Any]
) -> None:
    assert operation["summary"]
    assert operation["description"]
    assert operation["tags"]
    assert {"401", "403", "405", "422", "500"} <= set(operation["responses"])
    for status, response in operation["responses"].items():
        if int(status) >= 400 and int(status) != 503:
            assert response["content"]["application/json"]["schema"]["$ref"].endswith("/ErrorAnswer")


@pytest.mark.parametrize("model", [model for model in MODELS if issubclass(model, Output)])
def test_every_models_example_is_valid(model: type[BaseModel]) -> None:
    schema = model.model_json_schema()
    if schema.get("examples") is None:
        assert all(field.get("type") == "array" for field in schema["properties"].values() if "type" in field)
        return

    for example in schema["examples"]:
        model.model_validate(example)


def test_an_exchange_in_the_schema_is_the_record() -> None:
    assert list(ExchangeView.model_fields) == [field.name for field in dataclasses.fields(Exchange)]
    ExchangeView.model_validate(exchange_json(settled(exchange(), 1012, 12)))


DOCS = Path(__file__).resolve().parents[2] / "docs" / "control.md"


@pytest.mark.parametrize("word", [*document["paths"], "/events", "/ws", "/docs", *TYPES])
def test_every_route_and_event_is_described(word: str) -> None:
    assert f"{word}`" in (text := DOCS.read_text(encoding="utf-8")) or f"{word}?" in text


def test_without_a_token_none_is_asked_for() -> None:
    assert "securitySchemes" not in document.get("components", {})


async def test_with_a_token_the_schema_says_so() -> None:
    guarded = create_app(furnished(), ControlSettings(token="t"))
    async with connect(guarded) as client:
        drawn = (await client.get("/openapi.json", headers={"authorization": "Bearer t"})).json()

    assert drawn["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    assert drawn["security"] == [{"token": []}]
    assert drawn["paths"]["/health"]["get"]["security"] == []


async def test_the_document_is_served(client: httpx.AsyncClient) -> None:
    answer = await client.get("/openapi.json")

    assert answer.json()["info"] == {**document["info"], "version": "1.2.3"}
    assert answer.json()["paths"] == document["paths"]
