"""The one place that turns an exchange into JSON and CSV."""

from __future__ import annotations

import json
from dataclasses import fields
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import msgspec
import pytest

from kimi_mitm.records import Composition, EstimateKind, Exchange, Operation, Problem, Source
from kimi_mitm.render import CSV_COLUMNS, csv_row, exchange_json, instant, money

START = datetime(2026, 3, 1, 12, 0, 0, 250, tzinfo=UTC)


def full() -> Exchange:
    return Exchange(
        id="x1",
        started_at=START,
        operation=Operation.CHAT,
        stream=True,
        estimate_kind=EstimateKind.CALIBRATED,
        input_tokens=12,
        source=Source.USAGE,
        composition=Composition(system=5, user=7),
        cost_usd=Decimal("1E-7"),
        error=Problem("aborted", "the client left"),
        notes={"title": "ä", "n": 1},
    )


def test_every_field_is_there_under_its_own_name() -> None:
    assert list(exchange_json(full())) == [f.name for f in fields(Exchange)]


def test_values_become_json_types() -> None:
    doc = exchange_json(full())

    assert doc["started_at"] == "2026-03-01T12:00:00.000250Z"
    assert doc["operation"] == "chat"
    assert type(doc["operation"]) is str
    assert doc["estimate_kind"] == "calibrated"
    assert doc["source"] == "usage"
    assert doc["cost_usd"] == "0.0000001"
    assert doc["error"] == {"type": "aborted", "message": "the client left"}
    assert doc["composition"] == {
        "system": 5,
        "tools": 0,
        "user": 7,
        "assistant": 0,
        "tool_results": 0,
        "memory": 0,
        "media": 0,
        "other": 0,
    }
    assert doc["notes"] == {"title": "ä", "n": 1}


def test_unknown_is_null() -> None:
    doc = exchange_json(Exchange(id="x", started_at=START))

    assert doc["ended_at"] is None
    assert doc["input_tokens"] is None
    assert doc["cost_usd"] is None
    assert doc["composition"] is None
    assert doc["error"] is None


def test_both_json_encoders_take_it() -> None:
    doc = exchange_json(full())

    assert json.loads(json.dumps(doc, allow_nan=False)) == msgspec.json.decode(msgspec.json.encode(doc))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_float_that_json_cannot_hold_is_unknown(value: float) -> None:
    assert exchange_json(Exchange(id="x", started_at=START, ttft_ms=value))["ttft_ms"] is None


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (datetime(2026, 1, 2, 3, 4, 5), "2026-01-02T03:04:05.000000Z"),
        (datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC), "2026-01-02T03:04:05.000006Z"),
        (datetime(2026, 1, 2, 3, tzinfo=timezone(timedelta(hours=2))), "2026-01-02T01:00:00.000000Z"),
    ],
)
def test_times_are_utc_and_read_back(at: datetime, text: str) -> None:
    assert instant(at) == text
    assert datetime.fromisoformat(text).tzinfo == UTC


@pytest.mark.parametrize("text", ["0", "0.00", "12.345678901234567890", "1000"])
def test_money_keeps_its_digits(text: str) -> None:
    assert money(Decimal(text)) == text


def test_csv_has_a_cell_per_column() -> None:
    row = dict(zip(CSV_COLUMNS, csv_row(full()), strict=True))

    assert row["id"] == "x1"
    assert row["stream"] == "true"
    assert row["side"] == "false"
    assert row["input_tokens"] == "12"
    assert row["output_tokens"] == ""
    assert json.loads(row["composition"])["user"] == 7
    assert json.loads(row["error"])["type"] == "aborted"
    assert row["cost_usd"] == "0.0000001"
