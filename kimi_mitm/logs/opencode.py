"""opencode: a SQLite database since 1.2, before that one small JSON file per message.

Figures stand in four tables; those of `part` are read, where each `step-finish` is one request. Cached
tokens are beside `input`, reasoning is beside `output`. The message that a step belongs to gives model
and times, the session title and folder. A message is complete only when its tools have run, so the end
of the answer is the start of the first tool. Requests for titles are in no table.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from kimi_mitm.logs.figures import Figures, with_error_figures
from kimi_mitm.logs.jsonl import decode, dig, epoch_time, table, text
from kimi_mitm.logs.source import File, LogSource, Place, State
from kimi_mitm.logs.sqlite import columns, rows
from kimi_mitm.records import NO_USAGE, Problem, Reading, Source, Usage

CLIENT: Final = "opencode"
_UNNAMED: Final = re.compile(r"(?:New|Child) session - \d{4}-")
_MESSAGES: Final = """
    SELECT m.id, m.session_id, m.time_updated, m.data, s.title, s.directory, s.parent_id, s.version
    FROM message m LEFT JOIN session s ON s.id = m.session_id
    WHERE m.time_updated >= ? ORDER BY m.time_updated
"""
_SESSIONS: Final = "SELECT id, title, directory, version, time_updated FROM session WHERE time_updated >= ?"
_PARTS: Final = "SELECT time_created, data FROM part WHERE message_id = ? ORDER BY id"


class DatabaseReader:
    """Reads a database of opencode or of a program that descends from it."""

    def __init__(self, file: File, state: State, client: str = CLIENT) -> None:
        self._file = file
        self._figures = Figures(file.tally)
        self._client = client
        self._messages = _whole(state.get("messages"))
        self._sessions = _whole(state.get("sessions"))

    def state(self) -> State:
        return {"messages": self._messages, "sessions": self._sessions}

    def read(self, db: sqlite3.Connection, since: datetime | None) -> Iterator[Reading]:
        start = 0 if since is None else int(since.timestamp() * 1000)
        if "time_updated" not in columns(db, "message"):
            return
        for row in rows(db, _MESSAGES, (self._messages or start,)):
            self._messages = max(self._messages, _whole(row["time_updated"]))
            yield from self._message(db, row)
        for row in rows(db, _SESSIONS, (self._sessions or start,)):
            self._sessions = max(self._sessions, _whole(row["time_updated"]))
            yield from self._session(row)

    def _message(self, db: sqlite3.Connection, row: sqlite3.Row) -> Iterator[Reading]:
        self._file.tally.seen += 1
        doc = decode(_text(row["data"]) or "")
        if doc is None or not text(doc, "role"):
            return
        self._file.tally.understood += 1
        if doc.get("role") != "assistant":
            return
        parts = [
            (r["time_created"], decode(_text(r["data"]) or "") or {}) for r in rows(db, _PARTS, (row["id"],))
        ]
        about = {
            "client_session_id": _text(row["session_id"]),
            "title": _title(row["title"]),
            "folder": _text(row["directory"]),
            "client_version": _text(row["version"]),
            "subagent": text(doc, "agent") or "subagent" if row["parent_id"] else None,
        }
        number = 0
        tools: list[datetime] = []
        for created, part in parts:
            if part.get("type") == "tool" and (began := epoch_time(dig(part, "state", "time", "start"))):
                tools.append(began)
            if part.get("type") != "step-finish":
                continue
            if usage := _usage(self._figures, part):
                at = min([*tools, *filter(None, [epoch_time(created)])], default=None)
                yield from self._reading(doc, _text(row["id"]), number, usage, at, about)
            tools, number = [], number + 1
        if number == 0:
            yield from self._reading(doc, _text(row["id"]), 0, _usage(self._figures, doc), None, about)

    def _reading(
        self,
        doc: dict[str, Any],
        name: str | None,
        step: int,
        usage: Usage,
        at: datetime | None,
        about: dict[str, str | None],
    ) -> Iterator[Reading]:
        origin = f"{self._file.path}#{name}"
        found = _reading(doc, name, step, usage, at, self._client, origin, about)
        if found:
            self._file.tally.readings += 1
            yield found

    def _session(self, row: sqlite3.Row) -> Iterator[Reading]:
        at, title, name = epoch_time(row["time_updated"]), _title(row["title"]), _text(row["id"])
        if at and title and name:
            folder, version = _text(row["directory"]), _text(row["version"])
            yield _note(self._client, name, title, at, f"{self._file.path}#{name}", folder, version)


def read_message(data: bytes, file: File, client: str = CLIENT) -> Iterator[Reading]:
    """Reads one message of the old JSON storage."""
    doc = decode(data) or {}
    file.tally.seen += 1
    if not text(doc, "role"):
        return
    file.tally.understood += 1
    session = text(doc, "sessionID")
    about = {"client_session_id": session, "folder": text(doc, "path", "cwd")}
    usage = _usage(Figures(file.tally), doc)
    found = _reading(doc, text(doc, "id"), 0, usage, None, client, file.path, about)
    if doc.get("role") == "assistant" and found:
        file.tally.readings += 1
        yield found


def read_old_session(data: bytes, file: File, client: str = CLIENT) -> Iterator[Reading]:
    """Reads one session of the old JSON storage: its title and folder."""
    doc = decode(data) or {}
    file.tally.seen += 1
    name, title = text(doc, "id"), _title(doc.get("title"))
    at = epoch_time(dig(doc, "time", "updated")) or file.modified
    if name is None or title is None or at is None:
        return
    file.tally.understood += 1
    yield _note(client, name, title, at, file.path, text(doc, "directory"), text(doc, "version"))


def _note(
    client: str,
    session: str,
    title: str,
    at: datetime,
    origin: str,
    folder: str | None,
    version: str | None,
) -> Reading:
    return Reading(
        source=Source.LOGS,
        reported=False,
        at=at,
        key=f"{client}:{session}:title",
        origin=origin,
        client=client,
        client_version=version,
        client_session_id=session,
        title=title,
        folder=folder,
    )


def _usage(figures: Figures, doc: dict[str, Any]) -> Usage:
    tokens = table(doc, "tokens")
    said = [tokens.get("input"), tokens.get("output"), *table(tokens, "cache").values()]
    if all(value in (None, 0) for value in said):
        return NO_USAGE
    return figures.usage(
        input=tokens.get("input"),
        output=tokens.get("output"),
        reasoning=tokens.get("reasoning"),
        cache_read=dig(tokens, "cache", "read"),
        cache_write=dig(tokens, "cache", "write"),
        cost=doc.get("cost"),
        cache_apart=True,
        reasoning_apart=True,
    )


def _reading(
    doc: dict[str, Any],
    name: str | None,
    step: int,
    usage: Usage,
    at: datetime | None,
    client: str,
    origin: str,
    about: dict[str, str | None],
) -> Reading | None:
    """A step's reading; of a message without figures only when it failed. All-zero figures are what a
    message begins with."""
    begun = epoch_time(dig(doc, "time", "created"))
    moment = at or epoch_time(dig(doc, "time", "completed")) or begun
    problem = _problem(doc)
    if name is None or moment is None or not (usage or problem):
        return None
    reading = Reading(
        source=Source.LOGS,
        reported=True,
        at=moment,
        started_at=begun if step == 0 and begun and begun < moment else None,
        key=f"{client}:{name}" + (f":{step}" if step else ""),
        origin=origin,
        usage=usage,
        client=client,
        model=text(doc, "modelID"),
        problem=problem,
        finish_reason=text(doc, "finish"),
        client_session_id=about.get("client_session_id"),
        client_version=about.get("client_version"),
        title=about.get("title"),
        folder=about.get("folder"),
        subagent=about.get("subagent"),
    )
    return with_error_figures(reading)


def _problem(doc: dict[str, Any]) -> Problem | None:
    error = table(doc, "error")
    if not error:
        return None
    words = text(error, "data", "message") or text(error, "message") or ""
    return Problem(text(error, "name") or "error", words[:2000])


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _title(value: Any) -> str | None:
    """A session's title, unless it is the one that it has until it gets one."""
    title = _text(value)
    return None if title is None or _UNNAMED.match(title) else title


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def open_store(file: File, state: State) -> DatabaseReader:
    """Opens a reader of `opencode.db`."""
    return DatabaseReader(file, state)


SOURCES: Final = (
    LogSource(
        name="opencode",
        client=CLIENT,
        database=open_store,
        places=(Place(root="{data}/opencode", env="OPENCODE_DATA_DIR", pattern="opencode*.db"),),
    ),
    LogSource(
        name="opencode-storage",
        client=CLIENT,
        document=read_message,
        places=(Place(root="{data}/opencode", env="OPENCODE_DATA_DIR", pattern="storage/message/*/*.json"),),
    ),
    LogSource(
        name="opencode-storage-sessions",
        client=CLIENT,
        document=read_old_session,
        places=(Place(root="{data}/opencode", env="OPENCODE_DATA_DIR", pattern="storage/session/*/*.json"),),
    ),
)
