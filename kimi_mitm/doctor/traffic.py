"""The clients' own logs, and clients whose logs grow while nothing of theirs comes by the proxy.  [I/O]"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from kimi_mitm.doctor.finding import Finding, fault, ok, unknown, warning
from kimi_mitm.launch.table import table
from kimi_mitm.logs.find import Finder
from kimi_mitm.logs.follow import select as select_sources
from kimi_mitm.logs.source import LogSource
from kimi_mitm.render import instant
from kimi_mitm.store import tables


@dataclass(frozen=True, slots=True)
class Log:
    """One source's files: how many, how many of them can't be read, when the last of them changed."""

    source: LogSource
    files: int
    unreadable: int
    changed: datetime | None


def find(home: Path, environment: Mapping[str, str], platform: str = sys.platform) -> list[Log]:
    """The log sources that have files below this home."""
    env = environment if home == Path.home() else {}
    found = []
    for source in select_sources(("auto",)):
        finder = Finder(source, home, env, platform)
        files = list(finder.files())
        hidden = finder.unreadable + sum(not os.access(f.path, os.R_OK) for f in files)
        if files or hidden:
            last = max((f.modified for f in files), default=None)
            changed = datetime.fromtimestamp(last / 1e9, UTC) if last is not None else None
            found.append(Log(source, len(files), hidden, changed))
    return found


def check_logs(logs: Sequence[Log], health: Mapping[str, Any] | None) -> Iterator[Finding]:
    """One finding a source that has files."""
    strange = {
        str(w).removeprefix("The log ").split(" ", 1)[0]
        for w in (health or {}).get("warnings") or ()
        if str(w).startswith("The log ")
    }
    for log in logs:
        name = log.source.name
        if log.unreadable:
            text = f"{log.unreadable} of {max(log.files, log.unreadable)} files can't be read"
            yield fault(f"log: {name}", text, "make them yours: sudo chown -R $USER the folder")
        elif name in strange:
            yield warning(
                f"log: {name}", "is seen, but not understood: its client is newer than this program"
            )
        else:
            last = f", last changed {log.changed:%Y-%m-%d %H:%M} UTC" if log.changed else ""
            yield ok(f"log: {name}", f"{log.files} {'file' if log.files == 1 else 'files'}{last}")
    if not logs:
        yield unknown("logs", "no client's log is found")


async def check_clients(logs: Sequence[Log], engine: AsyncEngine, started_at: datetime) -> Sequence[Finding]:
    """Clients that ignore the proxy: their logs have grown since it started, nothing came by it."""
    by_wire, by_log = await _counts(engine, started_at)
    unnamed = sum(count for client, count in by_wire.items() if not _tells(client))
    found: list[Finding] = []
    for name in dict.fromkeys(log.source.client for log in logs):
        own = [log for log in logs if log.source.client == name]
        last = max((log.changed for log in own if log.changed), default=None)
        grown = last is not None and last > started_at
        if by_wire[name] or not (grown or by_log[name]):
            continue
        row = table().client(name)
        if not by_log[name] and unnamed and (row is None or row.silent):
            found.append(unknown(f"client: {name}", "its log grows; what came by the proxy may be its own"))
            continue
        what = f"{by_log[name]} calls in its log" if by_log[name] else f"its log grew at {last:%H:%M} UTC"
        text = f"ignores the proxy: {what}, none by the proxy since {started_at:%H:%M} UTC"
        found.append(fault(f"client: {name}", text, _mend(name)))
    return found


async def _counts(engine: AsyncEngine, since: datetime) -> tuple[Counter[str], Counter[str]]:
    """Exchanges by client: those that came by the proxy, and those that only a log tells of."""
    c = tables.exchanges.c
    statement = (
        select(c.client, c.method.is_not(None), func.count())
        .where(c.started_at >= instant(since))
        .group_by(c.client, c.method.is_not(None))
    )
    wire: Counter[str] = Counter()
    log: Counter[str] = Counter()
    async with engine.connect() as connection:
        for client, came, count in (await connection.execute(statement)).all():
            (wire if came else log)[client] += count
    return wire, log


def _tells(client: str) -> bool:
    """Whether this name on the wire is a client's own, not that of a library which any may use."""
    row = table().client(client)
    return row is not None and not row.silent


def _mend(name: str) -> str:
    row = table().client(name)
    return (
        f"kimi-mitm run -- {row.commands[0]}" if row else "kimi-mitm run -- its command, or kimi-mitm setup"
    )
