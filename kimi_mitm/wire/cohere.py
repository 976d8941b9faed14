"""Cohere's chat (v1 and v2), generate and embed.

Version 1 streams one JSON object per line with an `event_type`, version 2 server-sent events with a
`type`. `tokens` is what the model read and wrote, `billed_units` what is paid; the first is what counts
here, and the second stands in where the first is missing. Cached tokens are inside.
"""

from __future__ import annotations

from typing import Any

from kimi_mitm.records import Operation, Problem, Request, Usage
from kimi_mitm.wire.draft import Draft, settle
from kimi_mitm.wire.format import Format, Target
from kimi_mitm.wire.values import body, count, dump, first, get, items, text


class CohereReader(Draft):
    """What all of Cohere's answers have in common: their figures."""

    def usage(self) -> Usage:
        """The figures so far."""
        figures = self.figures
        return settle(
            input=first(figures, "read", "billed_read"),
            output=first(figures, "written", "billed_written"),
            cache_read=figures.get("cached"),
        )

    def account(self, usage: object) -> None:
        """Takes version 2's `usage` or version 1's `meta`."""
        stated = {
            "read": get(usage, "tokens", "input_tokens"),
            "written": get(usage, "tokens", "output_tokens"),
            "billed_read": get(usage, "billed_units", "input_tokens"),
            "billed_written": get(usage, "billed_units", "output_tokens"),
            "cached": get(usage, "cached_tokens"),
        }
        self.keep(stated, *stated)


class ChatReader(CohereReader):
    """Reads a chat of either version, whole or streamed."""

    def read(self, name: str | None, doc: dict[str, Any]) -> None:
        """Takes the whole answer or one event."""
        if "event_type" in doc:
            self._event_of_v1(doc)
        elif isinstance(doc.get("type"), str):
            self._event_of_v2(doc["type"], doc)
        elif isinstance(doc.get("message"), dict):
            self._whole_v2(doc)
        else:
            self._whole_v1(doc)

    def _whole_v1(self, doc: dict[str, Any], *, told: bool = False) -> None:
        self.response_id = text(first(doc, "response_id", "generation_id")) or self.response_id
        self.finish_reason = text(doc.get("finish_reason")) or self.finish_reason
        self.account(doc.get("meta"))
        if not told:
            self.say(doc.get("text"))
            self._calls_of_v1(doc)
        self.complete = True

    def _calls_of_v1(self, doc: dict[str, Any]) -> None:
        for call in items(doc.get("tool_calls")):
            self.call(None, get(call, "name"), dump(get(call, "parameters")))

    def _event_of_v1(self, doc: dict[str, Any]) -> None:
        match doc["event_type"]:
            case "stream-start":
                self.response_id = text(doc.get("generation_id")) or self.response_id
            case "text-generation":
                self.say(doc.get("text"))
            case "tool-calls-generation":
                self._calls_of_v1(doc)
            case "stream-end":
                self.finish_reason = text(doc.get("finish_reason"))
                if isinstance(doc.get("response"), dict):
                    self._whole_v1(doc["response"], told=True)
                self.complete = True

    def _whole_v2(self, doc: dict[str, Any]) -> None:
        self.response_id = text(doc.get("id")) or self.response_id
        self.finish_reason = text(doc.get("finish_reason")) or self.finish_reason
        self.account(doc.get("usage"))
        message = doc["message"]
        self.think(message.get("tool_plan"))
        for part in items(message.get("content")):
            self.say(get(part, "text"))
            self.think(get(part, "thinking"))
        for call in items(message.get("tool_calls")):
            self._call_of_v2(None, call)
        self.complete = True

    def _call_of_v2(self, key: object, call: object) -> None:
        function = get(call, "function")
        self.call(key, get(function, "name"), get(function, "arguments"), get(call, "id"))

    def _event_of_v2(self, kind: str, doc: dict[str, Any]) -> None:
        delta = doc.get("delta")
        message = get(delta, "message")
        match kind:
            case "message-start":
                self.response_id = text(doc.get("id")) or self.response_id
            case "content-start" | "content-delta":
                self.say(get(message, "content", "text"))
                self.think(get(message, "content", "thinking"))
            case "tool-plan-delta":
                self.think(get(message, "tool_plan"))
            case "tool-call-start" | "tool-call-delta":
                self._call_of_v2(doc.get("index"), get(message, "tool_calls"))
            case "message-end":
                self.finish_reason = text(get(delta, "finish_reason")) or self.finish_reason
                self.account(get(delta, "usage"))
                self.complete = True
                failure = text(get(delta, "error"))
                if failure:
                    self.fail(Problem(self.error_type(None), failure))


class GenerateReader(CohereReader):
    """Reads a completion: the whole answer, or a stream's lines."""

    def read(self, name: str | None, doc: dict[str, Any]) -> None:
        """Takes the answer or a line, of which the last repeats the whole answer in `response`."""
        if "is_finished" in doc:
            self.say(doc.get("text"))
            self.finish_reason = text(doc.get("finish_reason")) or self.finish_reason
            self.complete = doc["is_finished"] is True
        whole = doc.get("response") if "is_finished" in doc else doc
        generation = get(whole, "generations", 0)
        if not self.started:
            self.say(get(generation, "text"))
        self.response_id = text(get(whole, "id")) or self.response_id
        self.finish_reason = text(get(generation, "finish_reason")) or self.finish_reason
        self.account(get(whole, "meta"))
        if "generations" in doc:
            self.complete = True


class EmbedReader(CohereReader):
    """Reads an embedding's answer, which is one document."""

    def read(self, name: str | None, doc: dict[str, Any]) -> None:
        """Takes the answer."""
        self.response_id = text(doc.get("id")) or self.response_id
        self.account(doc.get("meta"))
        self.complete = True


def chat_hidden(doc: dict[str, Any]) -> frozenset[str]:
    """Reasons why a chat's body doesn't show its whole prompt."""
    hidden = set()
    if items(doc.get("connectors")):
        hidden.add("server_tools")
    if text(doc.get("conversation_id")):
        hidden.add("conversation")
    return frozenset(hidden)


def _read_chat(data: bytes, target: Target) -> Request:
    doc = body(data)
    messages = items(doc.get("messages")) or items(doc.get("chat_history"))
    conversation = text(doc.get("conversation_id"))
    return Request(
        model=text(doc.get("model")),
        stream=doc.get("stream") is True,
        hidden=chat_hidden(doc),
        issued_ids=(conversation,) if conversation else (),
        max_output_tokens=count(doc.get("max_tokens")),
        output_schema=first(doc.get("response_format"), "json_schema", "schema") is not None,
        tool_count=len(items(doc.get("tools"))),
        message_count=len(messages) + (text(doc.get("message")) is not None),
    )


def _read_generate(data: bytes, target: Target) -> Request:
    doc = body(data)
    return Request(
        model=text(doc.get("model")),
        stream=doc.get("stream") is True,
        max_output_tokens=count(doc.get("max_tokens")),
        message_count=1,
    )


def _read_embed(data: bytes, target: Target) -> Request:
    return Request(model=text(body(data).get("model")), stream=False)


CHAT = Format(name="cohere.chat", operation=Operation.CHAT, read_request=_read_chat, reader=ChatReader)

GENERATE = Format(
    name="cohere.generate",
    operation=Operation.TEXT_COMPLETION,
    read_request=_read_generate,
    reader=GenerateReader,
)

EMBED = Format(
    name="cohere.embed", operation=Operation.EMBEDDINGS, read_request=_read_embed, reader=EmbedReader
)
