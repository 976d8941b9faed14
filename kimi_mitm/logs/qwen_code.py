"""Qwen Code: a JSONL per session under `projects/`, a ledger of calls under `usage/`, old chats under `tmp/`.

In a session's file one call is written twice: as a `ui_telemetry` event, which has the response's id and
also covers calls in the background, and as the `assistant` message, which is not needed then. The ledger
has the same calls once more, without ids. Both bear the same time to the millisecond, so they share keys.
Input has the cached tokens, output the thoughts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from kimi_mitm.logs.figures import with_error_figures
from kimi_mitm.logs.gemini_cli import read_chat_of
from kimi_mitm.logs.jsonl import decode, earlier, iso_time, table, text
from kimi_mitm.logs.record_reader import RecordReader
from kimi_mitm.logs.source import File, LogSource, Place
from kimi_mitm.records import Problem, Reading, Source

CLIENT: Final = "qwen-code"


class ChatReader(RecordReader):
    """Reads one session's file."""

    def feed(self, line: bytes, number: int) -> Iterator[Reading]:
        self._file.tally.seen += 1
        if b'"ui_telemetry"' not in line or (doc := decode(line)) is None:
            return
        raw = table(doc, "systemPayload", "uiEvent")
        at = iso_time(raw.get("event.timestamp")) or iso_time(doc.get("timestamp"))
        if at is None or doc.get("subtype") != "ui_telemetry":
            return
        self._file.tally.understood += 1
        if raw.get("event.name") in ("qwen-code.api_response", "qwen-code.api_error"):
            yield from self._event(doc, raw, at, number)

    def _event(
        self, doc: dict[str, Any], raw: dict[str, Any], at: datetime, number: int
    ) -> Iterator[Reading]:
        usage = self._figures.google(
            prompt=raw.get("input_token_count"),
            answer=raw.get("output_token_count"),
            cached=raw.get("cached_content_token_count"),
            thoughts=raw.get("thoughts_token_count"),
            tool=raw.get("tool_token_count"),
            total=raw.get("total_token_count"),
        )
        words = text(raw, "error_message") or text(raw, "error")
        if not usage and not words:
            return
        self._file.tally.readings += 1
        session, response = text(doc, "sessionId"), text(raw, "response_id")
        agent = text(raw, "subagent_name")
        reading = Reading(
            source=Source.LOGS,
            reported=True,
            at=at,
            key=_key(session, at, raw.get("total_token_count")),
            origin=f"{self._file.path}:{number}",
            usage=usage,
            client=CLIENT,
            log=self._file.source,
            client_version=text(doc, "version"),
            model=text(raw, "model"),
            client_session_id=session,
            ids=(response,) if response else (),
            started_at=earlier(at, raw.get("duration_ms")),
            folder=text(doc, "cwd"),
            branch=text(doc, "gitBranch"),
            subagent=agent,
            side=agent is not None and agent.startswith("managed-"),
            problem=Problem(text(raw, "error_type") or "api_error", words[:2000]) if words else None,
        )
        yield with_error_figures(reading)


class LedgerReader(RecordReader):
    """Reads the ledger, a line per call."""

    def _read(self, doc: dict[str, Any], number: int) -> Iterator[Reading]:
        at, session = iso_time(doc.get("timestamp")), text(doc, "sessionId")
        usage = self._figures.google(
            prompt=doc.get("inputTokens"),
            answer=doc.get("outputTokens"),
            cached=doc.get("cachedTokens"),
            thoughts=doc.get("thoughtsTokens"),
            total=doc.get("totalTokens"),
        )
        if at is None or not usage:
            return
        self._file.tally.understood += 1
        self._file.tally.readings += 1
        purpose = text(doc, "source")
        side = purpose is not None and purpose.startswith("managed-")
        yield Reading(
            source=Source.LOGS,
            reported=True,
            at=at,
            key=_key(session, at, doc.get("totalTokens")),
            origin=f"{self._file.path}:{number}",
            usage=usage,
            client=CLIENT,
            log=self._file.source,
            model=text(doc, "model"),
            client_session_id=session,
            started_at=earlier(at, doc.get("apiDurationMs")),
            subagent=None if purpose == "main" else purpose,
            side=side,
        )


def _key(session: str | None, at: datetime, total: Any) -> str:
    return f"{CLIENT}:{session}:{at.isoformat(timespec='milliseconds')}:{total}"


def read_chat(data: bytes, file: File) -> Iterator[Reading]:
    """Reads an old chat (0.1): one document, as Gemini CLI's, answers that called a tool left out, and
    `thoughts` always 0 while the provider's are in the output."""
    for reading in read_chat_of(CLIENT, data, file):
        usage = reading.usage
        yield replace(reading, usage=replace(usage, reasoning_tokens=usage.reasoning_tokens or None))


_ROOT: Final = "{home}/.qwen"

SOURCES: Final = (
    LogSource(
        name="qwen-code",
        client=CLIENT,
        lines=ChatReader,
        places=(Place(root=_ROOT, env="QWEN_DATA_DIR", pattern="projects/*/chats/**/*.jsonl"),),
    ),
    LogSource(
        name="qwen-usage",
        client=CLIENT,
        lines=LedgerReader,
        places=(Place(root=_ROOT, env="QWEN_DATA_DIR", pattern="usage/token-usage-*.jsonl"),),
    ),
    LogSource(
        name="qwen-code-old",
        client=CLIENT,
        document=read_chat,
        places=(Place(root=_ROOT, env="QWEN_DATA_DIR", pattern="tmp/*/chats/*.json"),),
    ),
)
