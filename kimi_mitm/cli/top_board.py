"""What `kimi-mitm top` shows, kept up to date by events: no I/O, no clock."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from kimi_mitm.records import Exchange

KEPT = 200
"""Exchanges that are remembered: more than any terminal has lines for."""


class Connection(enum.StrEnum):
    """How we are connected."""

    CONNECTING = "connecting"
    LIVE = "live"
    LOST = "lost, trying again"


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """A session's figures, as far as they are shown."""

    requests: int = 0
    cost_usd: Decimal | None = None
    unpriced_requests: int = 0
    context_tokens: int | None = None
    context_window: int | None = None
    context_percent: float | None = None


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A session of `GET /api/sessions`, as far as it is shown."""

    session_id: str
    user_id: str = ""
    session_status: str = ""
    client: str | None = None
    model: str | None = None
    provider: str | None = None
    updated_at: datetime | None = None
    current: bool = False
    statistics: Figures = Figures()


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """What `GET /api/stats` adds up."""

    requests: int = 0
    errors: int = 0
    total_prompt_tokens: int | None = None
    total_completion_tokens: int | None = None
    cost_usd: Decimal | None = None


class Need(enum.Flag):
    """What must be read from the API again after an event."""

    NOTHING = 0
    FIGURES = enum.auto()
    EVERYTHING = enum.auto()


@dataclass
class Board:
    """The state of the screen. `problem` is why we are not connected."""

    where: str
    connection: Connection = Connection.CONNECTING
    problem: str | None = None
    sessions: Sequence[Session] = ()
    totals: Totals = field(default_factory=Totals)
    warnings: Sequence[str] = ()
    auto_session: bool | None = None
    last_event_id: str | None = None
    _exchanges: dict[str, Exchange] = field(default_factory=dict)

    @property
    def exchanges(self) -> list[Exchange]:
        """Newest first."""
        return sorted(self._exchanges.values(), key=lambda e: e.started_at, reverse=True)

    def event(self, event: Mapping[str, Any]) -> Need:
        """Takes one event of `/events`; what isn't one is passed over."""
        kind, data = event.get("type"), event.get("data")
        if isinstance(event.get("id"), str):
            self.last_event_id = event["id"]
        if not isinstance(kind, str) or not isinstance(data, Mapping):
            return Need.NOTHING
        noun = kind.partition(":")[0]
        if kind == "reset":
            return Need.EVERYTHING
        if kind == "fusion:updated" or noun == "exchange":
            self.keep([data])
            return Need.FIGURES
        if kind == "auto_session:toggled" and isinstance(data.get("enabled"), bool):
            self.auto_session = data["enabled"]
        return Need.FIGURES if noun in ("session", "auto_session") else Need.NOTHING

    def keep(self, exchanges: Iterable[Any]) -> None:
        """Takes exchanges as the API gives them, over those with the same id."""
        for one in exchanges:
            try:
                found = msgspec.convert(one, Exchange)
            except (msgspec.ValidationError, TypeError):
                continue
            self._exchanges[found.id] = found
        while len(self._exchanges) > KEPT:
            del self._exchanges[min(self._exchanges.values(), key=lambda e: e.started_at).id]

    def forget(self) -> None:
        """Drops the exchanges, before all are read again."""
        self._exchanges.clear()


def read[T](value: Any, kind: type[T], default: T) -> T:
    """A JSON value as one of the shapes above; the default when it has another."""
    try:
        return msgspec.convert(value, kind)
    except (msgspec.ValidationError, TypeError):
        return default
