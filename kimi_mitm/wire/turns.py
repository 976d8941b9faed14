"""WebSocket conversations, each turn an exchange of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from kimi_mitm.records import Answer, Problem
from kimi_mitm.wire import problem
from kimi_mitm.wire.document import decode
from kimi_mitm.wire.format import Target, WireError
from kimi_mitm.wire.google_live import LiveTurns
from kimi_mitm.wire.openai_realtime import RealtimeTurns
from kimi_mitm.wire.openai_responses import RESPONSES, ResponsesReader
from kimi_mitm.wire.turn_events import TurnEnded, TurnEvent, TurnProgress, TurnStarted
from kimi_mitm.wire.values import get, text

__all__ = ["TurnEnded", "TurnEvent", "TurnProgress", "TurnStarted", "Turns"]

_ENDS = frozenset({*RESPONSES.end_marks, "response.done"})


class Conversation(Protocol):
    """Reads one socket's messages; never raises."""

    def message(self, from_client: bool, data: bytes, is_text: bool) -> list[TurnEvent]: ...

    def answer(self, index: int) -> Answer | None: ...

    def cut(self, reason: str) -> list[TurnEnded]: ...


class ResponsesTurns:
    """Responses over WebSocket (Codex, Copilot, the SDKs): a turn begins with the client's
    `response.create` and ends with the response. Servers answer in the order of the requests."""

    def __init__(self, target: Target) -> None:
        self._turns = 0
        self._open: dict[int, ResponsesReader] = {}

    def message(self, from_client: bool, data: bytes, is_text: bool) -> list[TurnEvent]:
        try:
            doc = decode(data)
        except WireError:
            return []
        kind = text(get(doc, "type"))
        if kind is None:
            return []
        if from_client:
            return [self._start(data)] if kind == "response.create" else []
        return self._of_server(kind, doc)

    def answer(self, index: int) -> Answer | None:
        reader = self._open.get(index)
        return reader.answer() if reader else None

    def cut(self, reason: str) -> list[TurnEnded]:
        return [self._end(index, Problem("aborted", reason)) for index in list(self._open)]

    def _of_server(self, kind: str, doc: dict[str, Any]) -> list[TurnEvent]:
        events: list[TurnEvent] = []
        if not self._open:
            if kind != "response.created":
                return []
            events.append(self._start(_asked_before(doc)))
        index = next(iter(self._open))
        if kind == "error":
            return [self._end(index, problem.read(doc, "error"))]
        if not kind.startswith("response."):
            return []
        reader = self._open[index]
        silent = not reader.started
        reader.document(None, doc)
        if silent and reader.started:
            events.append(TurnProgress(index))
        return [*events, self._end(index, None)] if kind in _ENDS else events

    def _start(self, body: bytes) -> TurnStarted:
        index = self._turns
        self._turns += 1
        self._open[index] = reader = ResponsesReader(200, {})
        reader.streamed = True
        return TurnStarted(index, body)

    def _end(self, index: int, cause: Problem | None) -> TurnEnded:
        reader = self._open.pop(index)
        if not reader.complete:
            reader.problem = reader.problem or cause
        return TurnEnded(index, reader.answer())


def _asked_before(doc: dict[str, Any]) -> bytes:
    """The request of a response that was asked for before we could listen, as far as it restates it."""
    response = get(doc, "response")
    known = {name: get(response, name) for name in ("model", "instructions", "tools", "previous_response_id")}
    return msgspec.json.encode({"type": "response.create", **{k: v for k, v in known.items() if v}})


_CONVERSATIONS: Mapping[str, Callable[[Target], Conversation]] = {
    "openai.responses": ResponsesTurns,
    "openai.realtime": RealtimeTurns,
    "google.live": LiveTurns,
}
"""Formats that are spoken over WebSocket."""


class Turns:
    """Reads the messages of one WebSocket in the named format, and never raises. A format that isn't
    spoken over WebSocket has no turns."""

    def __init__(self, format_name: str, target: Target) -> None:
        make = _CONVERSATIONS.get(format_name)
        self._conversation = make(target) if make else None

    def message(self, from_client: bool, data: bytes, is_text: bool) -> list[TurnEvent]:
        """Takes one message, whole and inflated; gives the turns that it starts, moves on or ends."""
        return self._conversation.message(from_client, data, is_text) if self._conversation else []

    def answer(self, index: int) -> Answer | None:
        """What is known of a turn that is under way; None for any other."""
        return self._conversation.answer(index) if self._conversation else None

    def cut(self, reason: str) -> list[TurnEnded]:
        """Takes the socket's end, and why; gives the turns that it broke off."""
        return self._conversation.cut(reason) if self._conversation else []
