"""What the control endpoint needs from the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from kimi_mitm.control.figures import ExchangeQuery, Fusion, Stats
from kimi_mitm.control.models import (
    AutoSession,
    AutoSessionChange,
    Health,
    NewSession,
    Session,
    SessionList,
    SessionQuery,
    StatsQuery,
)
from kimi_mitm.events import Subscription
from kimi_mitm.records import Exchange


class ControlError(Exception):
    """A request that can't be done. `message` is for a person and is sent as it is: no paths, no secrets."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: a name for the history, and whether the admin's token came along."""

    name: str
    admin: bool = False


@dataclass(frozen=True, slots=True)
class Metrics:
    """Figures for Prometheus: metric name (a row of `metrics.FAMILIES`) → label values → value.

    The label values are in the order of that row's labels; a name that isn't in the table is left out.
    """

    values: Mapping[str, Mapping[tuple[str, ...], float]] = field(default_factory=dict)


class Service(Protocol):
    """The engine, seen from the control endpoint.

    Called on the engine's loop, concurrently. None for something that is asked for by its id means
    that there is no such thing (404). Any other refusal is a `ControlError`.
    """

    async def auto_session(self) -> AutoSession:
        """The flag now."""

    async def set_auto_session(self, enabled: bool, caller: Caller) -> AutoSession:
        """Sets the flag; persisted before it returns. 403 `forced` while an admin holds it."""

    async def toggle_auto_session(self, caller: Caller) -> AutoSession:
        """Flips the flag in one step; otherwise as `set_auto_session`."""

    async def set_provider_auto_session(
        self, provider: str, enabled: bool | None, caller: Caller
    ) -> AutoSession:
        """Gives a provider a value of its own, or takes it away (None)."""

    async def force_auto_session(self, enabled: bool | None, caller: Caller) -> AutoSession:
        """Holds the flag at a value, or lets it go (None). The caller is known to be the admin."""

    async def auto_session_history(self, limit: int) -> Sequence[AutoSessionChange]:
        """The flag's changes, newest first."""

    async def sessions(self, query: SessionQuery) -> SessionList:
        """Sessions, most recently active first. 404 `no_such_page` for an `after` that isn't ours."""

    async def active_sessions(self, user: str | None) -> Sequence[Session]:
        """The current session of each user and client."""

    async def session(self, session_id: str) -> Session | None:
        """One session with its figures."""

    async def create_session(self, wanted: NewSession, caller: Caller) -> tuple[Session, bool]:
        """The live session of (user, config), and whether it was created just now; atomic."""

    async def activate_session(self, session_id: str, caller: Caller) -> Session | None:
        """Switches to it. 409 `ended` for one that has ended."""

    async def end_session(self, session_id: str, caller: Caller) -> Session | None:
        """Ends and archives it; one that has ended already is given as it is."""

    async def clear_session(self, session_id: str, caller: Caller) -> bool:
        """Removes it without an archive; from then on `session` gives None. False when there is none."""

    async def exchanges(self, query: ExchangeQuery) -> tuple[Sequence[Exchange], str | None]:
        """A page of records in the order asked for, and the cursor after it (None at the end).

        404 `no_such_page` for an `after` that isn't ours."""

    async def exchange(self, exchange_id: str) -> Exchange | None:
        """One record."""

    async def stats(self, query: StatsQuery) -> Stats:
        """Totals of a session, or of all, since a time."""

    async def fusion(self, session_id: str | None) -> Fusion | None:
        """The fused reading of a session, or of the current one (None)."""

    async def health(self) -> Health:
        """How things are; `store` other than `ok` answers 503. Quick, and true when the store is not."""

    async def metrics(self) -> Metrics:
        """Figures for Prometheus."""

    def subscribe(self, last_id: str | None) -> Subscription:
        """A reader of the engine's `Hub`."""
