"""One answer as it comes off the wire: content encoding, framing and format's reader in a row."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kimi_mitm.records import Answer, Problem
from kimi_mitm.wire import problem
from kimi_mitm.wire.document import decode, mend, tidy
from kimi_mitm.wire.encoding import Decoder
from kimi_mitm.wire.format import Format, WireError
from kimi_mitm.wire.framing import Framing
from kimi_mitm.wire.sse import Event

LIMIT = 64 * 1024 * 1024
"""Decoded bytes of one answer that are read, unless told otherwise."""
_MOST_IN_LIST = 1000
_FIGURES = re.compile("usage|meta|metrics|tokens|groq", re.IGNORECASE)


class AnswerReader:
    """Reads one answer, and never raises, whatever the bytes are.

    `headers` has lower-case names. `damaged` counts documents that could not be read; `truncated` is
    True once the answer was longer than `limit` decoded bytes, `encoding_problem` says what is wrong
    with its content encoding.
    """

    __slots__ = ("_cut", "_decoder", "_failing", "_final", "_framing", "_reader", "_status", "damaged")

    def __init__(self, format: Format, status: int, headers: Mapping[str, str], limit: int = LIMIT) -> None:
        self._reader = format.reader(status, headers)
        self._decoder = Decoder(headers.get("content-encoding"), limit)
        self._framing = Framing(headers.get("content-type"))
        self._failing = status >= 400
        self._status = status
        self._cut = False
        self._final: Answer | None = None
        self.damaged = 0

    @property
    def started(self) -> bool:
        """True once a generated token was seen."""
        return self._reader.started

    @property
    def truncated(self) -> bool:
        return self._decoder.exceeded

    @property
    def encoding_problem(self) -> str | None:
        return self._decoder.damaged

    def feed(self, raw: bytes) -> None:
        """Takes the next bytes, still content-encoded, cut anywhere."""
        data = self._decoder.feed(raw)
        if data:
            self._take(self._framing.feed(data))

    def answer(self) -> Answer:
        """What is known so far."""
        known = self._reader.answer()
        return replace(
            known,
            complete=(known.complete and not self._cut) or self._framing.done,
            streamed=known.streamed or self._framing.streamed,
        )

    def finish(self, aborted: str | None = None) -> Answer:
        """Takes the end of the answer. `aborted` says why it broke off, if it did: that is the answer's
        problem, unless the format's own end or an error was seen before. A second call gives the same."""
        if self._final is None:
            self._final = self._finish(aborted)
        return self._final

    def _finish(self, aborted: str | None) -> Answer:
        data = self._decoder.finish()
        if data:
            self._take(self._framing.feed(data))
        self._take(self._framing.finish())
        answer = self.answer()
        if answer.problem:
            return answer
        if self._failing:
            return replace(answer, problem=problem.page(self._framing.head, f"http_{self._status}"))
        if aborted is not None and not answer.complete:
            return replace(answer, problem=Problem("aborted", problem.shorten(aborted)))
        return answer

    def _take(self, events: list[Event]) -> None:
        for name, data in events:
            try:
                self._document(name, decode(data))
            except WireError:
                self._salvage(name, data)

    def _salvage(self, name: str | None, data: bytes) -> None:
        """A damaged line must not take the good ones with it; a cut body is read as far as it came. Of a
        damaged event the reader learns at least that it came."""
        self.damaged += 1
        tidied = tidy(data)
        if tidied is not None:
            self._document(name, decode(tidied))
            return
        found = False
        for line in data.split(b"\n") if b"\n" in data else ():
            doc = _decoded(line.strip().removeprefix(b"data:"))
            if isinstance(doc, dict) and doc:
                found = True
                self._document(name, doc)
        if name is not None and not found:
            self._document(name, {})
        mended = None if found or self._framing.streamed else mend(data)
        if mended:
            self._cut = True
            self._document(name, _without_torn_figures(_decoded(mended.data), mended.depth))

    def _document(self, name: str | None, doc: Any) -> None:
        if isinstance(doc, list):
            for item in doc[:_MOST_IN_LIST]:
                if isinstance(item, dict):
                    self._document(name, item)
            return
        if not isinstance(doc, dict):
            return
        try:
            self._reader.document(name, doc)
        except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError):
            self.damaged += 1


def _without_torn_figures(doc: Any, depth: int) -> Any:
    """Of a cut document's figures some may be missing, and a sum of the others would be wrong."""
    part = doc
    for _ in range(depth - 1):
        last = next(reversed(part), None) if isinstance(part, dict) else -1
        if last is None or not part:
            break
        if isinstance(last, str) and _FIGURES.search(last):
            del part[last]
            break
        part = part[last]
        if not isinstance(part, dict | list):
            break
    return doc


def _decoded(data: bytes) -> Any:
    try:
        return decode(data)
    except WireError:
        return None
