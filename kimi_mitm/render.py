"""An exchange as outsiders read it: one JSON object, or one line of CSV.

`kimi-mitm export` and the control endpoint both use this, so that they never differ. Times are
ISO 8601 in UTC with microseconds (`2026-03-01T12:00:00.250000Z`), money is a decimal string,
unknown is null (JSON) or empty (CSV).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any

import msgspec

from kimi_mitm.records import Composition, Exchange, Problem

CSV_COLUMNS: tuple[str, ...] = tuple(f.name for f in fields(Exchange))
"""The columns of the CSV form, in order: the fields of the record under the same names."""

_COMPOSITION = tuple(f.name for f in fields(Composition))


def instant(at: datetime) -> str:
    """ISO 8601 in UTC with microseconds and a `Z`, which survives a URL's query; a naive time is UTC."""
    utc = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    return utc.isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def money(amount: Decimal) -> str:
    """US dollars as plain digits, never with an exponent."""
    return format(amount, "f")


def exchange_json(exchange: Exchange) -> dict[str, Any]:
    """The record as an object of JSON's own types, ready for any encoder; every field is there."""
    return {name: plain(getattr(exchange, name)) for name in CSV_COLUMNS}


def csv_row(exchange: Exchange) -> list[str]:
    """The record's cells in the order of `CSV_COLUMNS`; objects are compact JSON, unknown is empty."""
    return [_cell(plain(getattr(exchange, name))) for name in CSV_COLUMNS]


def plain(value: Any) -> Any:
    """A value of a record in JSON's own types; a float that JSON can't hold is unknown."""
    match value:
        case None | bool() | int():
            return value
        case Enum():
            return value.value
        case str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case datetime():
            return instant(value)
        case Decimal():
            return money(value) if value.is_finite() else None
        case Composition():
            return {name: getattr(value, name) for name in _COMPOSITION}
        case Problem():
            return {"type": value.type, "message": value.message}
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case _:
            return [plain(item) for item in value]


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case dict() | list():
            return msgspec.json.encode(value).decode()
        case _:
            return str(value)
