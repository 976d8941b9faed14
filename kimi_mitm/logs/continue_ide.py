"""Continue in an IDE: its development data, and what its JetBrains core writes to `core.log`.

`tokensGenerated.jsonl` has one line per call, written when it ends: counts of Continue's own tokenizer,
with no session. `chatInteraction.jsonl` follows it closely for chats and has the session, but no figures
and a model's title for its name. In `core.log`, blocks of lines without a time of their own belong to
the line before them; two kinds matter:

- CompileChat's report that a prompt does not fit: its estimates of tools and system message, and the
  context's length. It was thrown because tools, system and last message together exceeded what the
  length leaves beside the safety buffer and the least output, so that much is a lower bound.
- Errors of providers that state the prompt's tokens.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from kimi_mitm.error_figures import prompt_tokens_of_error
from kimi_mitm.logs.figures import Figures
from kimi_mitm.logs.jsonl import iso_time, table, text
from kimi_mitm.logs.prompt_log import PromptLogReader
from kimi_mitm.logs.record_reader import RecordReader
from kimi_mitm.logs.source import File, LogSource, OpenLines, Place, State
from kimi_mitm.records import Problem, Reading, Source, Usage

CLIENT: Final = "continue"
_VERSION: Final = re.compile(r"\(Continue/([^\s)]+)\)")
_LINE: Final = re.compile(r"^\[(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z?)\] ?(.*)$")
_COUNTS: Final = re.compile(r"request\s+had\s+the\s+following\s+token\s+counts", re.IGNORECASE)
_LEAST: Final = re.compile(r"at least (\d{1,9}) tokens remaining for output")
_COUNT: Final = re.compile(
    r"^\s*-?\s*(context ?length|counting safety buffer|tools?|system message|max output tokens)"
    r"\s*:\s*~?\s*(-?\d[\d,]{0,14}(?:\.\d{1,6})?)",
    re.IGNORECASE,
)
_TELLING: Final = re.compile(r"token|length", re.IGNORECASE)
_BEGIN: Final = re.compile(rb"\[\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z?\]")
_TELLING_WORDS: Final = (b"rror", b"token counts", b"at least")
_AHEAD: Final = 32_768  # a word that is nowhere is looked for only so far
_LAST_COUNT: Final = "max output tokens"
_LONGEST_BLOCK: Final = 16_384


class TokensReader(RecordReader):
    """Reads `tokensGenerated.jsonl`."""

    def _read(self, doc: dict[str, Any], number: int) -> Iterator[Reading]:
        at = iso_time(doc.get("timestamp"))
        if at is None or doc.get("eventName") != "tokensGenerated":
            return
        self._file.tally.understood += 1
        usage = self._figures.usage(input=doc.get("promptTokens"), output=doc.get("generatedTokens"))
        if usage:
            self._file.tally.readings += 1
            yield _reading(self._file, doc, at, number, "continue-tokens", usage, text(doc, "model"))


class ChatsReader(RecordReader):
    """Reads `chatInteraction.jsonl`."""

    def _read(self, doc: dict[str, Any], number: int) -> Iterator[Reading]:
        at = iso_time(doc.get("timestamp"))
        if at is None or doc.get("eventName") != "chatInteraction":
            return
        self._file.tally.understood += 1
        if text(doc, "sessionId"):
            yield _reading(self._file, doc, at, number, "continue-chats", Usage(), None, side=False)


def _reading(
    file: File,
    doc: dict[str, Any],
    at: datetime,
    number: int,
    log: str,
    usage: Usage,
    model: str | None,
    side: bool | None = None,
) -> Reading:
    version = _VERSION.search(text(doc, "userAgent") or "")
    return Reading(
        source=Source.LOGS,
        reported=False,
        at=at,
        key=f"{log}:{text(doc, 'timestamp')}:{number}",
        origin=f"{file.path}:{number}",
        log=file.source,
        usage=usage,
        client=CLIENT,
        client_version=version[1] if version else None,
        model=model,
        client_session_id=text(doc, "sessionId"),
        side=side,
    )


class CoreLogReader:
    """Reads `core.log`, block by block."""

    def __init__(self, file: File, state: State) -> None:
        self._file = file
        self._figures = Figures(file.tally)
        start = state.get("start")
        self._start = start if isinstance(start, int) else 0
        self._time = text(state, "time")
        self._block = text(state, "block") or ""
        self._counts: dict[str, Any] = dict(table(state, "counts"))
        self._done = state.get("done") is True

    def state(self) -> State:
        return {
            "start": self._start,
            "time": self._time,
            "block": self._block,
            "counts": self._counts,
            "done": self._done,
        }

    def skip(self, data: bytes, start: int, end: int) -> int:
        """Passes over blocks without an error and without counts, but for the beginning of the last."""
        if self._done:
            return _line_with(data, start, end, b"\n[") if data[start : start + 1] != b"[" else start
        if self._counts or self._block:
            return start
        end = min(end, data.rfind(b"\n", start, start + _AHEAD) + 1 or end)
        places = [place for word in _TELLING_WORDS if (place := data.find(word, start, end)) >= 0]
        telling = data.rfind(b"\n", start, min(places)) + 1 or start if places else end
        begin = min(telling + 1, end)
        while (begin := data.rfind(b"\n[", start, begin)) >= 0:
            if _BEGIN.match(data, begin + 1):
                return begin + 1
        return start if _BEGIN.match(data, start) else telling

    def feed(self, line: bytes, number: int) -> Iterator[Reading]:
        self._file.tally.seen += 1
        if self._done and not line.startswith(b"["):
            return
        words = line[:_LONGEST_BLOCK].decode("utf-8", "replace")
        if found := _LINE.match(words):
            yield from self._end_of_counts()
            self._file.tally.understood += 1
            self._start, self._time, words = number, found[1], found[2]
            self._block, self._counts, self._done = "", {}, False
        if "token counts" in words and _COUNTS.search(words):
            self._counts["open"] = True
        elif self._counts.get("open") and (count := _COUNT.match(words)):
            yield from self._count(count[1].lower().replace("length", "").strip(), count[2])
        elif self._counts.get("open") and words.strip():
            yield from self._end_of_counts()
        elif "at least" in words and (least := _LEAST.search(words)):
            self._counts["least"] = int(least[1])
        else:
            yield from self._error(words)

    def _count(self, name: str, value: str) -> Iterator[Reading]:
        number = float(value.replace(",", ""))
        key = "tools" if name == "tool" else name
        self._counts[key] = int(number) if number.is_integer() else number
        if name == _LAST_COUNT:
            yield from self._end_of_counts()

    def _end_of_counts(self) -> Iterator[Reading]:
        counts, self._counts = self._counts, {}
        if not counts.pop("open", False):
            return
        self._done = True
        tokens = self._figures.tokens
        window, tools, system = (tokens(counts.get(name)) for name in ("context", "tools", "system message"))
        bound = _bound(window, tools, system, counts)
        at = iso_time(self._time) or self._file.modified
        if at is None or (window is None and bound is None):
            return
        self._file.tally.readings += 1
        yield Reading(
            source=Source.COMPILE_CHAT,
            reported=False,
            at=at,
            key=f"continue-core:{self._time}:{self._start}",
            origin=f"{self._file.path}:{self._start}",
            log=self._file.source,
            usage=Usage(input_tokens=bound),
            client=CLIENT,
            lower_bound=True,
            context_window=window,
            tools_tokens=tools,
            system_tokens=system,
            problem=Problem("compile_chat", "Not enough context available for the request."),
        )

    def _error(self, words: str) -> Iterator[Reading]:
        self._done = len(self._block) > _LONGEST_BLOCK
        if self._done or not (self._block or "rror" in words):
            return
        self._block += words + "\n"
        if not _TELLING.search(words):
            return
        stated = prompt_tokens_of_error(None, self._block)
        at = iso_time(self._time) or self._file.modified
        if stated is None or stated.input_tokens is None or at is None:
            return
        self._done = True
        self._file.tally.readings += 1
        yield Reading(
            source=Source.API_ERROR,
            reported=True,
            at=at,
            key=f"continue-core:{self._time}:{self._start}",
            origin=f"{self._file.path}:{self._start}",
            log=self._file.source,
            usage=Usage(input_tokens=stated.input_tokens),
            client=CLIENT,
            lower_bound=stated.lower_bound,
            context_window=stated.context_window,
            problem=Problem("api_error", self._block.strip()[:2000]),
        )


def _line_with(data: bytes, start: int, end: int, mark: bytes) -> int:
    found = data.find(mark, start, end)
    return end if found < 0 else found + 1


def _bound(window: int | None, tools: int | None, system: int | None, counts: dict[str, Any]) -> int | None:
    """What the prompt was at least, by Continue's own count."""
    parts = [part for part in (tools, system) if part is not None]
    listed = sum(parts) if parts else None
    buffer, least = counts.get("counting safety buffer"), counts.get("least")
    if window is None or not isinstance(buffer, (int, float)) or not isinstance(least, int):
        return listed
    thrown = math.ceil(window - buffer - least)
    return max(listed or 0, thrown) if thrown > 0 else listed


_ROOT: Final = "{home}/.continue"
_ENV: Final = "CONTINUE_GLOBAL_DIR"


def _source(name: str, lines: OpenLines, pattern: str) -> LogSource:
    return LogSource(
        name=name, client=CLIENT, lines=lines, places=(Place(root=_ROOT, env=_ENV, pattern=pattern),)
    )


SOURCES: Final = (
    _source("continue-tokens", TokensReader, "dev_data/*/tokensGenerated.jsonl"),
    _source("continue-chats", ChatsReader, "dev_data/*/chatInteraction.jsonl"),
    _source("continue-core", CoreLogReader, "logs/core.log"),
    _source("continue-prompts", PromptLogReader, "logs/prompt.log"),
)
