"""pi: one JSONL file per session. An assistant message has the usage, cached tokens beside `input`, and
the response's id; its own `timestamp` is the request's start, the line's is the answer's end.

A forked session begins with copies of the old one's lines; the response's id makes them one reading.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from kimi_mitm.logs.figures import with_error_figures
from kimi_mitm.logs.jsonl import dig, epoch_time, iso_time, table, text
from kimi_mitm.logs.record_reader import RecordReader
from kimi_mitm.logs.source import File, LogSource, Place, State
from kimi_mitm.records import NO_USAGE, Problem, Reading, Source

CLIENT: Final = "pi"


class SessionReader(RecordReader):
    """Reads one session's file."""

    def __init__(self, file: File, state: State) -> None:
        super().__init__(file, state)
        self._session = text(state, "session")
        self._folder = text(state, "folder")

    def state(self) -> State:
        return {"session": self._session, "folder": self._folder}

    def _read(self, doc: dict[str, Any], number: int) -> Iterator[Reading]:
        kind = text(doc, "type")
        if kind is None:
            return
        self._file.tally.understood += 1
        if kind == "session":
            self._session, self._folder = text(doc, "id"), text(doc, "cwd")
        elif kind == "message" and text(doc, "message", "role") == "assistant":
            yield from self._message(doc, table(doc, "message"), number)
        elif kind == "session_info" and (title := text(doc, "name")):
            yield from self._title(doc, title, number)

    def _message(self, doc: dict[str, Any], message: dict[str, Any], number: int) -> Iterator[Reading]:
        begun = epoch_time(message.get("timestamp"))
        at = iso_time(doc.get("timestamp")) or begun
        raw = table(message, "usage")
        usage = self._figures.usage(
            input=raw.get("input"),
            output=raw.get("output"),
            cache_read=raw.get("cacheRead"),
            cache_write=raw.get("cacheWrite"),
            cost=dig(raw, "cost", "total"),
            cache_apart=True,
        )
        words = text(message, "errorMessage")
        problem = Problem("error", words[:2000]) if words else None
        if not usage.total_tokens:
            usage = NO_USAGE
        response = text(message, "responseId")
        if at is None or not (usage or problem):
            return
        self._file.tally.readings += 1
        reading = Reading(
            source=Source.LOGS,
            reported=True,
            at=at,
            started_at=begun if begun and begun < at else None,
            key=f"{CLIENT}:{response or f'{self._session}:{text(doc, "id")}'}",
            origin=f"{self._file.path}:{number}",
            log=self._file.source,
            usage=usage,
            client=CLIENT,
            model=text(message, "model"),
            client_session_id=self._session,
            ids=(response,) if response else (),
            folder=self._folder,
            problem=problem,
            finish_reason=text(message, "stopReason"),
        )
        yield with_error_figures(reading)

    def _title(self, doc: dict[str, Any], title: str, number: int) -> Iterator[Reading]:
        at = iso_time(doc.get("timestamp")) or self._file.modified
        if at is not None:
            yield Reading(
                source=Source.LOGS,
                reported=False,
                at=at,
                key=f"{CLIENT}:{self._session}:title",
                origin=f"{self._file.path}:{number}",
                log=self._file.source,
                client=CLIENT,
                client_session_id=self._session,
                title=title,
                folder=self._folder,
            )


SOURCES: Final = (
    LogSource(
        name="pi",
        client=CLIENT,
        lines=SessionReader,
        places=(Place(root="{home}/.pi/agent", env="PI_CODING_AGENT_DIR", pattern="sessions/**/*.jsonl"),),
    ),
)
