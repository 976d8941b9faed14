"""Claude Code, and whatever is built on its SDK: one JSONL file per session under `projects/`.

An answer is written as one `assistant` line per content block, each with the message's whole usage, so the
message's id is the key and the last line stands. A line without a stop reason was written before the output
was counted: what it says there is where the count began. A forked session begins with copies of the lines
of the old one (`requestSessionId` then names the session that asked), a side chain may repeat its parent's
messages. Usage is Anthropic's: cached tokens beside `input_tokens`, thinking in the output.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from kimi_mitm.logs.figures import Figures, with_error_figures
from kimi_mitm.logs.jsonl import decode, dig, iso_time, items, table, text
from kimi_mitm.logs.source import File, LogSource, Place, State
from kimi_mitm.records import NO_USAGE, Problem, Reading, Source, Usage

CLIENT: Final = "claude-code"
_REQUESTS_KEPT: Final = 16  # an answer follows its request; sub-agents run a few at once
_TITLES: Final = {"summary": "summary", "ai-title": "aiTitle", "custom-title": "customTitle"}
_MAIN: Final = frozenset({"sdk", "repl_main_thread"})


class ClaudeCodeReader:
    """Reads one session's file."""

    def __init__(self, file: File, state: State) -> None:
        self._file = file
        self._figures = Figures(file.tally)
        self._requests: dict[str, list[str | None]] = {
            key: [text(value[0]), text(value[1])]
            for key, value in table(state, "requests").items()
            if isinstance(value, list) and len(value) == 2
        }
        self._last = text(state, "last")

    def state(self) -> State:
        return {"requests": self._requests, "last": self._last}

    def feed(self, line: bytes, number: int) -> Iterator[Reading]:
        self._file.tally.seen += 1
        if b'"assistant"' in line:
            doc = decode(line)
            if doc and doc.get("type") == "assistant":
                yield from self._assistant(doc, number)
        elif b'"api-request"' in line:
            self._request(decode(line) or {})
        elif b'"summary"' in line or b"-title" in line:
            yield from self._title(decode(line) or {}, number)

    def _request(self, doc: dict[str, Any]) -> None:
        if doc.get("type") != "api-request" or not (name := text(doc, "id")):
            return
        self._file.tally.understood += 1
        self._requests[name] = [text(doc, "timestamp"), text(doc, "querySource")]
        while len(self._requests) > _REQUESTS_KEPT:
            del self._requests[next(iter(self._requests))]

    def _assistant(self, doc: dict[str, Any], number: int) -> Iterator[Reading]:
        message = table(doc, "message")
        at = iso_time(doc.get("timestamp")) or self._file.modified
        name, request = text(message, "id"), text(doc, "requestId")
        key = name or request or text(doc, "uuid")
        if at is None or key is None:
            return
        self._file.tally.understood += 1
        self._last = text(doc, "uuid")
        synthetic = message.get("model") == "<synthetic>" or doc.get("isApiErrorMessage") is True
        counted = message.get("stop_reason", "") is not None
        usage = NO_USAGE if synthetic else self._usage(table(message, "usage"), counted)
        problem = _problem(doc, message) if synthetic else None
        if not usage and not (problem and request):
            return
        self._file.tally.readings += 1
        asked, purpose = self._requests.get(text(doc, "requestRef") or "", (None, None))
        reading = Reading(
            source=Source.LOGS,
            reported=True,
            at=at,
            key=f"{CLIENT}:{request if problem else key}",
            origin=f"{self._file.path}:{number}",
            usage=usage,
            client=CLIENT,
            log=self._file.source,
            client_version=text(doc, "version"),
            model=text(doc, "requestedModel") if synthetic else text(message, "model"),
            client_session_id=text(doc, "requestSessionId") or text(doc, "sessionId"),
            ids=tuple(found for found in (None if synthetic else name, request) if found),
            started_at=_before(iso_time(asked), at),
            folder=text(doc, "cwd"),
            branch=text(doc, "gitBranch"),
            subagent=_subagent(doc),
            side=_side(purpose),
            problem=problem,
            finish_reason=None if synthetic else text(message, "stop_reason"),
        )
        yield with_error_figures(reading)

    def _usage(self, raw: dict[str, Any], counted: bool) -> Usage:
        return self._figures.usage(
            input=raw.get("input_tokens"),
            output=raw.get("output_tokens") if counted else None,
            cache_read=raw.get("cache_read_input_tokens"),
            cache_write=raw.get("cache_creation_input_tokens"),
            reasoning=dig(raw, "output_tokens_details", "thinking_tokens") if counted else None,
            cache_apart=True,
        )

    def _title(self, doc: dict[str, Any], number: int) -> Iterator[Reading]:
        title = text(doc, _TITLES.get(str(doc.get("type")), ""))
        # Old versions put other sessions' summaries into a new file: theirs end in a line that isn't here.
        if title is None or (doc.get("type") == "summary" and doc.get("leafUuid") != self._last):
            return
        self._file.tally.understood += 1
        session = text(doc, "sessionId") or _stem(self._file.path)
        at = iso_time(doc.get("timestamp")) or self._file.modified
        if at is None:
            return
        yield Reading(
            source=Source.LOGS,
            reported=False,
            at=at,
            key=f"{CLIENT}:{session}:title",
            origin=f"{self._file.path}:{number}",
            client=CLIENT,
            log=self._file.source,
            client_session_id=session,
            title=title,
        )


def _stem(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2].removesuffix(".jsonl")


def _before(moment: datetime | None, limit: datetime) -> datetime | None:
    return moment if moment and moment <= limit else None


def _side(purpose: str | None) -> bool | None:
    """Whether a request's purpose is beside the conversation; a compaction is neither."""
    if purpose is None or "compact" in purpose:
        return None
    return not (purpose in _MAIN or purpose.startswith("agent"))


def _subagent(doc: dict[str, Any]) -> str | None:
    if doc.get("isSidechain") is not True:
        return None
    return text(doc, "agentName") or text(doc, "attributionAgent") or text(doc, "agentId") or "sidechain"


def _problem(doc: dict[str, Any], message: dict[str, Any]) -> Problem:
    words = (text(block, "text") for block in items(message, "content"))
    return Problem(text(doc, "error") or "api_error", "\n".join(word for word in words if word)[:2000])


SOURCES: Final = (
    LogSource(
        name="claude-code",
        client=CLIENT,
        lines=ClaudeCodeReader,
        places=(
            Place(root="{home}/.claude", env="CLAUDE_CONFIG_DIR", pattern="projects/**/*.jsonl"),
            Place(root="{config}/claude", pattern="projects/**/*.jsonl"),
            Place(root="{appdata}/Claude/local-agent-mode-sessions", pattern="**/projects/**/*.jsonl"),
        ),
    ),
)
