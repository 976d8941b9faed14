"""What memory knows beside the sessions themselves, for live views and for the next decision.

Bounded in every direction; nothing here is stored, and a new process starts without it.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from kimi_mitm.records import Exchange

EXCHANGES = 100
ROUTES = 10
ISSUED = 20_000
LONGEST_EXCHANGE = timedelta(hours=1)
"""Providers' longest connections (a Responses WebSocket) last 60 minutes; an exchange that was placed
longer ago and never settled no longer keeps its session alive."""


@dataclass(frozen=True, slots=True)
class Route:
    """How a session reaches its provider; None where it isn't known."""

    host: str | None = None
    wire_format: str | None = None
    context_window: int | None = None


class Views:
    """Last exchanges, exchanges under way, routes, issued ids and connections of the live sessions."""

    def __init__(self) -> None:
        self._exchanges: dict[str, deque[Exchange]] = {}
        self._under_way: dict[str, dict[str, datetime]] = {}
        self._routes: OrderedDict[str, Route] = OrderedDict()
        self._issued: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._connections: dict[str, set[str]] = {}
        self._connected: dict[str, set[str]] = {}

    def recent(self, session_id: str) -> tuple[Exchange, ...]:
        """The session's last exchanges, at most 100, oldest first."""
        return tuple(self._exchanges.get(session_id, ()))

    def settled(self, session_id: str, exchange: Exchange) -> None:
        """Keeps the exchange, in place of its earlier version if there is one."""
        kept = self._exchanges.setdefault(session_id, deque(maxlen=EXCHANGES))
        for index, old in enumerate(kept):
            if old.id == exchange.id:
                kept[index] = exchange
                break
        else:
            kept.append(exchange)
        under_way = self._under_way.get(session_id)
        if under_way is not None:
            under_way.pop(exchange.id, None)
            if not under_way:
                del self._under_way[session_id]

    def earlier(self, session_id: str, exchange_id: str) -> Exchange | None:
        """The exchange as it was settled before, if it is still here."""
        return next((old for old in self._exchanges.get(session_id, ()) if old.id == exchange_id), None)

    def placed(self, session_id: str, exchange_id: str, now: datetime) -> None:
        """An exchange is under way."""
        self._under_way.setdefault(session_id, {})[exchange_id] = now

    def busy(self, session_id: str, now: datetime) -> bool:
        """Whether an exchange is under way that can still end."""
        return any(now - at < LONGEST_EXCHANGE for at in self._under_way.get(session_id, {}).values())

    def route(self, session_id: str, route: Route) -> None:
        """The session's route, with what was known before where this says nothing."""
        old = self._routes.pop(session_id, Route())
        self._routes[session_id] = Route(
            route.host or old.host,
            route.wire_format or old.wire_format,
            route.context_window or old.context_window,
        )
        while len(self._routes) > ROUTES:
            self._routes.popitem(last=False)

    @property
    def routes(self) -> Mapping[str, Route]:
        """The routes of the ten sessions used last, by session id."""
        return dict(self._routes)

    def bind(self, user: str, issued_id: str, session_id: str) -> None:
        """A provider issued this id in that session."""
        self._issued.pop((user, issued_id), None)
        self._issued[user, issued_id] = session_id
        while len(self._issued) > ISSUED:
            self._issued.popitem(last=False)

    def issued(self, user: str, issued_id: str) -> str | None:
        """The session in which this id was issued to this user."""
        return self._issued.get((user, issued_id))

    def connect(self, connection: str, session_id: str) -> None:
        """A client's connection carries an exchange of the session."""
        self._connections.setdefault(connection, set()).add(session_id)
        self._connected.setdefault(session_id, set()).add(connection)

    def disconnect(self, connection: str) -> tuple[str, ...]:
        """The connection is gone; returns the sessions that have none left."""
        alone = []
        for session_id in sorted(self._connections.pop(connection, ())):
            left = self._connected.get(session_id, set())
            left.discard(connection)
            if not left:
                self._connected.pop(session_id, None)
                alone.append(session_id)
        return tuple(alone)

    def forget(self, session_id: str) -> None:
        """Drops all of a session but its route."""
        self._exchanges.pop(session_id, None)
        self._under_way.pop(session_id, None)
        for connection in self._connected.pop(session_id, ()):
            sessions = self._connections.get(connection)
            if sessions is not None:
                sessions.discard(session_id)
                if not sessions:
                    del self._connections[connection]
