"""GitHub Copilot: the command line's events and its database, and the debug logs of Chat in VS Code.

`session.usage_record` has one call's figures (cached tokens inside) and the response's id; the sums in
`session.shutdown` go on over resumed sessions and are not needed. The database has the same calls without
ids, a millisecond sooner or later, so both share a key that is made of the call's figures. Versions before
that wrote only an answer's output tokens, in `assistant.message`.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final

from kimi_mitm.logs.figures import Figures, with_error_figures
from kimi_mitm.logs.jsonl import earlier, epoch_time, iso_time, table, text
from kimi_mitm.logs.record_reader import RecordReader
from kimi_mitm.logs.source import File, LogSource, Place, State
from kimi_mitm.logs.sqlite import columns, rows
from kimi_mitm.records import NO_USAGE, Problem, Reading, Source, Usage

CLIENT: Final = "copilot"
_TITLE: Final = re.compile(rb"^name: *(?:'([^'\n]+)'|\"([^\"\n]+)\"|([^\n]+))$", re.MULTILINE)
_SIDE: Final = "conversation-background"


class EventsReader(RecordReader):
    """Reads one session's `events.jsonl`."""

    def __init__(self, file: File, state: State) -> None:
        super().__init__(file, state)
        self._known = {
            name: text(state, name) for name in ("session", "version", "folder", "branch", "model")
        }

    def state(self) -> State:
        return self._known

    def _read(self, doc: dict[str, Any], number: int) -> Iterator[Reading]:
        kind, data, at = text(doc, "type"), table(doc, "data"), iso_time(doc.get("timestamp"))
        if kind is None or at is None:
            return
        self._file.tally.understood += 1
        if kind in ("session.start", "session.resume"):
            self._context(data)
        elif kind == "session.model_change":
            self._known["model"] = text(data, "newModel")
        elif kind == "session.usage_record":
            yield from self._record(table(data, "usage"), at, number)
        elif kind == "assistant.message" and data.get("outputTokens") and not text(data, "apiCallId"):
            usage = self._figures.usage(output=data.get("outputTokens"))
            key = f"{CLIENT}:{text(data, 'messageId')}"
            yield from self._reading(key, usage, at, number, text(data, "model"), None, None)

    def _context(self, data: dict[str, Any]) -> None:
        context = table(data, "context")
        found = {
            "session": text(data, "sessionId"),
            "version": text(data, "copilotVersion"),
            "folder": text(context, "cwd"),
            "branch": text(context, "branch"),
            "model": text(data, "selectedModel"),
        }
        self._known.update({name: value for name, value in found.items() if value})

    def _record(self, raw: dict[str, Any], at: datetime, number: int) -> Iterator[Reading]:
        usage = self._figures.usage(
            input=raw.get("inputTokens"),
            output=raw.get("outputTokens"),
            cache_read=raw.get("cacheReadTokens"),
            cache_write=raw.get("cacheWriteTokens"),
            reasoning=raw.get("reasoningTokens"),
        )
        key = _key(self._session(), at, usage, raw.get("duration"), raw.get("timeToFirstTokenMs"))
        begun = earlier(at, raw.get("duration"))
        yield from self._reading(key, usage, at, number, text(raw, "model"), begun, raw)

    def _reading(
        self,
        key: str,
        usage: Usage,
        at: datetime,
        number: int,
        model: str | None,
        begun: datetime | None,
        raw: dict[str, Any] | None,
    ) -> Iterator[Reading]:
        if not usage:
            return
        self._file.tally.readings += 1
        response = text(raw, "apiCallId")
        kind = text(raw, "interactionType")
        yield Reading(
            source=Source.LOGS,
            reported=True,
            at=at,
            started_at=begun,
            key=key,
            origin=f"{self._file.path}:{number}",
            log=self._file.source,
            usage=usage,
            client=CLIENT,
            client_version=self._known["version"],
            model=model or self._known["model"],
            client_session_id=self._session(),
            ids=(response,) if response else (),
            title=_title(self._file),
            folder=self._known["folder"],
            branch=self._known["branch"],
            subagent="subagent" if kind == "conversation-subagent" else None,
            side=None if kind is None else kind == _SIDE,
        )

    def _session(self) -> str | None:
        parts = self._file.path.replace("\\", "/").split("/")
        return self._known["session"] or (parts[-2] if len(parts) > 1 else None)


