"""Goose: a SQLite database. A session's row has the figures of its last call, and sums over all calls.

The last call is read whenever the sums have grown; calls between two looks are in the sums only, and
how many they were is not known, so they make no reading. The sums are the key.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from kimi_mitm.logs.figures import Figures
from kimi_mitm.logs.jsonl import decode, iso_time, text
from kimi_mitm.logs.source import File, LogSource, Place, State
from kimi_mitm.logs.sqlite import columns, rows
from kimi_mitm.records import Reading, Source

CLIENT: Final = "goose"


class SessionsReader:
    """Reads `sessions.db`."""

    def __init__(self, file: File, state: State) -> None:
        self._file = file
        self._figures = Figures(file.tally)
        self._last = text(state, "last")

    def state(self) -> State:
        return {"last": self._last}

    def read(self, db: sqlite3.Connection, since: datetime | None) -> Iterator[Reading]:
        if "updated_at" not in columns(db, "sessions"):
            return
        sql = "SELECT * FROM sessions WHERE updated_at >= ? ORDER BY updated_at"
        for row in rows(db, sql, (self._last or "",)):
            self._file.tally.seen += 1
            record = dict(zip(row.keys(), row, strict=True))
            at = iso_time(record.get("updated_at"))
            if at is None:
                continue
            self._last = text(record, "updated_at") or self._last
            self._file.tally.understood += 1
            if since is None or at >= since:
                yield from self._session(record, at)

    def _session(self, row: dict[str, Any], at: datetime) -> Iterator[Reading]:
        usage = self._figures.usage(input=row.get("input_tokens"), output=row.get("output_tokens"))
        if not usage:
            return
        self._file.tally.readings += 1
        name, sums = row.get("id"), row.get("accumulated_total_tokens")
        yield Reading(
            source=Source.LOGS,
            reported=True,
            at=at,
            key=f"{CLIENT}:{name}:{sums}",
            origin=f"{self._file.path}#{name}",
            log=self._file.source,
            usage=usage,
            client=CLIENT,
            model=text(decode(text(row, "model_config_json") or ""), "model_name"),
            client_session_id=text(row, "id"),
            title=text(row, "description") or text(row, "name"),
            folder=text(row, "working_dir"),
        )


_PATTERN: Final = "sessions/sessions.db"

SOURCES: Final = (
    LogSource(
        name="goose",
        client=CLIENT,
        database=SessionsReader,
        places=(
            Place(root="{data}/goose", pattern=_PATTERN),
            Place(root="{appdata}/goose", pattern=_PATTERN),
            Place(root="{appdata}/Block/goose", pattern=_PATTERN),
            Place(root="{appdata}/Block/goose/data", env="GOOSE_PATH_ROOT", pattern="data/" + _PATTERN),
        ),
    ),
)
