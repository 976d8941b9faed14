"""Kimi Code: `wire.jsonl` of each agent of a session, under `sessions/wd_…/session_…/agents/<agent>/`.

A step of the agent's loop writes its usage three times; the `step.end` among them has the response's id
and the timings. Requests outside the loop (compaction, titles) end in a `usage.record` only. What a
record calls the model is the user's alias; the true name is in the `llm.request` before it.
Input has three disjoint parts; reasoning is in the output.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from kimi_mitm.logs.figures import Figures
from kimi_mitm.logs.jsonl import decode, epoch_time, table, text
from kimi_mitm.logs.source import File, LogSource, Place, State
from kimi_mitm.records import Reading, Source, Usage

CLIENT: Final = "kimi-code"
_LOOP: Final = "loop"
_MARKS: Final = (b'"step.end"', b'"llm.request"', b'"usage.record"')


class WireReader:
    """Reads one agent's `wire.jsonl`."""

    def __init__(self, file: File, state: State) -> None:
        self._file = file
        self._figures = Figures(file.tally)
        parts = file.path.replace("\\", "/").split("/")
        self._session = next((part for part in reversed(parts) if part.startswith("session_")), None)
        self._agent = parts[-2] if len(parts) > 1 and parts[-2] != "main" else None
        self._kind = text(state, "kind")
        self._model = text(state, "model")
        self._asked = epoch_time(state.get("asked"))

    def state(self) -> State:
        asked = self._asked.timestamp() if self._asked else None
        return {"kind": self._kind, "model": self._model, "asked": asked}

    def feed(self, line: bytes, number: int) -> Iterator[Reading]:
        self._file.tally.seen += 1
        if not any(mark in line for mark in _MARKS) or (doc := decode(line)) is None:
            return
        at = epoch_time(doc.get("time"))
        if at is None:
            return
        event = table(doc, "event")
        if doc.get("type") == "llm.request":
            self._file.tally.understood += 1
            self._kind, self._model, self._asked = text(doc, "kind"), text(doc, "model"), at
        elif doc.get("type") == "usage.record":
            self._file.tally.understood += 1
            if self._kind not in (None, _LOOP):
                yield from self._answer(doc, None, at, number)
        elif event.get("type") == "step.end":
            self._file.tally.understood += 1
            yield from self._answer(event, text(event, "messageId"), at, number)

    def _answer(self, raw: dict[str, Any], name: str | None, at: datetime, number: int) -> Iterator[Reading]:
        usage = self._usage(table(raw, "usage"))
        if not usage:
            return
        self._file.tally.readings += 1
        key = name or text(raw, "uuid") or at.isoformat()
        about = table(decode(self._file.beside("../../state.json") or b""))
        yield Reading(
            source=Source.LOGS,
            reported=True,
            at=at,
            key=f"{CLIENT}:{key if name else f'{self._session}:{self._agent}:{key}'}",
            origin=f"{self._file.path}:{number}",
            usage=usage,
            client=CLIENT,
            log=self._file.source,
            model=self._model,
            client_session_id=self._session,
            ids=(name,) if name else (),
            started_at=self._asked,
            title=text(about, "title"),
            folder=text(about, "cwd"),
            subagent=self._agent,
            side=None if self._kind in (None, "compaction") else self._kind != _LOOP,
            finish_reason=text(raw, "rawFinishReason") or text(raw, "providerFinishReason"),
        )

    def _usage(self, raw: dict[str, Any]) -> Usage:
        return self._figures.usage(
            input=raw.get("inputOther"),
            output=raw.get("output"),
            cache_read=raw.get("inputCacheRead"),
            cache_write=raw.get("inputCacheCreation"),
            cache_apart=True,
        )


SOURCES: Final = (
    LogSource(
        name="kimi-code",
        client=CLIENT,
        lines=WireReader,
        places=(Place(root="{home}/.kimi-code", env="KIMI_CODE_HOME", pattern="sessions/**/wire.jsonl"),),
    ),
)