class StoreReader:
    """Reads `session-store.db`."""

    def __init__(self, file: File, state: State) -> None:
        self._file = file
        self._figures = Figures(file.tally)
        last = state.get("last")
        self._last = last if isinstance(last, int) else 0

    def state(self) -> State:
        return {"last": self._last}

    def read(self, db: sqlite3.Connection, since: datetime | None) -> Iterator[Reading]:
        if "input_tokens" not in columns(db, "assistant_usage_events"):
            return
        sql = (
            "SELECT e.*, s.cwd, s.summary FROM assistant_usage_events e "
            "LEFT JOIN sessions s ON s.id = e.session_id WHERE e.id > ? ORDER BY e.id"
        )
        for row in rows(db, sql, (self._last,)):
            self._file.tally.seen += 1
            self._last = row["id"] if isinstance(row["id"], int) else self._last
            record = dict(zip(row.keys(), row, strict=True))
            at = iso_time(record.get("created_at"))
            if at is None or (since is not None and at < since):
                continue
            self._file.tally.understood += 1
            yield from self._event(record, at)

    def _event(self, row: dict[str, Any], at: datetime) -> Iterator[Reading]:
        usage = self._figures.usage(
            input=row.get("input_tokens"),
            output=row.get("output_tokens"),
            cache_read=row.get("cache_read_tokens"),
            cache_write=row.get("cache_write_tokens"),
            reasoning=row.get("reasoning_tokens"),
        )
        if not usage:
            return
        self._file.tally.readings += 1
        session = text(row, "session_id")
        yield Reading(
            source=Source.LOGS,
            reported=True,
            at=at,
            started_at=earlier(at, row.get("duration_ms")),
            key=_key(session, at, usage, row.get("duration_ms"), row.get("time_to_first_token_ms")),
            origin=f"{self._file.path}#{row['id']}",
            log=self._file.source,
            usage=usage,
            client=CLIENT,
            model=text(row, "model"),
            client_session_id=session,
            title=text(row, "summary"),
            folder=text(row, "cwd"),
            subagent=text(row, "agent_id"),
            finish_reason=text(row, "finish_reason"),
        )


class DebugReader(RecordReader):
    """Reads one session's `main.jsonl`, or a sub-agent's file beside it."""

    def _read(self, doc: dict[str, Any], number: int) -> Iterator[Reading]:
        if text(doc, "type") is None:
            return
        self._file.tally.understood += 1
        begun, attrs = epoch_time(doc.get("ts")), table(doc, "attrs")
        if doc["type"] != "llm_request" or begun is None:
            return
        usage = self._figures.usage(
            input=attrs.get("inputTokens"),
            output=attrs.get("outputTokens"),
            cache_read=attrs.get("cachedTokens"),
        )
        failed = doc.get("status") == "error" and not usage
        problem = Problem("error", (text(attrs, "error") or "")[:2000]) if failed else None
        if not usage and problem is None:
            return
        self._file.tally.readings += 1
        took = doc.get("dur")
        ms = took if isinstance(took, (int, float)) and 0 <= took <= 86_400_000 else 0
        name = self._file.path.replace("\\", "/").rpartition("/")[2]
        reading = Reading(
            source=Source.LOGS,
            reported=True,
            at=begun + timedelta(milliseconds=ms),
            started_at=begun,
            key=f"{CLIENT}:{text(doc, 'sid')}:{text(doc, 'spanId')}",
            origin=f"{self._file.path}:{number}",
            log=self._file.source,
            usage=usage or NO_USAGE,
            client=CLIENT,
            model=text(attrs, "model"),
            client_session_id=text(doc, "sid"),
            subagent=None if name == "main.jsonl" else name.rpartition("-")[0] or None,
            problem=problem,
        )
        yield with_error_figures(reading)


def _key(session: str | None, at: datetime, usage: Usage, took: Any, first: Any) -> str:
    """The same in both files. `took`, `first`: whole ms to the end, ms to the first token to the ns."""
    if earlier(at, took) is None:
        return f"{CLIENT}:{session}:{at.isoformat()}:{usage.input_tokens}"
    waited = f"{first:.3f}" if earlier(at, first) is not None else "-"
    return f"{CLIENT}:{session}:{usage.input_tokens}:{usage.output_tokens}:{took:.0f}:{waited}"


def _title(file: File) -> str | None:
    found = _TITLE.search(file.beside("workspace.yaml") or b"")
    return (found[1] or found[2] or found[3]).decode("utf-8", "replace").strip() if found else None


SOURCES: Final = (
    LogSource(
        name="copilot",
        client=CLIENT,
        lines=EventsReader,
        places=(Place(root="{home}/.copilot", env="COPILOT_HOME", pattern="session-state/*/events.jsonl"),),
    ),
    LogSource(
        name="copilot-store",
        client=CLIENT,
        database=StoreReader,
        places=(Place(root="{home}/.copilot", env="COPILOT_HOME", pattern="session-store.db"),),
    ),
    LogSource(
        name="copilot-vscode",
        client=CLIENT,
        lines=DebugReader,
        places=(
            Place(root="{vscode}/workspaceStorage", pattern="*/GitHub.copilot-chat/debug-logs/*/*.jsonl"),
        ),
    ),
)
