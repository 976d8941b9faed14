"""Sessions and changes of the flag as table rows, and back.

A row is a dict of plain values under the columns' names. Times are ISO 8601 in UTC with microseconds,
so that they sort as text; figures are one JSON text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from enum import Enum
from typing import Any

import msgspec

from kimi_mitm.render import instant
from kimi_mitm.sessions.flag import FlagChange
from kimi_mitm.sessions.record import Session
from kimi_mitm.sessions.stats import NO_FIGURES, SessionStats

SESSION_COLUMNS = tuple(f.name for f in fields(Session))
FLAG_COLUMNS = tuple(f.name for f in fields(FlagChange))


def to_row(session: Session) -> dict[str, Any]:
    """The session as a row of `sessions`."""
    row = {name: _plain(getattr(session, name)) for name in SESSION_COLUMNS}
    row["stats"] = msgspec.json.encode(session.stats).decode()
    return row


def from_row(row: Mapping[str, Any]) -> Session:
    """The session of such a row; further columns are ignored. Figures that can't be read are unknown.
    Raises ValueError for anything else that no session can have."""
    known = {name: row[name] for name in SESSION_COLUMNS if name in row}
    try:
        known["stats"] = msgspec.json.decode(known.get("stats") or "{}", type=SessionStats)
    except (ValueError, RecursionError):
        known["stats"] = NO_FIGURES
    return _read(known, Session)


def flag_to_row(change: FlagChange) -> dict[str, Any]:
    """The change as a row of `flag_history`."""
    row = {name: _plain(getattr(change, name)) for name in FLAG_COLUMNS}
    row["providers"] = msgspec.json.encode(change.providers).decode()
    return row


def flag_from_row(row: Mapping[str, Any]) -> FlagChange:
    """The change of such a row. Raises ValueError when there is no such change."""
    known = {name: row[name] for name in FLAG_COLUMNS if name in row}
    known["providers"] = msgspec.json.decode(known.get("providers") or "{}")
    return _read(known, FlagChange)


def _read[T](known: dict[str, Any], type: type[T]) -> T:
    stats = known.pop("stats", None)
    value = msgspec.convert(known, type=type, strict=False)
    if stats is not None:
        object.__setattr__(value, "stats", stats)
    return value


def _plain(value: Any) -> Any:
    match value:
        case Enum():
            return value.value
        case datetime():
            return instant(value)
        case _:
            return value
