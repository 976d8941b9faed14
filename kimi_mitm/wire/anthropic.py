"""Anthropic's Messages, directly or through Vertex, Azure and gateways, and its legacy text completion.

Cached tokens stand outside `input_tokens`. In a stream `message_delta` replaces what `message_start`
said of the usage, field by field (a web search took the input from 2,479 to 404,500).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kimi_mitm.records import Operation, Request, Usage
from kimi_mitm.wire.draft import Draft
from kimi_mitm.wire.format import Format, Target
from kimi_mitm.wire.model_path import plain_path
from kimi_mitm.wire.openai_usage import merge
from kimi_mitm.wire.values import body, count, first, get, items, text, total

_SERVER_TOOLS = ("web_search", "web_fetch", "code_execution", "mcp_toolset", "tool_search", "advisor")


def read_request(data: bytes, target: Target) -> Request:
    """What the body says, and the path where the model is there (Vertex, Bedrock); raises `WireError`
    where the body is no JSON object."""
    doc = body(data)
    messages, tools = items(doc.get("messages")), items(doc.get("tools"))
    hidden = set()
    if doc.get("mcp_servers") or any(_runs_at_server(tool) for tool in tools):
        hidden.add("server_tools")
    if any(_has_remote_media(message) for message in messages):
        hidden.add("remote_media")
    schema = first(doc, "output_format", "output_config")
    container = doc.get("container")
    return Request(
        model=text(doc.get("model")) or model_in_path(target.path),
        stream=doc.get("stream") is True or "stream" in target.path.rpartition("/")[2].lower(),
        hidden=frozenset(hidden),
        issued_ids=(container,) if isinstance(container, str) and container else (),
        max_output_tokens=count(first(doc, "max_tokens", "max_tokens_to_sample")),
        output_schema=isinstance(schema, dict) and bool(get(schema, "format") or get(schema, "schema")),
        tool_count=len(tools),
        message_count=len(messages) or int("prompt" in doc),
    )


def model_in_path(path: str) -> str | None:
    """The model of `…/models/<model>:rawPredict` and `…/model/<model>/invoke`."""
    path = plain_path(path)
    for mark in ("/models/", "/model/"):
        _, found, rest = path.partition(mark)
        if found:
            name = rest.partition("/")[0]
            stem, colon, verb = name.rpartition(":")
            return (stem if colon and verb.lower().endswith("predict") else name) or None
    return None


def _runs_at_server(tool: Any) -> bool:
    kind = text(get(tool, "type"))
    return kind is not None and kind.startswith(_SERVER_TOOLS)


def _has_remote_media(message: Any) -> bool:
    return any(get(part, "source", "type") in ("url", "file") for part in items(get(message, "content")))


def messages_usage(stated: dict[str, Any]) -> Usage:
    """Anthropic's usage object in our convention.

    `iterations` (hidden passes of compaction or of an adviser) are billed, but no part of the top-level
    numbers: what was billed for input in all goes into `billed_input_tokens`.
    """
    written = count(stated.get("cache_creation_input_tokens"))
    if written is None:
        written = _sum_of_counts(stated.get("cache_creation"))
    read = count(stated.get("cache_read_input_tokens"))
    fresh = count(stated.get("input_tokens"))
    given = total(fresh, read, written) if fresh is not None else None
    made = count(stated.get("output_tokens"))
    passes = [
        messages_usage(each).input_tokens for each in items(stated.get("iterations"))[:100] if _plain(each)
    ]
    return Usage(
        input_tokens=given,
        output_tokens=made,
        cache_read_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=count(get(stated, "output_tokens_details", "thinking_tokens")),
        total_tokens=total(given, made) if given is not None and made is not None else None,
        billed_input_tokens=total(*passes),
    )


def _plain(each: Any) -> bool:
    return isinstance(each, dict) and "iterations" not in each


def _sum_of_counts(doc: Any) -> int | None:
    return total(*(count(value) for value in doc.values())) if isinstance(doc, dict) else None


class MessagesReader(Draft):
    """Reads a message, or the events that make one.

    The output that `message_start` states is where the count begins, mostly 1: it is no figure of an
    answer that broke off before a `message_delta`, or whose `message_delta` is damaged or says nothing of it.
    """

    def __init__(self, status: int, headers: Mapping[str, str]) -> None:
        super().__init__(status, headers)
        self._stated: dict[str, Any] = {}
        self._begun = False
        self._moved = False

    def read(self, name: str | None, doc: dict[str, Any]) -> None:
        kind = doc.get("type") or name
        if kind == "content_block_delta":
            self._delta(doc.get("index"), doc.get("delta"))
        elif kind == "content_block_start":
            self._block(doc.get("index"), doc.get("content_block"))
        elif kind == "message_start":
            self._message(doc.get("message"))
            self._begun = True
        elif kind == "message_delta":
            self._use(doc.get("usage"))
            self._begun = self._begun and count(get(doc, "usage", "output_tokens")) is None
            self._moved = True
            delta = doc.get("delta")
            self.finish_reason = text(get(delta, "stop_reason")) or self.finish_reason
            self._container(delta)
        elif kind == "message_stop":
            self.complete = True
            self._begun = self._begun and self._moved
        elif kind == "message" or "content" in doc:
            self._message(doc)
            self.complete = self.finish_reason is not None or self.complete
        elif "completion" in doc:
            self._completion(doc)

    def usage(self) -> Usage:
        stated = self._stated
        if self._begun:
            stated = {name: value for name, value in stated.items() if not name.startswith("output_tokens")}
        return messages_usage(stated)

    def _message(self, message: Any) -> None:
        if not isinstance(message, dict):
            return
        self.response_id = text(message.get("id")) or self.response_id
        self.response_model = text(message.get("model")) or self.response_model
        self.finish_reason = text(message.get("stop_reason")) or self.finish_reason
        self._use(message.get("usage"))
        self._container(message)
        for index, block in enumerate(items(message.get("content"))):
            self._block(index, block)

    def _block(self, index: Any, block: Any) -> None:
        if not isinstance(block, dict):
            return
        kind = block.get("type")
        if kind == "text":
            self.say(block.get("text"))
        elif kind == "thinking":
            self.think(block.get("thinking"))
        elif isinstance(kind, str) and kind.endswith("tool_use"):
            arguments = block.get("input") or None
            self.call(index, text(block.get("name")), arguments, text(block.get("id")))

    def _delta(self, index: Any, delta: Any) -> None:
        if not isinstance(delta, dict):
            return
        kind = delta.get("type")
        if kind == "text_delta":
            self.say(delta.get("text"))
        elif kind == "thinking_delta":
            self.think(delta.get("thinking"))
        elif kind == "input_json_delta":
            piece = delta.get("partial_json")
            if isinstance(piece, str) and piece:
                self.call(index, arguments=piece)

    def _container(self, doc: Any) -> None:
        issued = text(get(doc, "container", "id"))
        if issued:
            self.issued_ids = (issued,)

    def _completion(self, doc: dict[str, Any]) -> None:
        """The legacy format: its events carry text, and the last one a stop reason."""
        self.response_id = text(doc.get("log_id")) or text(doc.get("id")) or self.response_id
        self.response_model = text(doc.get("model")) or self.response_model
        self.say(doc.get("completion"))
        self._use(doc.get("usage"))
        self.finish_reason = text(doc.get("stop_reason")) or self.finish_reason
        self.complete = self.complete or self.finish_reason is not None

    def _use(self, stated: Any) -> None:
        if isinstance(stated, dict):
            merge(self._stated, stated)


MESSAGES = Format(
    name="anthropic.messages",
    operation=Operation.CHAT,
    read_request=read_request,
    reader=MessagesReader,
    end_marks=("message_stop",),
)

COMPLETE = Format(
    name="anthropic.complete",
    operation=Operation.TEXT_COMPLETION,
    read_request=read_request,
    reader=MessagesReader,
)
