"""`kimi-mitm sessions`: the sessions that were recorded, and one of them with its exchanges."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
import typer
from rich.table import Table
from sqlalchemy.ext.asyncio import AsyncEngine

from kimi_mitm import notes
from kimi_mitm.cli.common import Database, Since, database, fail, moment
from kimi_mitm.cli.tables import add, console, cost, table, tokens
from kimi_mitm.records import Exchange
from kimi_mitm.render import exchange_json, plain
from kimi_mitm.sessions.record import Session, Status
from kimi_mitm.store import exchanges as exchange_rows
from kimi_mitm.store import sessions as session_rows
from kimi_mitm.store.exchanges import Wanted

app = typer.Typer(
    rich_markup_mode=None,
    invoke_without_command=True,
)

Json = Annotated[bool, typer.Option("--json", help="JSON.")]
User = Annotated[str | None, typer.Option(help="Only this user's.")]
Which = Annotated[Status | None, typer.Option("--status", help="Only those at this step of life.")]
Provider = Annotated[str | None, typer.Option(help="Only those that last used this provider.")]
Limit = Annotated[int, typer.Option(min=1, help="How many at most.")]
_PAGE = 500


@app.callback()
def sessions(
    context: typer.Context,
    db: Database = None,
    since: Since = None,
    user: User = None,
    status: Which = None,
    provider: Provider = None,
    limit: Limit = 50,
    json: Json = False,
) -> None:
    """List recorded sessions, or show one.

    Most recently active first; `sessions show ID` for one.
    """
    if context.invoked_subcommand is None:
        list_(db, since, user, status, provider, limit, json)


@app.command("list")
def list_(
    db: Database = None,
    since: Since = None,
    user: User = None,
    status: Which = None,
    provider: Provider = None,
    limit: Limit = 50,
    json: Json = False,
) -> None:
    """List sessions."""
    found, current = asyncio.run(_list(db, moment(since), user, status, provider, limit))
    if json:
        for session in found:
            typer.echo(_encode(session_json(session, session.session_id in current)))
        return
    if not found:
        typer.echo("no session is recorded that fits")
        return
    console().print(_table(found, current))


@app.command()
def show(
    session_id: Annotated[str, typer.Argument(help="A session's id, or its beginning.", metavar="ID")],
    db: Database = None,
    json: Json = False,
) -> None:
    """Show one session with its exchanges."""
    session, records, current = asyncio.run(_show(db, session_id))
    if json:
        told = {
            "session": session_json(session, current),
            "exchanges": [exchange_json(record) for record in records],
        }
        typer.echo(_encode(told))
        return
    out = console()
    out.print(_details(session))
    listed = table("started (UTC)", "exchange", "rests on", numbers=("took",))
    for record in records:
        took = f"{record.duration_ms / 1000:.1f} s" if record.duration_ms is not None else "–"
        what = ("(side) " if record.side else "") + notes.comment(record)
        add(listed, _time(record.started_at), what, notes.origin(record), figures=[took])
    out.print(listed)


async def _list(
    db: str | None,
    since: datetime | None,
    user: str | None,
    status: Status | None,
    provider: str | None,
    limit: int,
) -> tuple[Sequence[Session], frozenset[str]]:
    found: list[Session] = []
    after = None
    async with database(db) as engine:
        current = await session_rows.current_ids(engine)
        while len(found) < limit:
            page, after = await session_rows.page(
                engine, user=user, status=status, provider=provider, after=after, limit=min(limit, _PAGE)
            )
            recent = [s for s in page if since is None or s.last_activity_at >= since]
            found += recent
            if after is None or len(recent) < len(page):
                break
    return found[:limit], current


async def _show(db: str | None, session_id: str) -> tuple[Session, Sequence[Exchange], bool]:
    async with database(db) as engine:
        session = await session_rows.get(engine, session_id) or await _begins(engine, session_id)
        wanted = Wanted(session=session.session_id)
        records = [record async for record in exchange_rows.stream(engine, wanted)]
        return session, records, session.session_id in await session_rows.current_ids(engine)


async def _begins(engine: AsyncEngine, beginning: str) -> Session:
    found, after = [], None
    while True:
        page, after = await session_rows.page(engine, after=after, limit=_PAGE)
        found += [s for s in page if s.session_id.startswith(beginning)]
        if after is None:
            break
    if len(found) != 1:
        fail(f"{len(found) or 'no'} sessions begin with {beginning}")
    return found[0]


def session_json(session: Session, current: bool) -> dict[str, Any]:
    """The session under the names of `GET /api/sessions`."""
    stats = session.stats
    figures = {name: getattr(stats, name) for name in _FIGURES}
    accuracy = {
        "requests": stats.judged,
        "median_error": stats.median_error,
        "p90_error": stats.p90_error,
        "last_error": stats.last_error,
    }
    told = {
        "session_id": session.session_id,
        "config_id": session.config_id,
        "user_id": session.user,
        "session_status": session.status,
        "started_at": session.started_at,
        "updated_at": session.last_activity_at,
        "ended_at": session.ended_at,
        "name": session.name,
        "provider": session.provider,
        "providers": list(stats.providers),
        "model": session.model,
        "client": session.client,
        "client_session_id": session.client_session_id,
        "kind": session.kind,
        "folder": session.folder,
        "current": current and session.live,
        "archive_id": session.archive_id,
        "statistics": {**figures, "estimate_accuracy": accuracy},
    }
    found: dict[str, Any] = plain(told)
    return found


_FIGURES = (
    *("requests", "max_tokens", "mean_tokens", "total_prompt_tokens", "total_completion_tokens"),
    *("total_cached_tokens", "total_reasoning_tokens", "cost_usd", "unpriced_requests", "context_tokens"),
    *("context_window", "context_percent", "context_level", "memory_tokens", "chat_tokens", "memory_ratio"),
)


def _table(found: Sequence[Session], current: frozenset[str]) -> Table:
    numbers = ("turns", "prompt", "cost", "fill")
    listed = table("session", "status", "user", "client", "model", "last (UTC)", numbers=numbers)
    for session in found:
        stats = session.stats
        mark = "● " if session.live and session.session_id in current else ""
        names = (
            session.session_id[:8],
            mark + session.status.value,
            session.user,
            session.client or "–",
            session.model or "–",
            _time(session.last_activity_at),
        )
        fill = f"{stats.context_percent:.0f}%" if stats.context_percent is not None else "–"
        figures = (
            str(session.turns),
            tokens(stats.total_prompt_tokens),
            cost(stats.cost_usd),
            fill,
        )
        add(listed, *names, figures=figures)
    return listed


def _details(session: Session) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, value in session_json(session, False).items():
        if value in (None, [], {}) or name in ("statistics", "current"):
            continue
        table.add_row(name, ", ".join(map(str, value)) if isinstance(value, list) else str(value))
    for name in _FIGURES:
        value = plain(getattr(session.stats, name))
        if value is not None:
            table.add_row(name, str(round(value, 4) if isinstance(value, float) else value))
    return table


def _time(at: datetime) -> str:
    return f"{at:%m-%d %H:%M}"


def _encode(value: Any) -> str:
    return msgspec.json.encode(value).decode()
