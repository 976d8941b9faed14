"""Continue's command line (`cn`): one JSON document per session, rewritten whole after every message.

An answer has the provider's usage, but neither an id nor a time. With Anthropic `prompt_tokens` leaves the
cached tokens out, and their details then have `cache_read_tokens`. Versions before 1.5.20 or so have no
usage; nor have the IDEs' sessions, which lie in the same folder.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from kimi_mitm.logs.figures import Figures
from kimi_mitm.logs.jsonl import decode, dig, items, table, text
from kimi_mitm.logs.source import File, LogSource, Place
from kimi_mitm.records import Reading, Source, Usage

CLIENT: Final = "continue"
_UNNAMED: Final = frozenset({"Untitled Session", "New Session"})


def read_session(data: bytes, file: File) -> Iterator[Reading]:
    """Reads one session: its answers, and its title if it has one."""
    doc = decode(data) or {}
    session, at = text(doc, "sessionId"), file.modified
    if session is None or at is None:
        return
    title = text(doc, "title")
    title = None if title in _UNNAMED else title
    folder = text(doc, "workspaceDirectory")
    same: Counter[tuple[int | None, int | None]] = Counter()
    for index, entry in enumerate(items(doc, "history")):
        file.tally.seen += 1
        message = table(entry, "message")
        if not text(message, "role"):
            continue
        file.tally.understood += 1
        usage = _usage(Figures(file.tally), table(message, "usage"))
        if message.get("role") != "assistant" or not usage:
            continue
        file.tally.readings += 1
        figures = (usage.input_tokens, usage.output_tokens)
        same[figures] += 1
        yield Reading(
            source=Source.LOGS,
            reported=True,
            at=at,
            # A compacted session is numbered anew, so the figures name the answer, not its place.
            key=f"{CLIENT}:{session}:{figures[0]}:{figures[1]}:{same[figures]}",
            origin=f"{file.path}#{index}",
            log=file.source,
            usage=usage,
            client=CLIENT,
            model=text(message, "usage", "model"),
            client_session_id=session,
            title=title,
            folder=folder,
            undated=True,
        )
    if title:
        yield Reading(
            source=Source.LOGS,
            reported=False,
            at=at,
            key=f"{CLIENT}:{session}:title",
            origin=file.path,
            client=CLIENT,
            client_session_id=session,
            title=title,
            folder=folder,
        )


def _usage(figures: Figures, raw: dict[str, Any]) -> Usage:
    details = table(raw, "prompt_tokens_details")
    read = details.get("cache_read_tokens")
    cents = raw.get("cost_cents")
    whole = isinstance(cents, (int, float)) and not isinstance(cents, bool) and cents > 0
    return figures.usage(
        input=raw.get("prompt_tokens"),
        output=raw.get("completion_tokens"),
        cache_read=details.get("cached_tokens") if read is None else read,
        cache_write=details.get("cache_write_tokens"),
        reasoning=dig(raw, "completion_tokens_details", "reasoning_tokens"),
        cost=cents / 100 if whole and cents is not None else None,
        cache_apart=read is not None,
    )


SOURCES: Final = (
    LogSource(
        name="continue-sessions",
        client=CLIENT,
        document=read_session,
        places=(Place(root="{home}/.continue", env="CONTINUE_GLOBAL_DIR", pattern="sessions/*.json"),),
    ),
)
