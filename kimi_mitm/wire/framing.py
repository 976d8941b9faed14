"""How an answer's documents are packed: as server-sent events, as JSON in a row, as AWS frames.

The bytes decide first and the content type only where they leave it open: 1 in 20 recorded answers
had no content type or a wrong one, and Codex sends none.
"""

from __future__ import annotations

from typing import Protocol

from kimi_mitm.wire.eventstream import EventStream
from kimi_mitm.wire.jsonstream import Documents
from kimi_mitm.wire.sse import Event, EventLines

_SPACE = b" \t\r\n"
_BOM = b"\xef\xbb\xbf"
_HEAD = 2048
_EVENT_TYPES = ("event-stream", "eventstream")
_LINE_TYPES = ("ndjson", "stream+json", "json-seq", "jsonlines", "jsonl")


class _Splitter(Protocol):
    def feed(self, data: bytes) -> list[Event]: ...

    def finish(self) -> list[Event]: ...


class Framing:
    """Splits a decoded body into (event name, JSON) as it comes; never raises.

    `head` is the start of a body in which no document was found: the text of an error page, perhaps.
    """

    __slots__ = ("_content_type", "_found", "_space", "_splitter", "head")

    def __init__(self, content_type: str | None) -> None:
        self._content_type = (content_type or "").lower()
        self._splitter: _Splitter | None = None
        self._found = 0
        self._space = True
        self.head = b""

    def feed(self, data: bytes) -> list[Event]:
        """Takes the next bytes, cut anywhere; gives the documents that they complete."""
        if self._splitter is None:
            data = (self.head + data).lstrip(_SPACE)
            if data.startswith(_BOM[: len(data)]) and len(data) <= len(_BOM):
                self.head = data
                return []
            data = data.removeprefix(_BOM).lstrip(_SPACE)
            if not data:
                return []
            self.head = b""
            self._splitter = self._detect(data[0])
        if not self._found and len(self.head) < _HEAD:
            self.head += data[: _HEAD - len(self.head)]
        return self._count(self._splitter.feed(data))

    def finish(self) -> list[Event]:
        """Takes the end of the body; gives what only the end completes."""
        return self._count(self._splitter.finish()) if self._splitter else []

    @property
    def done(self) -> bool:
        """True once the framing's own end was seen (`[DONE]`)."""
        return isinstance(self._splitter, EventLines) and self._splitter.done

    @property
    def streamed(self) -> bool:
        """True for an answer that comes in pieces by its very form; before the first, by its content type."""
        if isinstance(self._splitter, _Json):
            return self._splitter.streamed or _names(self._content_type, _LINE_TYPES)
        if self._found:
            return True
        return self._splitter is None and _names(self._content_type, _EVENT_TYPES + _LINE_TYPES)

    def _count(self, events: list[Event]) -> list[Event]:
        if events:
            self._found += len(events)
            self.head = b""
        return events

    def _detect(self, first: int) -> _Splitter:
        if first in b"{[":
            return _Json()
        if first == 0:
            return EventStream()
        if first in b"deir:":
            return EventLines()
        if "vnd.amazon.eventstream" in self._content_type:
            return EventStream()
        if "event-stream" in self._content_type:
            return EventLines()
        return _Json() if first == ord('"') or "json" in self._content_type else _Nothing()


def _names(content_type: str, kinds: tuple[str, ...]) -> bool:
    return any(kind in content_type for kind in kinds)


class _Json:
    """JSON documents in a row. A document that is damaged or cut must not take its neighbours with it."""

    __slots__ = ("_documents",)

    def __init__(self) -> None:
        self._documents = Documents()

    def feed(self, data: bytes) -> list[Event]:
        return [(None, document) for document in self._documents.feed(data)]

    def finish(self) -> list[Event]:
        rest = self._documents.rest()
        return [(None, rest)] if rest else []

    @property
    def streamed(self) -> bool:
        return self._documents.array or self._documents.count > 1


class _Nothing:
    """A body without documents: a page, a plain word, an image."""

    def feed(self, data: bytes) -> list[Event]:
        return []

    def finish(self) -> list[Event]:
        return []
