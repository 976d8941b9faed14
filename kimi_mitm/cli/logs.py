"""`kimi-mitm import-logs` and `kimi-mitm logs check`: what the clients' own logs already hold."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from kimi_mitm.cli.common import Database, Since, count, database, fail, moment
from kimi_mitm.cli.tables import add, console, table
from kimi_mitm.engine.log_desk import LogDesk
from kimi_mitm.engine.session_keeper import SessionKeeper
from kimi_mitm.events import Hub
from kimi_mitm.fusion import discrepancies
from kimi_mitm.fusion.discrepancies import ClientCheck
from kimi_mitm.logs import history
from kimi_mitm.logs.follow import select
from kimi_mitm.logs.source import LogSource
from kimi_mitm.records import Exchange, Reading
from kimi_mitm.settings import Settings, data_folder
from kimi_mitm.store import Store, exchanges
from kimi_mitm.store import readings as reading_rows
from kimi_mitm.store.exchanges import Wanted

_MEANING = (
    "by id, by time: exchanges that log and wire both have, and what tied them; (side): of those on the wire "
    "only, beside the conversation; figures: of tokens, that both sides give."
)

app = typer.Typer(
    help="The clients' own logs beside what the proxy saw.", no_args_is_help=True, rich_markup_mode=None
)

Names = Annotated[
    list[str] | None,
    typer.Argument(help="Log sources or clients; all of them when left out.", show_default=False),
]
Home = Annotated[
    Path | None, typer.Option("--home", envvar="KIMI_LOGS_HOME", help="Where the clients' folders are.")
]


def import_logs(names: Names = None, db: Database = None, since: Since = None, home: Home = None) -> None:
    """Read what the clients' logs already hold.

    Reading it again changes nothing.
    """
    try:
        sources = select(tuple(names or ("auto",)))
    except ValueError as e:
        fail(str(e))
    settings = Settings(db=db or str(data_folder() / "kimi.db"), control=None, logs=("off",), offline=True)
    done = asyncio.run(_import(settings, sources, home or Path.home(), moment(since)))
    unreadable = f", {count('file', done.unreadable)} could not be read" if done.unreadable else ""
    typer.echo(f"{count('record', done.readings)} in {count('file', done.files_done)}{unreadable}")


async def _import(
    settings: Settings, sources: Sequence[LogSource], home: Path, since: datetime | None
) -> history.Progress:
    store = await Store.open(settings.db, lambda line: typer.echo(f"kimi-mitm: {line}", err=True))
    if store.engine is None:
        raise typer.Exit(1)
    keeper = SessionKeeper(settings, store, Hub())

    async def settled(exchange: Exchange) -> None:
        return None

    desk = LogDesk(settings, store, keeper, Hub(), settled, lambda line: typer.echo(line, err=True))
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    try:
        await keeper.open(datetime.now(UTC))
        await desk.open(since=since or datetime.fromtimestamp(0, UTC))
        with Progress(
            *columns, console=Console(stderr=True), transient=True, redirect_stdout=False
        ) as progress:
            task = progress.add_task("reading logs", total=None)

            def told(state: history.Progress) -> None:
                progress.update(task, total=state.bytes, completed=state.bytes_done, description=state.source)

            async def take(readings: Sequence[Reading]) -> None:
                await desk.take(readings)
                await desk.expire(datetime.now(UTC))

            done = await history.import_logs(sources, home, take, since=since, progress=told)
        await desk.expire(datetime.max.replace(tzinfo=UTC))
        await keeper.change(lambda book: book.shutdown(datetime.now(UTC)))
    finally:
        await store.close(30.0)
    return done


@app.command()
def check(
    db: Database = None,
    since: Since = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a client.")] = False,
) -> None:
    """Compare log and wire, per client.

    Joined, missing on either side, figures that differ.
    """
    found = asyncio.run(_check(db, moment(since)))
    if json:
        for one in found:
            typer.echo(msgspec.json.encode(one).decode())
        return
    if not found:
        typer.echo("no client with a log has been seen yet")
        return
    out = console()
    out.print(_table(found))
    out.print(_MEANING)
    for one in found:
        for difference in one.differences[:20]:
            typer.echo(
                f"{one.client}: {difference.figure}: wire {difference.wire}, log {difference.log} "
                f"({difference.exchange_id}, {difference.origin})"
            )


async def _check(db: str | None, since: datetime | None) -> list[ClientCheck]:
    async with database(db) as engine:
        kept: Mapping[str, list[Reading]] = await reading_rows.by_exchange(engine)
        recorded = [e async for e in exchanges.stream(engine, Wanted(since=since))]
    return discrepancies.check(recorded, kept)


def _table(found: Sequence[ClientCheck]) -> Table:
    made = table(
        "client", numbers=("by id", "by time", "wire only", "(side)", "log only", "figures", "differ")
    )
    for one in found:
        counts = (one.by_id, one.by_time, one.no_log, one.no_log_side, one.no_wire, one.compared)
        add(made, one.client, figures=map(str, (*counts, len(one.differences))))
    return made
