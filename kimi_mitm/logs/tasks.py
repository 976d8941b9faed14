"""Tasks as Cline's VS Code extension and its descendants (Roo Code, Kilo Code) write them.

A task is a folder named by its id. `ui_messages.json`, rewritten whole, has one `api_req_started` entry
per request, whose `text` is JSON again; the figures come into it when the answer is complete, so `ts`,
the time of the request, is the key. An entry without figures is a request that was cancelled, or the
first of two that newer versions write. `api_conversation_history.json` beside it knows models.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from kimi_mitm.logs.figures import Figures
from kimi_mitm.logs.jsonl import decode, decode_any, dig, epoch_time, items, table, text
from kimi_mitm.logs.source import File, Place
from kimi_mitm.records import Reading, Source

_MODEL: Final = re.compile(r"<model>([^<\n]{1,200})</model>")
_TITLE_LENGTH: Final = 200


@dataclass(frozen=True, slots=True)
class Shape:
    """What tells whether the cached tokens of a request are in `tokensIn` already; raw values."""

    tokens_in: Any
    cached: int
    provider: str | None
    prompt_of_message: Any


def task_places(extension: str) -> tuple[Place, ...]:
    """Where VS Code and its relatives keep an extension's tasks."""
    return (Place(root="{vscode}/globalStorage/" + extension, pattern="tasks/*/ui_messages.json"),)


def read_task(
    data: bytes, file: File, client: str, cache_apart: Callable[[Shape], bool]
) -> Iterator[Reading]:
    """Reads one task; `cache_apart` says how this client means `tokensIn`."""
    entries = decode_any(data)
    if not isinstance(entries, list):
        return
    parts = file.path.replace("\\", "/").split("/")
    task = parts[-2] if len(parts) > 1 else None
    history = _History(file)
    about = decode(file.beside("history_item.json") or b"") or {}
    figures = Figures(file.tally)
    for index, entry in enumerate(entries):
        file.tally.seen += 1
        if not text(entry, "type"):
            continue
        file.tally.understood += 1
        at = epoch_time(entry.get("ts"))
        raw = decode(text(entry, "text") or "") if entry.get("say") == "api_req_started" else None
        if raw is None or at is None or raw.get("tokensIn") is None:
            continue
        reads, writes = raw.get("cacheReads"), raw.get("cacheWrites")
        message = history.answer(entry["ts"])
        shape = Shape(
            raw.get("tokensIn"),
            (figures.tokens(reads) or 0) + (figures.tokens(writes) or 0),
            text(entry, "modelInfo", "providerId") or text(message, "modelInfo", "providerId"),
            dig(message, "metrics", "tokens", "prompt"),
        )
        usage = figures.usage(
            input=raw.get("tokensIn"),
            output=raw.get("tokensOut"),
            cache_read=reads,
            cache_write=writes,
            cost=raw.get("cost"),
            cache_apart=cache_apart(shape),
        )
        if not usage:
            continue
        file.tally.readings += 1
        yield Reading(
            source=Source.LOGS,
            reported=raw.get("usageMissing") is not True,
            at=at,
            started_at=at,
            key=f"{client}:{task}:{entry['ts']}",
            origin=f"{file.path}#{index}",
            log=file.source,
            usage=usage,
            client=client,
            model=text(entry, "modelInfo", "modelId") or history.model(entry["ts"]),
            client_session_id=task,
            title=text(about, "task") or _title(entries),
            folder=text(about, "workspace"),
        )


class _History:
    """`api_conversation_history.json`: what stood when."""

    def __init__(self, file: File) -> None:
        messages = decode_any(file.beside("api_conversation_history.json") or b"")
        self._answers: list[tuple[float, dict[str, Any]]] = []
        self._models: list[tuple[float, str]] = []
        for message in messages if isinstance(messages, list) else []:
            ts = table(message).get("ts")
            if isinstance(ts, bool) or not isinstance(ts, (int, float)):
                continue
            if message.get("role") == "assistant":
                self._answers.append((ts, message))
            for block in items(message, "content"):
                if found := _MODEL.search(text(block, "text") or ""):
                    self._models.append((ts, found[1].strip()))
        self._answers.sort(key=lambda pair: pair[0])
        self._models.sort(key=lambda pair: pair[0])

    def answer(self, ts: float) -> dict[str, Any]:
        """The first answer after a request; an empty object when there is none."""
        at = bisect_right(self._answers, ts, key=lambda pair: pair[0])
        return self._answers[at][1] if at < len(self._answers) else {}

    def model(self, ts: float) -> str | None:
        """The model that the task's environment named last before a request, or with it."""
        if named := text(self.answer(ts), "modelInfo", "modelId"):
            return named
        at = bisect_right(self._models, ts, key=lambda pair: pair[0])
        return self._models[at - 1][1] if at else None


def _title(entries: list[Any]) -> str | None:
    first = next((found for entry in entries if (found := text(entry, "text"))), None)
    return first[:_TITLE_LENGTH] if first else None
