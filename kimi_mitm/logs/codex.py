"""OpenAI Codex: one "rollout" per thread, JSONL, under `sessions/`.

Since 0.169 each answer has a `token_usage_record` with the provider's response id. All versions write
`token_count` events, which carry the last answer's usage and the thread's running total, and repeat it
at every new turn: an event whose total has not moved says nothing new. Where both are written, the
total of the first makes the second such a repetition. Totals go on when a thread is resumed.
A fork, or a sub-agent, may begin with a copy of its parent's lines, stamped with the moment of copying:
those are the parent's answers, and are left to its own file.
Usage is OpenAI's: cached tokens in the input, reasoning in the output.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from kimi_mitm.logs.figures import Figures, with_error_figures
from kimi_mitm.logs.jsonl import decode, iso_time, table, text
from kimi_mitm.logs.source import File, LogSource, Place, State
from kimi_mitm.records import Problem, Reading, Source, Usage

CLIENT: Final = "codex"
_MARKS: Final = re.compile(
    rb'"(?:token_usage_record|token_count|turn_context|session_meta|task_started|thread_name_updated|error)"'
)
_THREAD: Final = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.jsonl$")
_COPYING: Final = timedelta(seconds=1)
_KEPT: Final = ("thread", "session", "version", "folder", "branch", "subagent", "model")


class CodexReader:
    """Reads one rollout."""

    def __init__(self, file: File, state: State) -> None:
        self._file = file
        self._figures = Figures(file.tally)
        found = _THREAD.search(file.path)
        self._known: dict[str, str | None] = {"thread": found[1] if found else None}
        self._known |= {name: text(state, name) for name in _KEPT if text(state, name)}
        self._window = self._figures.tokens(state.get("window"))
        self._copied_until = iso_time(state.get("copied_until"))
        self._total = {name: value for name, value in table(state, "total").items() if isinstance(value, int)}

    def state(self) -> State:
        copied = self._copied_until.isoformat() if self._copied_until else None
        return {**self._known, "window": self._window, "total": self._total, "copied_until": copied}

    def feed(self, line: bytes, number: int) -> Iterator[Reading]:
        self._file.tally.seen += 1
        # Marks stand near the start: long lines hold text and images, and are never looked through.
        if not _MARKS.search(line, 0, 400) or (doc := decode(line)) is None:
            return
        payload, at = table(doc, "payload"), iso_time(doc.get("timestamp")) or self._file.modified
        kind = doc.get("type") if doc.get("type") != "event_msg" else payload.get("type")
        if at is None:
            return
        if kind == "token_usage_record":
            yield from self._record(payload, at, number)
        elif kind == "token_count":
            yield from self._count(payload, at, number)
        elif kind == "error" and text(payload, "message"):
            yield from self._error(payload, at, number)
        elif kind == "thread_name_updated":
            yield from self._name(payload, at, number)
        else:
            self._context(kind, payload, at)

    def _context(self, kind: Any, payload: dict[str, Any], at: datetime) -> None:
        if kind == "session_meta":
            # A fork begins with its own record and goes on with a copy of the old thread's.
            if self._known.get("version"):
                return
            source = payload.get("source")
            if text(payload, "forked_from_id") or _subagent(source):
                self._copied_until = at + _COPYING
            self._learn(
                thread=text(payload, "id"),
                session=text(payload, "session_id"),
                version=text(payload, "cli_version"),
                folder=text(payload, "cwd"),
                branch=text(payload, "git", "branch"),
                subagent=text(payload, "agent_nickname") or text(payload, "agent_role") or _subagent(source),
            )
        elif kind == "turn_context":
            self._learn(model=text(payload, "model"), folder=text(payload, "cwd"))
        elif kind == "task_started":
            self._window = self._figures.tokens(payload.get("model_context_window")) or self._window
        else:
            return
        self._file.tally.understood += 1

    def _learn(self, **known: str | None) -> None:
        self._known |= {name: value for name, value in known.items() if value}

    def _record(self, payload: dict[str, Any], at: datetime, number: int) -> Iterator[Reading]:
        self._file.tally.understood += 1
        raw = table(payload, "usage")
        total = _totals(table(payload, "thread_token_usage"))
        self._total = total or _added(self._total, _totals(raw))
        thread = text(payload, "thread_id")
        if self._copied_until and thread != self._known["thread"]:
            return
        usage = self._usage(raw)
        self._learn(thread=thread, session=text(payload, "session_id"))
        response = text(payload, "response_id")
        if usage:
            key = response or self._position()
            yield self._reading(usage, key, at, number, (response,) if response else ())

    def _count(self, payload: dict[str, Any], at: datetime, number: int) -> Iterator[Reading]:
        self._file.tally.understood += 1
        info = table(payload, "info")
        self._window = self._figures.tokens(info.get("model_context_window")) or self._window
        total, last = _totals(table(info, "total_token_usage")), table(info, "last_token_usage")
        if not total or total == self._total:
            return
        if not last:
            last = {name: value - self._total.get(name, 0) for name, value in total.items()}
        self._total = total
        if self._copied_until and at <= self._copied_until:
            return
        if usage := self._usage(last):
            yield self._reading(usage, self._position(), at, number, ())

    def _error(self, payload: dict[str, Any], at: datetime, number: int) -> Iterator[Reading]:
        self._file.tally.understood += 1
        info = payload.get("codex_error_info")
        kind = (
            info
            if isinstance(info, str)
            else next(iter(info), "error")
            if isinstance(info, dict)
            else "error"
        )
        reading = self._reading(Usage(), f"{self._known['thread']}:error:{at.isoformat()}", at, number, ())
        problem = Problem(str(kind), str(payload["message"])[:2000])
        yield with_error_figures(replace(reading, problem=problem))

    def _name(self, payload: dict[str, Any], at: datetime, number: int) -> Iterator[Reading]:
        thread = text(payload, "thread_id") or self._known["thread"]
        if (name := text(payload, "thread_name")) and thread == self._known["thread"]:
            self._file.tally.understood += 1
            note = self._reading(Usage(), f"{thread}:title", at, number, ())
            yield replace(note, reported=False, title=name)

    def _position(self) -> str:
        """Names an answer that has no id by where its thread's totals stood after it."""
        name = self._total.get("total_tokens", self._total.get("input_tokens", 0))
        return f"{self._known['thread']}:{name}"

    def _usage(self, raw: dict[str, Any]) -> Usage:
        return self._figures.usage(
            input=raw.get("input_tokens"),
            output=raw.get("output_tokens"),
            cache_read=raw.get("cached_input_tokens"),
            cache_write=raw.get("cache_write_input_tokens"),
            reasoning=raw.get("reasoning_output_tokens"),
        )

    def _reading(self, usage: Usage, key: str, at: datetime, number: int, ids: tuple[str, ...]) -> Reading:
        self._file.tally.readings += 1
        known = self._known
        return Reading(
            source=Source.LOGS,
            reported=True,
            at=at,
            key=f"{CLIENT}:{key}",
            origin=f"{self._file.path}:{number}",
            usage=usage,
            client=CLIENT,
            log=self._file.source,
            client_version=known.get("version"),
            model=known.get("model"),
            client_session_id=known.get("session") or known.get("thread"),
            ids=ids,
            context_window=self._window,
            folder=known.get("folder"),
            branch=known.get("branch"),
            subagent=known.get("subagent"),
        )


def _subagent(source: Any) -> str | None:
    """The name in `{"subagent": "review"}` or `{"subagent": {"thread_spawn": {…}}}`."""
    agent = source.get("subagent") if isinstance(source, dict) else None
    if isinstance(agent, dict):
        spawn = table(agent, "thread_spawn")
        return text(spawn, "agent_nickname") or text(spawn, "agent_role") or next(iter(agent), None)
    return agent if isinstance(agent, str) else None


def _totals(raw: dict[str, Any]) -> dict[str, int]:
    return {
        name: value for name, value in raw.items() if isinstance(value, int) and not isinstance(value, bool)
    }


def _added(first: dict[str, int], second: dict[str, int]) -> dict[str, int]:
    return {name: first.get(name, 0) + second.get(name, 0) for name in first | second}


SOURCES: Final = (
    LogSource(
        name="codex",
        client=CLIENT,
        lines=CodexReader,
        places=(
            Place(root="{home}/.codex", env="CODEX_HOME", pattern="sessions/**/*.jsonl"),
            Place(root="{home}/.codex", env="CODEX_HOME", pattern="archived_sessions/**/*.jsonl"),
        ),
    ),
)
