"""OpenAI's Realtime, over WebSocket (xAI, Azure and Qwen speak it too).

The prompt is never sent whole: a session's settings and a conversation's items come one by one from
either side, and a response is made of all of them. So a turn's body is made here:
`{"type": "realtime", "model", "session": {…}, "input": [items…]}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from kimi_mitm.records import Answer, Operation, Problem, Request
from kimi_mitm.wire import problem
from kimi_mitm.wire.document import decode
from kimi_mitm.wire.format import Format, Target, WireError
from kimi_mitm.wire.openai_responses import ResponsesReader
from kimi_mitm.wire.openai_usage import merge
from kimi_mitm.wire.turn_events import TurnEnded, TurnEvent, TurnProgress, TurnStarted
from kimi_mitm.wire.values import body, count, first, get, items, text

_MOST_ITEMS = 2000
_MOST_BYTES = 4 * 1024 * 1024
_ITEM_MADE = frozenset({"conversation.item.created", "conversation.item.added", "conversation.item.done"})
_SESSION_SET = frozenset({"session.created", "session.updated"})
_TRANSCRIBED = "conversation.item.input_audio_transcription.completed"


def read_request(data: bytes, target: Target) -> Request:
    """What a turn's body says; raises `WireError` where it is no JSON object."""
    doc = body(data)
    session = doc.get("session")
    given = items(doc.get("input"))
    heard = any(get(part, "type") == "input_audio" for item in given for part in items(get(item, "content")))
    return Request(
        model=text(doc.get("model")) or text(get(session, "model")) or (target.query or {}).get("model"),
        stream=True,
        hidden=frozenset({"partial_body"} if heard or doc.get("dropped") else ()),
        max_output_tokens=count(first(session, "max_output_tokens", "max_response_output_tokens")),
        tool_count=len(items(get(session, "tools"))),
        message_count=len(given),
    )


class RealtimeReader(ResponsesReader):
    """Reads one response's events."""

    def __init__(self, status: int, headers: Mapping[str, str]) -> None:
        super().__init__(status, headers)
        self.streamed = True

    def read(self, name: str | None, doc: dict[str, Any]) -> None:
        super().read(name, doc)
        beside = doc.get("usage")
        if doc.get("type") == "response.done" and isinstance(beside, dict):
            merge(self._stated, beside)


REALTIME = Format(
    name="openai.realtime",
    operation=Operation.CHAT,
    read_request=read_request,
    reader=RealtimeReader,
    end_marks=("response.done",),
)


