"""Gemini CLI: chats under `tmp/<project>/chats/`, and its telemetry file where the user asked for one.

Chats are JSONL since 0.2x (a message is written again, under the same id, when its figures or its tools'
results arrive; `$set` lines repeat the whole conversation when it is resumed) and one JSON document
before. Both have `tokens`: input with the cached, output without the thoughts. Telemetry is JSON objects
spread over lines, one behind the other, nothing between them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from kimi_mitm.logs.figures import Figures, with_error_figures
from kimi_mitm.logs.jsonl import decode, earlier, iso_time, items, table, text
from kimi_mitm.logs.source import File, LogSource, Place, State
from kimi_mitm.records import Problem, Reading, Source, Usage

CLIENT: Final = "gemini-cli"
_MOST_LINES: Final = 1_000_000  # of one telemetry object; request texts are long


def chat_usage(figures: Figures, tokens: dict[str, Any]) -> Usage:
    """The usage in a chat message's `tokens`."""
    return figures.google(
        prompt=tokens.get("input"),
        answer=tokens.get("output"),
        cached=tokens.get("cached"),
        thoughts=tokens.get("thoughts"),
        tool=tokens.get("tool"),
        total=tokens.get("total"),
    )


def chat_reading(
    message: dict[str, Any], usage: Usage, *, client: str, session: str | None, origin: str, at: datetime
) -> Reading:
    """The reading of one answer in a chat, the JSONL's and the old document's alike."""
    name = text(message, "id") or at.isoformat()
    return Reading(
        source=Source.LOGS,
        reported=True,
        at=at,
        key=f"{client}:{session}:{name}",
        origin=origin,
        usage=usage,
        client=client,
        model=text(message, "model"),
        client_session_id=session,
    )


class ChatReader:
    """Reads one chat in JSONL."""

    def __init__(self, file: File, state: State) -> None:
        self._file = file
        self._figures = Figures(file.tally)
        self._session = text(state, "session")
        self._subagent = text(state, "subagent")

    def state(self) -> State:
        return {"session": self._session, "subagent": self._subagent}

    def feed(self, line: bytes, number: int) -> Iterator[Reading]:
        self._file.tally.seen += 1
        if b'"tokens"' not in line and b'"sessionId"' not in line:
            return
        doc = decode(line)
        if doc is None or "$set" in doc:
            return
        if session := text(doc, "sessionId"):
            self._session = session
            self._subagent = session if text(doc, "kind") == "subagent" else None
        elif (tokens := table(doc, "tokens")) and (at := iso_time(doc.get("timestamp"))):
            self._file.tally.understood += 1
            if usage := chat_usage(self._figures, tokens):
                self._file.tally.readings += 1
                yield self._reading(doc, usage, at, number)

    def _reading(self, doc: dict[str, Any], usage: Usage, at: datetime, number: int) -> Reading:
        reading = chat_reading(
            doc,
            usage,
            client=CLIENT,
            session=self._session,
            origin=f"{self._file.path}:{number}",
            at=at,
        )
        return replace(reading, subagent=self._subagent, folder=_folder(self._file), log=self._file.source)


def _folder(file: File) -> str | None:
    """The project's folder, which a file beside the chats names."""
    for up in ("../", "../../"):
        if root := file.beside(f"{up}.project_root"):
            return root.decode("utf-8", "replace").strip() or None
    return None


def read_chat(data: bytes, file: File) -> Iterator[Reading]:
    """Reads one chat that is a JSON document (before 0.2x)."""
    return read_chat_of(CLIENT, data, file)


def read_chat_of(client: str, data: bytes, file: File) -> Iterator[Reading]:
    """As `read_chat`, for a program that descends from Gemini CLI."""
    doc = decode(data) or {}
    session = text(doc, "sessionId")
    figures = Figures(file.tally)
    for index, message in enumerate(items(doc, "messages")):
        file.tally.seen += 1
        tokens, at = table(message, "tokens"), iso_time(table(message).get("timestamp"))
        if text(message, "id"):
            file.tally.understood += 1
        if not tokens or at is None:
            continue
        if usage := chat_usage(figures, tokens):
            file.tally.readings += 1
            origin = f"{file.path}#{index}"
            yield chat_reading(message, usage, client=client, session=session, origin=origin, at=at)


class TelemetryReader:
    """Reads a telemetry file: gathers lines until an object closes."""

    def __init__(self, file: File, state: State) -> None:
        self._file = file
        self._figures = Figures(file.tally)
        self._lines = [line.encode() for line in items(state, "lines") if isinstance(line, str)]

    def state(self) -> State:
        return {"lines": [line.decode("utf-8", "replace") for line in self._lines]}

    def feed(self, line: bytes, number: int) -> Iterator[Reading]:
        if line.startswith(b"{"):
            self._lines.clear()
        if line.startswith(b"{") or (self._lines and len(self._lines) < _MOST_LINES):
            self._lines.append(line)
        if not line.rstrip().endswith(b"}") or line.startswith(b" ") or not self._lines:
            return
        doc = decode(b"\n".join(self._lines))
        self._lines.clear()
        self._file.tally.seen += 1
        attributes = table(doc, "attributes")
        if (name := text(attributes, "event.name")) is None:
            return
        self._file.tally.understood += 1
        at = iso_time(attributes.get("event.timestamp"))
        if at and name in ("gemini_cli.api_response", "gemini_cli.api_error"):
            yield from self._event(attributes, at, number, name.endswith("error"))

    def _event(self, raw: dict[str, Any], at: datetime, number: int, failed: bool) -> Iterator[Reading]:
        usage = self._figures.google(
            prompt=raw.get("input_token_count"),
            answer=raw.get("output_token_count"),
            cached=raw.get("cached_content_token_count"),
            thoughts=raw.get("thoughts_token_count"),
            tool=raw.get("tool_token_count"),
            total=raw.get("total_token_count"),
        )
        words = text(raw, "error") or text(raw, "error.message")
        if not usage and not words:
            return
        self._file.tally.readings += 1
        session = text(raw, "session.id")
        finish = items(raw, "finish_reasons")
        reading = Reading(
            source=Source.LOGS,
            reported=True,
            at=at,
            key=f"{CLIENT}:{session}:{text(raw, 'prompt_id')}:{at.isoformat()}",
            origin=f"{self._file.path}:{number}",
            usage=usage,
            client=CLIENT,
            log=self._file.source,
            model=text(raw, "model"),
            client_session_id=session,
            started_at=earlier(at, raw.get("duration_ms")),
            side=None if (role := text(raw, "role")) is None else role != "main",
            problem=Problem(text(raw, "error_type") or "api_error", (words or "")[:2000]) if failed else None,
            finish_reason=finish[0] if finish and isinstance(finish[0], str) else None,
        )
        yield with_error_figures(reading)


_TMP: Final = "tmp/*/chats/"

SOURCES: Final = (
    LogSource(
        name="gemini-cli",
        client=CLIENT,
        lines=ChatReader,
        places=(Place(root="{home}/.gemini", env="GEMINI_DIR", pattern=_TMP + "**/*.jsonl"),),
    ),
    LogSource(
        name="gemini-cli-old",
        client=CLIENT,
        document=read_chat,
        places=(Place(root="{home}/.gemini", env="GEMINI_DIR", pattern=_TMP + "*.json"),),
    ),
    LogSource(
        name="gemini-telemetry",
        client=CLIENT,
        lines=TelemetryReader,
        places=(Place(root="{home}/.gemini/telemetry.log", env="GEMINI_TELEMETRY_OUTFILE", pattern=""),),
    ),
)
