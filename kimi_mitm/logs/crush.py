"""Crush: one SQLite database per project, found through the list of projects.

A session's row has the figures of its last call, overwritten by each; `prompt_tokens` has the tokens
read from a cache and leaves out those written to it, so it is a lower bound where a provider bills
writes (Anthropic). Times are whole seconds. Sub-agents are sessions with a parent.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from kimi_mitm.logs.figures import Figures
from kimi_mitm.logs.jsonl import decode, epoch_time, items, text
from kimi_mitm.logs.source import File, LogSource, Place, State
from kimi_mitm.logs.sqlite import columns, rows
from kimi_mitm.records import NO_USAGE, Reading, Source

CLIENT: Final = "crush"
_MODEL: Final = (
    "SELECT model, provider FROM messages "
    "WHERE session_id = ? AND role = 'assistant' AND model IS NOT NULL ORDER BY created_at DESC LIMIT 1"
)
_BILL_WRITES: Final = frozenset({"anthropic", "bedrock", "vertexai"})


class ProjectReader:
    """Reads one project's `crush.db`."""

    def __init__(self, file: File, state: State) -> None:
        self._file = file
        self._figures = Figures(file.tally)
        last = state.get("last")
        self._last = last if isinstance(last, int) else 0

    def state(self) -> State:
        return {"last": self._last}

    def read(self, db: sqlite3.Connection, since: datetime | None) -> Iterator[Reading]:
        if "updated_at" not in columns(db, "sessions"):
            return
        sql = "SELECT * FROM sessions WHERE updated_at >= ? ORDER BY updated_at"
        for row in rows(db, sql, (self._last,)):
            self._file.tally.seen += 1
            record = dict(zip(row.keys(), row, strict=True))
            at = epoch_time(record.get("updated_at"))
            if at is None:
                continue
            self._last = int(record["updated_at"])
            self._file.tally.understood += 1
            if since is None or at >= since:
                yield from self._session(db, record, at)

    def _session(self, db: sqlite3.Connection, row: dict[str, Any], at: datetime) -> Iterator[Reading]:
        usage = self._figures.usage(input=row.get("prompt_tokens"), output=row.get("completion_tokens"))
        if usage == NO_USAGE or not (usage.input_tokens or usage.output_tokens):
            return
        self._file.tally.readings += 1
        name = text(row, "id")
        last = next(rows(db, _MODEL, (name,)), None)
        yield Reading(
            source=Source.LOGS,
            reported=True,
            at=at,
            key=f"{CLIENT}:{name}:{row['updated_at']}:{usage.input_tokens}",
            origin=f"{self._file.path}#{name}",
            log=self._file.source,
            usage=usage,
            client=CLIENT,
            model=last["model"] if last is not None else None,
            client_session_id=name,
            lower_bound=last is not None and last["provider"] in _BILL_WRITES,
            title=text(row, "title"),
            folder=_project(self._file.path),
            subagent="subagent" if text(row, "parent_session_id") else None,
        )


def _project(path: str) -> str | None:
    folder = path.replace("\\", "/").rpartition("/")[0]
    return folder.removesuffix("/.crush") if folder.endswith("/.crush") else None


def data_folders(data: bytes) -> Iterator[str]:
    """The folders that the list of projects names."""
    for project in items(decode(data), "projects"):
        if folder := text(project, "data_dir"):
            yield folder


SOURCES: Final = (
    LogSource(
        name="crush",
        client=CLIENT,
        database=ProjectReader,
        places=(Place(root="{data}/crush/projects.json", pattern="crush.db", registry=data_folders),),
    ),
)