class RealtimeTurns:
    """Each `response.created` … `response.done` is a turn, whoever asked for it."""

    def __init__(self, target: Target) -> None:
        self._session: dict[str, Any] = {}
        self._model = (target.query or {}).get("model")
        self._items: dict[str, Any] = {}
        self._sizes: dict[str, int] = {}
        self._size = 0
        self._kept = 0
        self._unnamed = 0
        self._dropped = False
        self._turns = 0
        self._open: dict[int, RealtimeReader] = {}
        self._by_response: dict[str, int] = {}
        self._asked: list[dict[str, Any]] = []

    def message(self, from_client: bool, data: bytes, is_text: bool) -> list[TurnEvent]:
        try:
            doc = decode(data)
        except WireError:
            return []
        kind = text(get(doc, "type"))
        if kind is None:
            return []
        self._size = len(data)
        return self._of_client(kind, doc) if from_client else self._of_server(kind, doc)

    def answer(self, index: int) -> Answer | None:
        reader = self._open.get(index)
        return reader.answer() if reader else None

    def cut(self, reason: str) -> list[TurnEnded]:
        return [self._end(index, Problem("aborted", reason)) for index in list(self._open)]

    def _of_client(self, kind: str, doc: dict[str, Any]) -> list[TurnEvent]:
        if kind == "session.update":
            self._settings(doc.get("session"))
        elif kind == "conversation.item.create":
            self._add(doc.get("item"))
        elif kind == "response.create":
            asked = doc.get("response")
            self._asked.append(asked if isinstance(asked, dict) else {})
            del self._asked[:-_MOST_ITEMS]
        return []

    def _of_server(self, kind: str, doc: dict[str, Any]) -> list[TurnEvent]:
        if kind.startswith("response."):
            return self._of_response(kind, doc)
        if kind in _SESSION_SET:
            self._settings(doc.get("session"))
        elif kind in _ITEM_MADE:
            self._add(doc.get("item"))
        elif kind == "conversation.item.deleted":
            self._drop(str(doc.get("item_id")))
        elif kind == _TRANSCRIBED:
            self._transcribe(doc)
        elif kind == "error" and self._asked:
            events = self._start(None)
            return [*events, self._end(events[0].index, problem.read(doc, "error"))]
        return []

    def _of_response(self, kind: str, doc: dict[str, Any]) -> list[TurnEvent]:
        response_id = text(doc.get("response_id")) or text(get(doc, "response", "id"))
        events: list[TurnEvent] = []
        index = self._by_response.get(response_id or "")
        if index is None:
            if kind not in ("response.created", "response.done"):
                return []
            started = self._start(response_id)
            events += started
            index = started[0].index
        reader = self._open[index]
        silent = not reader.started
        reader.document(None, doc)
        if silent and reader.started:
            events.append(TurnProgress(index))
        if kind != "response.done":
            return events
        for item in items(get(doc, "response", "output")):
            self._add(item)
        return [*events, self._end(index, None)]

    def _start(self, response_id: str | None) -> list[TurnStarted]:
        index = self._turns
        self._turns += 1
        self._open[index] = RealtimeReader(200, {})
        if response_id:
            self._by_response[response_id] = index
        return [TurnStarted(index, self._body(self._asked.pop(0) if self._asked else {}))]

    def _body(self, asked: dict[str, Any]) -> bytes:
        session = {**self._session, **{name: value for name, value in asked.items() if name != "input"}}
        given = items(asked.get("input")) or list(self._items.values())
        doc: dict[str, Any] = {"type": "realtime", "session": session, "input": given}
        model = text(session.get("model")) or self._model
        if model:
            doc["model"] = model
        if self._dropped:
            doc["dropped"] = True
        return msgspec.json.encode(doc)

    def _end(self, index: int, cause: Problem | None) -> TurnEnded:
        reader = self._open.pop(index)
        self._by_response = {name: turn for name, turn in self._by_response.items() if turn != index}
        if not reader.complete:
            reader.problem = reader.problem or cause
        return TurnEnded(index, reader.answer())

    def _settings(self, session: Any) -> None:
        if isinstance(session, dict):
            self._session.update(session)

    def _add(self, item: Any) -> None:
        if not isinstance(item, dict):
            return
        name = text(item.get("id"))
        if name is None:
            self._unnamed += 1
            name = f"#{self._unnamed}"
        elif name not in self._items:
            self._forget_unnamed(item)
        self._items[name] = {**self._items.get(name, {}), **item}
        self._kept += self._size - self._sizes.get(name, 0)
        self._sizes[name] = self._size
        while self._items and (len(self._items) > _MOST_ITEMS or self._kept > _MOST_BYTES):
            self._dropped = True
            self._drop(next(iter(self._items)))

    def _drop(self, name: str) -> None:
        if name in self._items:
            del self._items[name]
            self._kept -= self._sizes.pop(name)

    def _forget_unnamed(self, item: dict[str, Any]) -> None:
        """The server restates an item that the client sent without an id under an id of its own."""
        for name, known in self._items.items():
            if name.startswith("#") and all(known.get(key) == item.get(key) for key in ("type", "role")):
                self._drop(name)
                return

    def _transcribe(self, doc: dict[str, Any]) -> None:
        """What was said takes its place in the conversation once it is known as text."""
        item = self._items.get(str(doc.get("item_id")))
        said = text(doc.get("transcript"))
        content = items(get(item, "content"))
        place = doc.get("content_index")
        if item is None or said is None or not isinstance(place, int) or not 0 <= place < len(content):
            return
        part = content[place]
        if isinstance(part, dict):
            part["transcript"] = said
