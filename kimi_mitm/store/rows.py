"""Exchanges as rows and back: the record's fields are the columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from kimi_mitm.records import Composition, EstimateKind, Exchange, Operation, Problem, Source
from kimi_mitm.render import plain

_FIELDS = tuple(f.name for f in fields(Exchange))
_JSON = ("composition", "error", "notes")


def row_of(exchange: Exchange) -> dict[str, Any]:
    """The row of an exchange: times, money and enums as text, objects as JSON."""
    row = {name: plain(getattr(exchange, name)) for name in _FIELDS}
    for name in _JSON:
        row[name] = msgspec.json.encode(row[name]).decode() if row[name] else None
    return row


def exchange_of(row: Mapping[Any, Any]) -> Exchange:
    """The exchange of a row."""
    values = {name: row[name] for name in _FIELDS}
    for name in ("started_at", "first_token_at", "ended_at"):
        values[name] = moment(values[name])
    for name in _JSON:
        values[name] = msgspec.json.decode(values[name]) if values[name] else None
    values["operation"] = Operation(values["operation"])
    values["source"] = Source(values["source"])
    values["estimate_kind"] = EstimateKind(values["estimate_kind"]) if values["estimate_kind"] else None
    values["cost_usd"] = Decimal(values["cost_usd"]) if values["cost_usd"] is not None else None
    values["composition"] = Composition(**values["composition"]) if values["composition"] else None
    values["error"] = Problem(**values["error"]) if values["error"] else None
    values["notes"] = values["notes"] or {}
    return Exchange(**values)


def moment(text: str | None) -> datetime | None:
    """A stored time as an aware datetime."""
    return datetime.fromisoformat(text) if text else None
