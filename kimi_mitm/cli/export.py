"""`kimi-mitm export`: every recorded exchange, oldest first."""

from __future__ import annotations

import asyncio
import csv
import enum
import sys
from collections.abc import Callable
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from kimi_mitm.cli.common import Database, Since, database, leave_quietly, moment
from kimi_mitm.records import Exchange
from kimi_mitm.render import CSV_COLUMNS, csv_row, exchange_json
from kimi_mitm.store import exchanges
from kimi_mitm.store.exchanges import Wanted


class Form(enum.StrEnum):
    """How exchanges are written."""

    JSONL = "jsonl"
    CSV = "csv"


def export(
    db: Database = None,
    form: Annotated[Form, typer.Option("--format", help="One JSON object a line, or CSV.")] = Form.JSONL,
    session: Annotated[str | None, typer.Option(help="Only this session's.")] = None,
    provider: Annotated[str | None, typer.Option(help="Only this provider's.")] = None,
    user: Annotated[str | None, typer.Option(help="Only this user's.")] = None,
    since: Since = None,
) -> None:
    """Write recorded exchanges, oldest first."""
    wanted = Wanted(session=session, provider=provider, user=user, since=moment(since))
    try:
        asyncio.run(_export(db, form, wanted))
        sys.stdout.flush()
    except BrokenPipeError:
        leave_quietly()


async def _export(db: str | None, form: Form, wanted: Wanted) -> None:
    console = Console(stderr=True)
    columns = (TextColumn("exporting"), BarColumn(), MofNCompleteColumn())
    hidden = not console.is_terminal or sys.stdout.isatty()
    async with database(db) as engine:
        total = 0 if hidden else await exchanges.count(engine, wanted)
        with Progress(
            *columns, console=console, transient=True, disable=hidden, redirect_stdout=False
        ) as progress:
            task = progress.add_task("exporting", total=total)
            write: Callable[[Exchange], object] = _csv_writer() if form is Form.CSV else _write_json
            async for exchange in exchanges.stream(engine, wanted):
                write(exchange)
                progress.advance(task)


def _write_json(exchange: Exchange) -> None:
    sys.stdout.write(msgspec.json.encode(exchange_json(exchange)).decode() + "\n")


def _csv_writer() -> Callable[[Exchange], object]:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    return lambda exchange: writer.writerow(csv_row(exchange))
