"""Gemini Live: turns over one WebSocket (`…BidiGenerateContent`), JSON in text or in binary messages.

The client opens with `setup` and goes on with `clientContent`, `realtimeInput` and `toolResponse`; the
server answers with `serverContent`, `toolCall` and `usageMetadata`. A turn ends at `turnComplete`, whose
figures may follow in a message of their own. Names are camelCase or snake_case.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kimi_mitm.records import NO_USAGE, Answer, Operation, Problem, Request, Usage
from kimi_mitm.wire.document import decode
from kimi_mitm.wire.draft import Draft
from kimi_mitm.wire.format import Format, Target, WireError
from kimi_mitm.wire.google import bare_model, hidden_reasons, keep_usage, read_parts, tool_count, usage_of
from kimi_mitm.wire.turn_events import TurnEnded, TurnEvent, TurnProgress, TurnStarted
from kimi_mitm.wire.values import body, count, dump, first, get, items, text

_MOST_GATHERED = 4 * 1024 * 1024
"""Bytes of client messages that are kept for the next turn's body: some 90 seconds of sent audio."""


class LiveReader(Draft):
    """Reads the server's messages of one turn."""

    def __init__(self, status: int, headers: Mapping[str, str]) -> None:
        super().__init__(status, headers)
        self.streamed = True

    def read(self, name: str | None, doc: dict[str, Any]) -> None:
        """Takes one message."""
        content = first(doc, "serverContent", "server_content")
        read_parts(self, first(content, "modelTurn", "model_turn"))
        self.say(get(first(content, "outputTranscription", "output_transcription"), "text"))
        called = first(doc, "toolCall", "tool_call")
        for call in items(first(called, "functionCalls", "function_calls")):
            self.call(None, text(get(call, "name")) or "", get(call, "args"), get(call, "id"))
        keep_usage(self, first(doc, "usageMetadata", "usage_metadata"))
        if get(content, "interrupted") is True:
            self.finish_reason = "interrupted"
        reason = text(first(content, "turnCompleteReason", "turn_complete_reason"))
        self.finish_reason = reason or self.finish_reason
        if first(content, "turnComplete", "turn_complete") is True:
            self.complete = True

    def usage(self) -> Usage:
        """The turn's figures: its prompt is all of the conversation so far."""
        return usage_of(self.figures)


class LiveTurns:
    """Tells the turns of one socket apart. Never raises, whatever the messages hold."""

    def __init__(self, target: Target) -> None:
        self._setup: Any = None
        self._gathered: list[Any] = []
        self._size = 0
        self._partial = False
        self._index = -1
        self._open: LiveReader | None = None
        self._told = False

    def message(self, from_client: bool, data: bytes, is_text: bool) -> list[TurnEvent]:
        """Takes one message of the socket, text or binary; gives what it means for the turns."""
        try:
            doc = decode(data)
        except WireError:
            return []
        if not isinstance(doc, dict):
            return []
        return self._asked(doc, len(data)) if from_client else self._answered(doc)

    def answer(self, index: int) -> Answer | None:
        """What is known of the turn that is under way; None for any other."""
        return self._open.answer() if self._open is not None and index == self._index else None

    def cut(self, reason: str) -> list[TurnEnded]:
        """Takes the end of the socket; a turn that isn't over has broken off for that reason."""
        turn = self._open
        if turn is not None and not turn.complete:
            turn.problem = turn.problem or Problem("aborted", reason)
        return self._end()

    def _asked(self, doc: dict[str, Any], size: int) -> list[TurnEvent]:
        events: list[TurnEvent] = []
        if doc.get("setup") is not None:
            self._setup = doc["setup"]
        content = first(doc, "clientContent", "client_content")
        responses = first(doc, "toolResponse", "tool_response")
        asks = first(content, "turnComplete", "turn_complete") is True or responses is not None
        if asks and self._open is not None and self._may_end(responses is not None):
            events += self._end()
        self._gather(_turns(content, responses, first(doc, "realtimeInput", "realtime_input")), size)
        if asks and self._open is None:
            events.append(self._start())
        return events

    def _may_end(self, responds: bool) -> bool:
        """True if the open turn is over with the client's next word: it only lacks its figures, or called
        tools and has its figures."""
        turn = self._open
        return turn is not None and (turn.complete or (responds and turn.usage() != NO_USAGE))

    def _answered(self, doc: dict[str, Any]) -> list[TurnEvent]:
        events: list[TurnEvent] = []
        content = first(doc, "serverContent", "server_content")
        spoken = first(content, "modelTurn", "model_turn", "outputTranscription", "output_transcription")
        generates = spoken is not None or first(doc, "toolCall", "tool_call") is not None
        if generates and self._open is not None and self._open.complete:
            events += self._end()
        if self._open is None and generates:
            events.append(self._start())
        turn = self._open
        if turn is None:
            return events
        turn.document(None, doc)
        if turn.started and not self._told:
            self._told = True
            events.append(TurnProgress(self._index))
        if turn.problem is not None or (turn.complete and turn.usage() != NO_USAGE):
            events += self._end()
        return events

    def _gather(self, turns: list[Any], size: int) -> None:
        if turns and self._size + size > _MOST_GATHERED:
            self._partial = True
        elif turns:
            self._gathered += turns
            self._size += size

    def _start(self) -> TurnStarted:
        self._index += 1
        self._open = LiveReader(200, {})
        self._told = False
        request = {
            "setup": self._setup,
            "clientContent": {"turns": self._gathered},
            "turn": self._index,
            "partial": self._partial,
        }
        self._gathered, self._size, self._partial = [], 0, False
        return TurnStarted(self._index, dump(request).encode())

    def _end(self) -> list[TurnEnded]:
        turn, self._open = self._open, None
        return [] if turn is None else [TurnEnded(self._index, turn.answer())]


def _turns(content: Any, responses: Any, realtime: Any) -> list[Any]:
    """What the client says in one message, as `Content`s: so it reads like generateContent's `contents`."""
    turns = list(items(get(content, "turns")))
    parts = [{"functionResponse": each} for each in items(first(responses, "functionResponses"))]
    parts += [{"functionResponse": each} for each in items(first(responses, "function_responses"))]
    if text(get(realtime, "text")):
        parts.append({"text": realtime["text"]})
    chunks = items(first(realtime, "mediaChunks", "media_chunks"))
    for media in (*chunks, get(realtime, "audio"), get(realtime, "video")):
        if isinstance(media, dict):
            parts.append({"inlineData": media})
    return [*turns, {"role": "user", "parts": parts}] if parts else turns


def _read_request(data: bytes, target: Target) -> Request:
    """Reads a turn's request as `TurnStarted` has it."""
    doc = body(data)
    setup = doc.get("setup")
    contents = items(get(doc, "clientContent", "turns"))
    tools = items(get(setup, "tools"))
    config = first(setup, "generationConfig", "generation_config")
    hidden = set(hidden_reasons(doc, contents, tools))
    resumed = get(first(setup, "sessionResumption", "session_resumption"), "handle")
    if count(doc.get("turn")) or text(resumed):
        hidden.add("conversation")
    if doc.get("partial") is True:
        hidden.add("partial_body")
    return Request(
        model=bare_model(get(setup, "model")),
        stream=True,
        hidden=frozenset(hidden),
        max_output_tokens=count(first(config, "maxOutputTokens", "max_output_tokens")),
        tool_count=tool_count(tools),
        message_count=len(contents),
    )


LIVE = Format(
    name="google.live",
    operation=Operation.GENERATE_CONTENT,
    read_request=_read_request,
    reader=LiveReader,
)
