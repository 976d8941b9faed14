"""`kimi-mitm stats`: tokens, cost, and how good the estimates were, by provider, model and day."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from kimi_mitm.cli.common import Database, Since, database, moment
from kimi_mitm.cli.tables import add, console, cost, percent, table, tokens
from kimi_mitm.render import money
from kimi_mitm.store import exchanges
from kimi_mitm.store.exchanges import Wanted
from kimi_mitm.store.totals import Tally, Totals

_HEADS = ("calls", "fail", "prompt", "answer", "cached", "cost", "median", "p90", "of")
_MEANING = (
    "median, p90: |estimated - reported| / reported prompt tokens, of so many calls that were reported."
)


@dataclass
class Report:
    """Everything that is shown."""

    tally: Tally = field(default_factory=Tally)
    days: defaultdict[str, Totals] = field(default_factory=lambda: defaultdict(Totals))


def stats(
    db: Database = None,
    since: Since = None,
    session: Annotated[str | None, typer.Option(help="Only this session's.")] = None,
    provider: Annotated[str | None, typer.Option(help="Only this provider's.")] = None,
    user: Annotated[str | None, typer.Option(help="Only this user's.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Add up tokens, cost and estimates' errors.

    By model and by day. Errors are of the estimated against the reported prompt.
    """
    wanted = Wanted(session=session, provider=provider, user=user, since=moment(since))
    report = asyncio.run(_read(db, wanted))
    if json:
        typer.echo(msgspec.json.encode(as_json(report)).decode())
        return
    if not report.tally.all.requests:
        typer.echo("no exchange is recorded that fits")
        return
    out = console()
    for one in tables(report):
        out.print(one)
    out.print(_MEANING)
    if unpriced := report.tally.all.unpriced_requests:
        calls = "1 call is" if unpriced == 1 else f"{unpriced} calls is"
        out.print(f"The price of {calls} unknown; the cost is without them.")


async def _read(db: str | None, wanted: Wanted) -> Report:
    report = Report()
    columns = (TextColumn("adding up"), BarColumn(), MofNCompleteColumn())
    shown = Console(stderr=True)
    async with database(db) as engine:
        total = await exchanges.count(engine, wanted)
        with Progress(*columns, console=shown, transient=True, disable=not shown.is_terminal) as progress:
            task = progress.add_task("adding up", total=total)
            async for rows in exchanges.dated_figures(engine, wanted):
                report.tally.add(row for _, row in rows)
                for day, row in rows:
                    report.days[day].add(row)
                progress.advance(task, len(rows))
    return report


def as_json(report: Report) -> dict[str, Any]:
    """The report under the names of `GET /api/stats`, and `by_day` beside."""
    tally = report.tally
    return {
        **_totals(tally.all),
        "by_provider": [{"provider": p, **_totals(t)} for p, t in tally.by_provider()],
        "by_model": [{"provider": p, "model": m, **_totals(t)} for (p, m), t in tally.by_model()],
        "by_day": [{"day": day, **_totals(totals)} for day, totals in sorted(report.days.items())],
    }


def tables(report: Report) -> Iterable[Table]:
    """The report for people."""
    tally = report.tally
    models = table("model", numbers=_HEADS)
    for (provider, model), totals in tally.by_model():
        add(models, model or f"{provider}, no model named", figures=_cells(totals))
    models.add_section()
    add(models, "all", figures=_cells(tally.all))
    yield models
    days = table("day (UTC)", numbers=_HEADS)
    for day, totals in sorted(report.days.items()):
        add(days, day, figures=_cells(totals))
    yield days


def _cells(totals: Totals) -> Iterable[str]:
    return (
        str(totals.requests),
        str(totals.failed or ""),
        tokens(totals.total_prompt_tokens),
        tokens(totals.total_completion_tokens),
        tokens(totals.total_cached_tokens),
        cost(totals.cost_usd),
        percent(totals.median_error),
        percent(totals.p90_error),
        str(len(totals.errors) or ""),
    )


def _totals(totals: Totals) -> dict[str, Any]:
    cost_usd = None if totals.cost_usd is None else money(totals.cost_usd)
    return {**totals.shown(), "cost_usd": cost_usd}
