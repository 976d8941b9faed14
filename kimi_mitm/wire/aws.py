"""Amazon Bedrock's Converse: `/model/{id}/converse` (one document) and `/converse-stream` (an event stream).

Field and event names are those of the Bedrock Runtime API, version 2023-09-30. Cached tokens stand
outside `inputTokens`.
"""

from __future__ import annotations

import re
from typing import Any

from kimi_mitm.records import Operation, Request, Usage
from kimi_mitm.wire import problem
from kimi_mitm.wire.draft import Draft, settle
from kimi_mitm.wire.format import Format, Target, WireError
from kimi_mitm.wire.model_path import plain_path
from kimi_mitm.wire.values import body, count, first, get, items, text, total

_PATH = re.compile(r"/model/(?P<model>.+)/(?P<verb>[a-z-]+)/?$")
_STREAMED = ("converse-stream", "invoke-with-response-stream")
_ERRORS = ("exception", "error")


def model_in_path(path: str) -> tuple[str | None, bool]:
    """The model of a Bedrock path (an id, or an ARN with its slashes) and whether a stream is asked for."""
    match = _PATH.search(plain_path(path))
    return (match["model"], match["verb"] in _STREAMED) if match else (None, False)


def is_failure(name: str | None) -> bool:
    """True for an event's name that says that the stream failed, such as `throttlingException`."""
    return name is not None and name.lower().endswith(_ERRORS)


class BedrockDraft(Draft):
    """What the answers of Converse and Invoke have in common: how errors are told."""

    def document(self, name: str | None, doc: Any) -> None:
        """Takes one document; an event named as an exception is an error, whatever the status."""
        if is_failure(name):
            self.fail(problem.read(doc, name or ""))
        else:
            super().document(name, doc)

    def error_type(self, name: str | None) -> str:
        """The exception's name out of `x-amzn-errortype: ValidationException:http://…`."""
        return self.headers.get("x-amzn-errortype", "").partition(":")[0] or super().error_type(name)


class ConverseReader(BedrockDraft):
    """Reads a `ConverseResponse`, or the events of a `ConverseStreamOutput`."""

    def read(self, name: str | None, doc: dict[str, Any]) -> None:
        """Takes the whole answer (without a name) or one event."""
        match name:
            case None:
                self._whole(doc)
            case "contentBlockStart":
                tool = get(doc, "start", "toolUse")
                if tool is not None:
                    self.call(get(doc, "contentBlockIndex"), get(tool, "name"), id=get(tool, "toolUseId"))
            case "contentBlockDelta":
                self._delta(doc)
            case "messageStop":
                self.finish_reason = text(doc.get("stopReason")) or self.finish_reason
            case "metadata":
                self._account(doc)
                self.complete = True

    def usage(self) -> Usage:
        """Converse's figures; `cacheDetails` splits what was written by how long it is kept."""
        figures = self.figures
        fresh = figures.get("inputTokens")
        read = first(figures, "cacheReadInputTokens", "cacheReadInputTokenCount")
        write = first(figures, "cacheWriteInputTokens", "cacheWriteInputTokenCount", "cacheDetails")
        return settle(
            input=None if fresh is None else total(fresh, read, write),
            output=figures.get("outputTokens"),
            cache_read=read,
            cache_write=write,
            total_tokens=figures.get("totalTokens"),
        )

    def _whole(self, doc: dict[str, Any]) -> None:
        for block in items(get(doc, "output", "message", "content")):
            self.say(get(block, "text"))
            self.think(get(block, "reasoningContent", "reasoningText", "text"))
            tool = get(block, "toolUse")
            if tool is not None:
                self.call(None, get(tool, "name"), get(tool, "input"), get(tool, "toolUseId"))
        self.finish_reason = text(doc.get("stopReason")) or self.finish_reason
        self._account(doc)
        self.complete = True

    def _delta(self, doc: dict[str, Any]) -> None:
        delta = doc.get("delta")
        self.say(get(delta, "text"))
        self.think(get(delta, "reasoningContent", "text"))
        if get(delta, "toolUse") is not None:
            self.call(doc.get("contentBlockIndex"), arguments=get(delta, "toolUse", "input"))

    def _account(self, doc: dict[str, Any]) -> None:
        usage = doc.get("usage")
        self.keep(usage, "inputTokens", "outputTokens", "totalTokens")
        self.keep(usage, "cacheReadInputTokens", "cacheReadInputTokenCount")
        self.keep(usage, "cacheWriteInputTokens", "cacheWriteInputTokenCount")
        kept = total(*(count(get(part, "inputTokens")) for part in items(get(usage, "cacheDetails"))))
        self.keep({"cacheDetails": kept}, "cacheDetails")
        routed = text(get(doc, "trace", "promptRouter", "invokedModelId"))
        self.response_model = routed or self.response_model


def converse_hidden(doc: dict[str, Any]) -> frozenset[str]:
    """Reasons why a Converse-shaped body doesn't show its whole prompt."""
    hidden = set()
    if doc.get("promptVariables") is not None:
        hidden.add("cached_content")
    if any(get(tool, "systemTool") is not None for tool in items(get(doc, "toolConfig", "tools"))):
        hidden.add("server_tools")
    contents = (block for message in items(doc.get("messages")) for block in items(get(message, "content")))
    for block in contents:
        media = first(block, "image", "document", "video", "audio")
        if get(media, "source", "s3Location") is not None:
            hidden.add("remote_media")
    return frozenset(hidden)


def _read_request(data: bytes, target: Target) -> Request:
    model, stream = model_in_path(target.path)
    try:
        doc = body(data)
    except WireError:
        return Request(model=model, stream=stream, hidden=frozenset({"partial_body"}))
    tools = [tool for tool in items(get(doc, "toolConfig", "tools")) if get(tool, "cachePoint") is None]
    return Request(
        model=model,
        stream=stream,
        hidden=converse_hidden(doc),
        max_output_tokens=count(get(doc, "inferenceConfig", "maxTokens")),
        output_schema=get(doc, "outputConfig", "textFormat") is not None,
        tool_count=len(tools),
        message_count=len(items(doc.get("messages"))),
    )


CONVERSE = Format(
    name="aws.converse",
    operation=Operation.CHAT,
    read_request=_read_request,
    reader=ConverseReader,
)
