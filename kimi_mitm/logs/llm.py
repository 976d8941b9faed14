"""The `llm` command: a SQLite database, table `turns` since 0.36, `responses` before.

`input_tokens` is the whole prompt with OpenAI and Google; with Anthropic it leaves the cached tokens
out, and `token_details` has them only where it has them: without, the figure is a lower bound. The time
is the request's start. The provider's own answer, kept beside it, has the response's id.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from kimi_mitm.logs.figures import Figures
from kimi_mitm.logs.jsonl import decode, dig, iso_time, text
from kimi_mitm.logs.source import File, LogSource, Place, State
from kimi_mitm.logs.sqlite import columns, rows
from kimi_mitm.records import Reading, Source, Usage

CLIENT: Final = "llm"
_TABLES: Final = (
    ("turns", "threads", "thread_id"),
    ("responses", "conversations", "conversation_id"),
)
_LONGEST_MS: Final = 86_400_000
_CACHE_READ: Final = (
    ("prompt_tokens_details", "cached_tokens"),
    ("input_tokens_details", "cached_tokens"),
    ("cachedContentTokenCount",),
    ("cache_read_input_tokens",),
)
_REASONING: Final = (
    ("completion_tokens_details", "reasoning_tokens"),
    ("output_tokens_details", "reasoning_tokens"),
    ("thoughtsTokenCount",),
)


class LogsReader:
    """Reads `logs.db`."""

    def __init__(self, file: File, state: State) -> None:
        self._file = file
        self._figures = Figures(file.tally)
        self._last = {name: value for name, value in state.items() if isinstance(value, int)}

    def state(self) -> State:
        return self._last

    def read(self, db: sqlite3.Connection, since: datetime | None) -> Iterator[Reading]:
        for name, groups, group in _TABLES:
            if "input_tokens" not in columns(db, name):
                continue
            highest = next(rows(db, f"SELECT max(rowid) AS n FROM {name}"))["n"] or 0
            last = self._last.get(name, 0)
            last = last if last <= highest else 0  # a table rebuilt by a migration is numbered anew
            sql = (
                f"SELECT t.rowid AS n, t.*, g.name AS title FROM {name} t "
                f"LEFT JOIN {groups} g ON g.id = t.{group} WHERE t.rowid > ? ORDER BY t.rowid"
            )
            for row in rows(db, sql, (last,)):
                self._last[name] = row["n"]
                yield from self._row(dict(zip(row.keys(), row, strict=True)), group, since)

    def _row(self, row: dict[str, Any], group: str, since: datetime | None) -> Iterator[Reading]:
        self._file.tally.seen += 1
        begun = iso_time(row.get("datetime_utc"))
        if begun is None or (since is not None and begun < since.astimezone(UTC)):
            return
        self._file.tally.understood += 1
        answer = decode(text(row, "response_json") or "") or {}
        usage, bound = self._usage(row)
        if not usage:
            return
        self._file.tally.readings += 1
        took = row.get("duration_ms")
        whole = isinstance(took, int) and 0 <= took <= _LONGEST_MS
        response = text(answer, "id") or text(answer, "responseId")
        yield Reading(
            source=Source.LOGS,
            reported=True,
            at=begun + timedelta(milliseconds=took) if whole and took else begun,
            started_at=begun,
            key=f"{CLIENT}:{row.get('id')}",
            origin=f"{self._file.path}#{row.get('id')}",
            log=self._file.source,
            usage=usage,
            client=CLIENT,
            model=text(answer, "model") or text(row, "resolved_model") or text(row, "model"),
            client_session_id=text(row, group),
            ids=(response,) if response else (),
            title=text(row, "title"),
            lower_bound=bound,
        )

    def _usage(self, row: dict[str, Any]) -> tuple[Usage, bool]:
        details = decode(text(row, "token_details") or "") or {}
        read = next((found for path in _CACHE_READ if (found := dig(details, *path)) is not None), None)
        write = details.get("cache_creation_input_tokens")
        apart = _is_anthropic(text(row, "model") or "")
        usage = self._figures.usage(
            input=row.get("input_tokens"),
            output=row.get("output_tokens"),
            cache_read=read,
            cache_write=write,
            reasoning=next((f for path in _REASONING if (f := dig(details, *path)) is not None), None),
            cache_apart=apart,
        )
        bound = apart and read is None and write is None and usage.input_tokens is not None
        return (replace(usage, total_tokens=None) if bound else usage), bound


def _is_anthropic(model: str) -> bool:
    return "claude" in model or model.startswith("anthropic/")


SOURCES: Final = (
    LogSource(
        name="llm",
        client=CLIENT,
        database=LogsReader,
        places=(Place(root="{appdata}/io.datasette.llm", env="LLM_USER_PATH", pattern="logs.db"),),
    ),
)
