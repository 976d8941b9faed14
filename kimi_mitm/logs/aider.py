"""Aider: the chat history in each repository, and the analytics file where one was asked for.

All figures are Aider's own estimates, never the provider's, and one message may be several requests. In
the history they are rounded (`2.4k`), and only a session's beginning has a time, the machine's local
one: the last answer has the file's time, the others' is not known. The analytics file has whole numbers
and seconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from kimi_mitm.logs.figures import Figures
from kimi_mitm.logs.jsonl import epoch_time, table, text
from kimi_mitm.logs.record_reader import RecordReader
from kimi_mitm.logs.source import File, LogSource, Place
from kimi_mitm.records import Reading, Source, Usage

CLIENT: Final = "aider"
_STARTED: Final = re.compile(r"^# aider chat started at (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)")
_MODEL: Final = re.compile(r"^> (?:Main )?[Mm]odel: (\S+) with ")
_VERSION: Final = re.compile(r"^> Aider v(\S+)")
_TOKENS: Final = re.compile(
    r"^> Tokens: (?P<sent>[\d.,]+k?) sent"
    r"(?:, (?P<write>[\d.,]+k?) cache write)?(?:, (?P<hit>[\d.,]+k?) cache hit)?"
    r", (?P<received>[\d.,]+k?) received\."
)
_COST: Final = re.compile(r"Cost: \$(?P<cost>[\d.]+) message")


def read_history(data: bytes, file: File) -> Iterator[Reading]:
    """Reads one repository's `.aider.chat.history.md`. It is only ever appended to, but without times:
    read whole each time, the answers that are new have the time at which the file was written."""
    figures = Figures(file.tally)
    folder = file.path.replace("\\", "/").rpartition("/")[0] or None
    started: str | None = None
    known: dict[str, str] = {}
    last = data.count(b"\n", 0, data.rfind(b"\n> Tokens: ") + 1) + 1
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.startswith((b"> ", b"# aider")):
            continue
        words = line.decode("utf-8", "replace")
        file.tally.seen += 1
        file.tally.understood += 1
        if found := _STARTED.match(words):
            started, known = found[1], {}
        elif found := _MODEL.match(words):
            known["model"] = found[1]
        elif found := _VERSION.match(words):
            known["version"] = found[1]
        elif found := _TOKENS.match(words):
            begun = _local(started)
            at = file.modified if number == last or begun is None else begun
            usage = _rounded(figures, found, words)
            if at is None or not usage:
                continue
            file.tally.readings += 1
            yield Reading(
                source=Source.LOGS,
                reported=False,
                at=at,
                key=f"{CLIENT}:{folder}:{started}:{number}",
                origin=f"{file.path}:{number}",
                log=file.source,
                usage=usage,
                client=CLIENT,
                client_version=known.get("version"),
                model=known.get("model"),
                folder=folder,
                undated=number != last,
            )


def _rounded(figures: Figures, found: re.Match[str], words: str) -> Usage:
    cost = _COST.search(words)
    return figures.usage(
        input=_number(found["sent"]),
        output=_number(found["received"]),
        cache_read=_number(found["hit"]),
        cache_write=_number(found["write"]),
        cost=cost["cost"] if cost else None,
    )


class AnalyticsReader(RecordReader):
    """Reads an analytics file."""

    def _read(self, doc: dict[str, Any], number: int) -> Iterator[Reading]:
        at = epoch_time(doc.get("time"))
        if text(doc, "event") is None or at is None:
            return
        self._file.tally.understood += 1
        if doc["event"] == "message_send":
            yield from self._message(table(doc, "properties"), at, text(doc, "user_id"), number)

    def _message(self, raw: dict[str, Any], at: datetime, who: str | None, number: int) -> Iterator[Reading]:
        usage: Usage = self._figures.usage(
            input=raw.get("prompt_tokens"), output=raw.get("completion_tokens"), cost=raw.get("cost")
        )
        if not usage:
            return
        self._file.tally.readings += 1
        model = text(raw, "main_model")
        yield Reading(
            source=Source.LOGS,
            reported=False,
            at=at,
            key=f"{CLIENT}:{who}:{int(at.timestamp())}:{number}",
            origin=f"{self._file.path}:{number}",
            log=self._file.source,
            usage=usage,
            client=CLIENT,
            model=None if model is None or "REDACTED" in model else model,
        )


def _number(words: str | None) -> int | None:
    """A figure as Aider shows it: 8, 2.4k, 12k."""
    if words is None:
        return None
    plain = words.replace(",", "")
    try:
        return round(float(plain.removesuffix("k")) * (1000 if plain.endswith("k") else 1))
    except ValueError:
        return None


def _local(words: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(words).astimezone(UTC) if words else None
    except (ValueError, OverflowError, OSError):
        return None


_HISTORY: Final = ".aider.chat.history.md"

SOURCES: Final = (
    LogSource(
        name="aider",
        client=CLIENT,
        document=read_history,
        places=(
            Place(root="{home}", pattern=_HISTORY, watch=False),
            Place(root="{home}", pattern=f"*/{_HISTORY}", watch=False),
            Place(root="{home}", pattern=f"*/*/{_HISTORY}", watch=False),
            Place(root="{home}/.aider", env="AIDER_CHAT_HISTORY_FILE", pattern=""),
        ),
    ),
    LogSource(
        name="aider-analytics",
        client=CLIENT,
        lines=AnalyticsReader,
        places=(
            Place(root="{home}", pattern="*/.aider.analytics.jsonl", watch=False),
            Place(root="{home}/.aider/analytics.jsonl", env="AIDER_ANALYTICS_LOG", pattern=""),
        ),
    ),
)
