"""The exchanges of one run, from where they were recorded.  [I/O]

SQLite is read without the store's own machinery, whose loading would take longer than all the rest of
a run's end.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from kimi_mitm.launch import proxies
from kimi_mitm.launch.summary import Seen
from kimi_mitm.render import instant

SETTLE_S = 4.0
"""So long a running proxy is asked again while an exchange of the run has not ended."""
_APPEAR_S = 1.5
"""And so long while there is none at all: a proxy that has only just started stores the first one late."""
_AGAIN_S = 0.25
_MARGIN = timedelta(minutes=1)
_PAGES = 200
_COLUMNS = (
    "session_id, client_session_id, estimated_input_tokens, input_tokens, output_tokens, is_estimated, "
    "source, cost_usd, side, error, ended_at, notes"
)


def of_file(path: str, run_id: str, since: datetime) -> list[Seen]:
    """From an SQLite file. Raises OSError or `sqlite3.Error`."""
    uri = f"file:{quote(str(Path(path).expanduser().absolute()))}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=5)) as db:
        db.row_factory = sqlite3.Row
        wanted = (
            f"select {_COLUMNS} from exchanges where started_at >= ? and notes like ? order by started_at"
        )
        rows = db.execute(wanted, (instant(since - _MARGIN), f"%{run_id}%")).fetchall()
    found = [{**row, "notes": _decoded(row["notes"])} for row in map(dict, rows)]
    return [_seen(row) for row in found if _is_of(row, run_id)]


def of_control(control: tuple[str, int], token: str, run_id: str, since: datetime) -> list[Seen] | None:
    """From a running proxy, whose exchanges are waited for a little; None when it doesn't answer."""
    began = time.monotonic()
    while True:
        rows = _pages(lambda path: proxies.get(control, path, token=token, limit_s=10.0), since)
        if rows is None:
            return None
        found = [_seen(row) for row in rows if _is_of(row, run_id)]
        patience = SETTLE_S if any(s.open for s in found) else 0.0 if found else _APPEAR_S
        if time.monotonic() - began >= patience:
            return found
        time.sleep(_AGAIN_S)


def of_database(where: str, run_id: str, since: datetime) -> list[Seen]:
    """From any other database. Raises `StoreError`."""
    from kimi_mitm.render import exchange_json
    from kimi_mitm.store.database import connect
    from kimi_mitm.store.exchanges import Wanted, stream

    async def read() -> list[Seen]:
        engine = await connect(where, create=False)
        try:
            rows = [exchange_json(e) async for e in stream(engine, Wanted(since=since - _MARGIN))]
        finally:
            await engine.dispose()
        return [_seen(row) for row in rows if _is_of(row, run_id)]

    return asyncio.run(read())


def now() -> datetime:
    """The time, UTC."""
    return datetime.now(UTC)


def _pages(ask: Callable[[str], Any], since: datetime) -> list[Mapping[str, Any]] | None:
    rows: list[Mapping[str, Any]] = []
    query: dict[str, Any] = {"since": instant(since - _MARGIN), "limit": 1000}
    for _ in range(_PAGES):
        page = ask(f"/api/exchanges?{urlencode(query)}")
        if not isinstance(page, dict) or not isinstance(page.get("exchanges"), list):
            return None
        rows += page["exchanges"]
        if not page.get("next"):
            break
        query["after"] = page["next"]
    return rows


def _is_of(row: Mapping[str, Any], run_id: str) -> bool:
    notes = row["notes"]
    return isinstance(notes, dict) and notes.get("run") == run_id


def _seen(row: Mapping[str, Any]) -> Seen:
    cost = row["cost_usd"]
    return Seen(
        session_id=row["session_id"],
        client_session_id=row["client_session_id"],
        estimated=row["estimated_input_tokens"],
        input_tokens=row["input_tokens"],
        output_tokens=row["output_tokens"],
        reported=row["source"] == "usage" and not row["is_estimated"],
        cost_usd=Decimal(cost) if cost is not None else None,
        side=bool(row["side"]),
        failed=row["error"] is not None,
        open=row["ended_at"] is None,
    )


def _decoded(text: str | None) -> Any:
    with contextlib.suppress(ValueError, RecursionError):
        return json.loads(text or "null")
    return None
