"""The board as text for a terminal of a given height."""

from __future__ import annotations

from datetime import datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kimi_mitm import notes
from kimi_mitm.cli.tables import add, cost, table, tokens
from kimi_mitm.cli.top_board import Board, Connection, Session
from kimi_mitm.records import Exchange

_BAR = 10
_LEVELS = ((95.0, "bold red"), (90.0, "red"), (80.0, "yellow"), (0.0, "green"))
"""From these fills on, in per cent, as the control endpoint's `context_level`."""
_HEAD_LINES = 4
_LEAST = 3
_CONNECTIONS = {Connection.LIVE: "green", Connection.LOST: "bold red", Connection.CONNECTING: "yellow"}


def draw(board: Board, now: datetime, height: int | None, *, hint: str = "") -> RenderableType:
    """Everything that fits `height` lines; all of it for None."""
    live = [s for s in board.sessions if s.session_status != "ended"] or list(board.sessions[:1])
    room = 10_000 if height is None else max(height - _HEAD_LINES - 2 * 3, 2 * _LEAST)
    shown = live[: max(min(len(live), room // 3), _LEAST)]
    exchanges = board.exchanges[: max(room - len(shown), _LEAST) if height is not None else 20]
    parts: list[RenderableType] = [_head(board), _sessions(shown, len(live))]
    parts.append(_exchanges(exchanges, now))
    if hint:
        parts.append(Text(hint, style="dim"))
    return Group(*parts)


def bar(percent: float | None) -> Text:
    """A context window's fill."""
    if percent is None:
        return Text("–", style="dim")
    full = max(0, min(_BAR, round(percent / 100 * _BAR)))
    style = next(style for floor, style in _LEVELS if percent >= floor or floor == 0.0)
    return Text.assemble(("█" * full + "░" * (_BAR - full), style), f" {percent:3.0f}%")


def _head(board: Board) -> Text:
    totals = board.totals
    said = board.problem if board.problem and board.connection is Connection.LOST else board.connection.value
    line = Text.assemble(
        ("kimi-mitm ", "bold"),
        f"{board.where} ",
        (f"● {said}", _CONNECTIONS[board.connection]),
        f"  today {totals.requests} calls, {tokens(totals.total_prompt_tokens)} in, "
        f"{tokens(totals.total_completion_tokens)} out, {cost(totals.cost_usd)}",
    )
    if totals.errors:
        line.append(f", {totals.errors} failed", "red")
    if board.auto_session is not None:
        line.append(f"  auto-session {'on' if board.auto_session else 'off'}", "dim")
    for warning in board.warnings[:1]:
        line.append(f"\n{warning}", "yellow")
    return line


def _sessions(shown: list[Session], count: int) -> Table:
    title = "session" if count == len(shown) else f"session ({count})"
    found = table(title, "user", "client", "model", "context", numbers=("tokens", "calls", "cost"))
    found.columns[4].no_wrap = True
    for session in shown:
        figures = session.statistics
        mark = "● " if session.current else "  "
        names = [session.session_id[:8], session.user_id, session.client or "–", session.model or "–"]
        row = [Text(name, no_wrap=True, overflow="ellipsis") for name in names]
        row[0] = Text(mark + names[0], no_wrap=True)
        found.add_row(
            *row,
            bar(figures.context_percent),
            tokens(figures.context_tokens),
            str(figures.requests),
            cost(figures.cost_usd),
        )
    if not shown:
        add(found, "none yet")
    return found


def _exchanges(shown: list[Exchange], now: datetime) -> Table:
    found = table("ago", "client", "model", "prompt→settled+answer", "rests on", numbers=("took", "cost"))
    found.columns[3].no_wrap = True
    for exchange in shown:
        style = "red" if exchange.error else ("bold" if exchange.ended_at is None else "")
        names = (
            ago((now - exchange.started_at).total_seconds()),
            exchange.client + (" (side)" if exchange.side else ""),
            exchange.model or exchange.response_model or exchange.provider,
            notes.tokens(exchange),
            _rests(exchange),
        )
        took = exchange.duration_ms
        running = (now - exchange.started_at).total_seconds() * 1000 if exchange.ended_at is None else None
        lasted = took if took is not None else running
        found.add_row(
            *(Text(name, no_wrap=True, overflow="ellipsis", style=style) for name in names),
            f"{lasted / 1000:.1f} s" if lasted is not None else "–",
            cost(exchange.cost_usd),
        )
    if not shown:
        add(found, "none yet")
    return found


def _rests(exchange: Exchange) -> str:
    if exchange.error is not None:
        return f"error: {exchange.error.type}"
    return "running" if exchange.ended_at is None else notes.origin(exchange)


def ago(seconds: float) -> str:
    """How long it is since: `5s`, `12m`, `3h`, `2d`."""
    for limit, unit, name in ((60, 1, "s"), (3600, 60, "m"), (86_400, 3600, "h")):
        if seconds < limit:
            return f"{max(0, int(seconds // unit))}{name}"
    return f"{int(seconds // 86_400)}d"
