"""Mistral Vibe: a journal of JSONL segments per session, and snapshots ("generations") of its state.

In the journal a `core_input` record has an answer's usage (cached tokens inside) and its time. When a
session is opened again, its journal is folded into a snapshot, which has the sums over all calls
(`tokenUsage`) and the figures of the last (`contextUsage`): the last call can be read there, and in a
session of two calls the first one too, by subtraction. A call's key is its figures, the same in both:
within a session the prompt grows with every call.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from kimi_mitm.logs.figures import Figures
from kimi_mitm.logs.jsonl import decode, decode_any, dig, epoch_time, items, table, text
from kimi_mitm.logs.record_reader import RecordReader
from kimi_mitm.logs.source import File, LogSource, Place
from kimi_mitm.records import Reading, Source, Usage

CLIENT: Final = "vibe"


class JournalReader(RecordReader):
    """Reads one segment of a session's journal."""

    def _read(self, doc: dict[str, Any], number: int) -> Iterator[Reading]:
        if text(doc, "type") is None:
            return
        self._file.tally.understood += 1
        entered = table(doc, "payload", "input")
        command = table(entered, "command")
        if doc["type"] != "core_input" or command.get("type") != "completion_succeeded":
            return
        at = epoch_time(dig(entered, "determinism", "time_unix_ms"))
        raw = table(command, "result", "usage")
        usage = self._figures.usage(
            input=raw.get("input_tokens"),
            output=raw.get("output_tokens"),
            cache_read=raw.get("cached_input_tokens"),
        )
        if at and usage:
            finish = text(command, "result", "finish_reason")
            yield _reading(self._file, "../meta.json", usage, at, str(number), finish)


def read_snapshot(data: bytes, file: File) -> Iterator[Reading]:
    """Reads the state in one snapshot: its last call, and the first of two."""
    snapshot = table(decode(data), "snapshot")
    file.tally.seen += 1
    session, turn = table(snapshot, "session"), table(snapshot, "latestTurn")
    at = epoch_time(turn.get("completedAt"))
    if not session:
        return
    file.tally.understood += 1
    figures = Figures(file.tally)
    last, whole = (_usage(figures, table(session, name)) for name in ("contextUsage", "tokenUsage"))
    if at is None or not last:
        return
    yield _reading(file, "../../meta.json", last, at, "contextUsage")
    first, began = _minus(whole, last), _first_effect(file)
    if first and began and _calls(file) == 2:
        yield _reading(file, "../../meta.json", first, began, "tokenUsage")


def _usage(figures: Figures, raw: dict[str, Any]) -> Usage:
    return figures.usage(
        input=raw.get("inputTokens"), output=raw.get("outputTokens"), cache_read=raw.get("cachedInputTokens")
    )


def _minus(whole: Usage, last: Usage) -> Usage | None:
    rest = [
        getattr(whole, name) - getattr(last, name)
        if None not in (getattr(whole, name), getattr(last, name))
        else None
        for name in ("input_tokens", "output_tokens", "cache_read_tokens", "total_tokens")
    ]
    if any(part is None or part < 0 for part in rest) or not rest[0]:
        return None
    return Usage(input_tokens=rest[0], output_tokens=rest[1], cache_read_tokens=rest[2], total_tokens=rest[3])


def _chunk(file: File, part: str) -> list[Any]:
    """The entries of a snapshot's part, which lie in a file of their own."""
    names = items(decode(file.beside("manifest.json") or b""), part, "chunks")
    if len(names) != 1 or not isinstance(names[0], str) or not names[0].isalnum():
        return []
    entries = decode_any(file.beside(f"../../chunks/{names[0]}.json") or b"")
    return entries if isinstance(entries, list) else []


def _calls(file: File) -> int | None:
    """How many answers the session has, when none was compacted away."""
    state = decode(file.beside("checkpoint.json") or b"") or {}
    if state.get("compaction_count") != 0:
        return None
    return sum(text(entry, "message", "role") == "assistant" for entry in _chunk(file, "checkpoint"))


def _first_effect(file: File) -> datetime | None:
    """When the first tool was started: at the end of the first answer."""
    for entry in _chunk(file, "projection_state"):
        if text(entry, "detail", "kind") == "tool":
            return epoch_time(entry.get("createdAt"))
    return None


def _reading(
    file: File, meta: str, usage: Usage, at: datetime, where: str, finish: str | None = None
) -> Reading:
    file.tally.readings += 1
    about = decode(file.beside(meta) or b"") or {}
    session = text(about, "session_id") or _session(file.path)
    return Reading(
        source=Source.LOGS,
        reported=True,
        at=at,
        key=f"{CLIENT}:{session}:{usage.input_tokens}:{usage.output_tokens}",
        origin=f"{file.path}:{where}" if where.isdigit() else f"{file.path}#{where}",
        log=file.source,
        usage=usage,
        client=CLIENT,
        model=text(about, "config", "model_name"),
        client_session_id=session,
        title=text(about, "title"),
        folder=text(about, "environment", "working_directory"),
        branch=text(about, "git_branch"),
        subagent="subagent" if text(about, "parent_session_id") else None,
        finish_reason=finish,
    )


def _session(path: str) -> str | None:
    parts = path.replace("\\", "/").split("/")
    return parts[parts.index("unified") + 1] if "unified" in parts[:-1] else None


SOURCES: Final = (
    LogSource(
        name="vibe",
        client=CLIENT,
        lines=JournalReader,
        places=(
            Place(root="{home}/.vibe", env="VIBE_HOME", pattern="logs/session/unified/*/journal/*.jsonl"),
        ),
    ),
    LogSource(
        name="vibe-snapshots",
        client=CLIENT,
        document=read_snapshot,
        places=(
            Place(
                root="{home}/.vibe",
                env="VIBE_HOME",
                pattern="logs/session/unified/*/generations/*/projection-state.json",
            ),
        ),
    ),
)
