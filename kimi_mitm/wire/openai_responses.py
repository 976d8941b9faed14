"""OpenAI's Responses: one object, or events that end with that object; the same over WebSocket.

A background answer comes queued and without usage, and is polled for by GET; each poll answers with
the same response id. After `previous_response_id` the request is only a part of the prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kimi_mitm.records import Operation, Request, Usage
from kimi_mitm.wire import problem
from kimi_mitm.wire.draft import Draft
from kimi_mitm.wire.format import Format, Target
from kimi_mitm.wire.openai_usage import merge, usage
from kimi_mitm.wire.values import body, count, first, get, items, text

_LOCAL_TOOLS = frozenset({"function", "custom", "local_shell", "shell", "apply_patch", "namespace"})
_WAITING = frozenset({"queued", "in_progress"})
_ENDED = frozenset({"completed", "incomplete", "failed", "cancelled"})
_STATES = frozenset(f"response.{state}" for state in ("created", "queued", "in_progress", *_ENDED, "done"))

_ARGUMENTS = ("call_arguments.delta", "call_input.delta", "call_code.delta")
_NOT_TEXT = frozenset({"response.audio.delta", "response.output_audio.delta"})


def read_request(data: bytes, target: Target) -> Request:
    """What the body, or a WebSocket's `response.create` message, says.

    An empty body is a poll (`GET /responses/{id}`): its id is the previous response. Raises `WireError`
    where the body is neither that nor a JSON object.
    """
    polled = _polled(target.path)
    if not data.strip() and polled:
        return Request(
            previous_response_id=polled, issued_ids=(polled,), generates=False, stream=_streams(target)
        )
    doc = body(data)
    if isinstance(doc.get("response"), dict) and "input" not in doc:
        doc = {**doc, **doc["response"]}
    previous = text(doc.get("previous_response_id"))
    conversation = _id(doc.get("conversation"))
    tools = items(doc.get("tools"))
    given = doc.get("input")
    return Request(
        model=text(doc.get("model")),
        stream=doc.get("stream") is True or doc.get("type") == "response.create",
        hidden=frozenset(_hidden(doc, previous, conversation, tools)),
        issued_ids=tuple(each for each in (previous, conversation) if each),
        previous_response_id=previous,
        generates=doc.get("generate") is not False,
        background=doc.get("background") is True,
        max_output_tokens=count(doc.get("max_output_tokens")),
        output_schema=get(doc, "text", "format", "type") in ("json_schema", "json_object"),
        tool_count=len(tools),
        message_count=len(items(given)) or int(bool(given)),
    )


def _hidden(
    doc: dict[str, Any], previous: str | None, conversation: str | None, tools: list[Any]
) -> set[str]:
    hidden = set()
    if previous:
        hidden.add("previous_response_id")
    if conversation or doc.get("prompt"):
        hidden.add("conversation")
    if any(isinstance(tool, dict) and tool.get("type", "function") not in _LOCAL_TOOLS for tool in tools):
        hidden.add("server_tools")
    if any(_has_remote_media(item) for item in items(doc.get("input"))):
        hidden.add("remote_media")
    if any(get(item, "type") == "item_reference" for item in items(doc.get("input"))):
        hidden.add("conversation")
    return hidden


def _has_remote_media(item: Any) -> bool:
    for part in items(get(item, "content")):
        url = first(part, "image_url", "file_url")
        if get(part, "file_id") or (isinstance(url, str) and url.startswith("http")):
            return True
    return False


def _polled(path: str) -> str | None:
    _, found, rest = path.rpartition("/responses/")
    return rest.partition("/")[0] or None if found else None


def _streams(target: Target) -> bool:
    return (target.query or {}).get("stream") == "true"


def _id(value: Any) -> str | None:
    return text(value) or text(get(value, "id"))


class ResponsesReader(Draft):
    """Reads a response object, or its events; what the object at the end restates is taken once."""

    def __init__(self, status: int, headers: Mapping[str, str]) -> None:
        super().__init__(status, headers)
        self._stated: dict[str, Any] = {}
        self._heard: set[int] = set()

    def read(self, name: str | None, doc: dict[str, Any]) -> None:
        kind = doc.get("type") or name
        if isinstance(kind, str) and kind.startswith("response."):
            if kind.endswith(".delta"):
                self._delta(kind, doc)
            elif kind in _STATES:
                self._response(doc.get("response"))
            elif kind == "response.output_item.added":
                self._call(_index(doc), doc.get("item"), whole=False)
            elif kind == "response.output_item.done":
                self._item(_index(doc), doc.get("item"))
        elif doc.get("object") == "response" or "output" in doc:
            self._response(doc)

    def usage(self) -> Usage:
        return usage(self._stated)

    def _delta(self, kind: str, doc: dict[str, Any]) -> None:
        piece = doc.get("delta")
        if not isinstance(piece, str) or kind in _NOT_TEXT:
            return
        index = _index(doc)
        self._heard.add(index)
        if kind.startswith("response.reasoning"):
            self.think(piece)
        elif kind.endswith(_ARGUMENTS):
            self.call(index, arguments=piece)
        else:
            self.say(piece)

    def _response(self, response: Any) -> None:
        if not isinstance(response, dict):
            return
        self.response_id = text(response.get("id")) or self.response_id
        self.response_model = text(response.get("model")) or self.response_model
        status = text(response.get("status"))
        if status in _ENDED:
            self.finish_reason = status
            self.complete = True
            self.pending = False
        elif status in _WAITING:
            self.pending = response.get("background") is True
        stated = response.get("usage")
        if isinstance(stated, dict):
            merge(self._stated, stated)
        if response.get("error") or status == "failed":
            self.fail(problem.read(response.get("error") or {"message": "the response failed"}, "failed"))
        issued = _id(response.get("conversation"))
        self.issued_ids = (issued,) if issued else self.issued_ids
        for index, item in enumerate(items(response.get("output"))):
            self._item(index, item)

    def _item(self, index: int, item: Any) -> None:
        """One item of the output, whole; in a stream its text has often come before, in pieces."""
        if not isinstance(item, dict):
            return
        self._call(index, item, whole=index not in self._heard)
        if index in self._heard:
            return
        self._heard.add(index)
        for part in items(item.get("summary")):
            self.think(get(part, "text"))
        reasons = item.get("type") == "reasoning"
        for part in items(item.get("content")):
            said = first(part, "text", "refusal", "transcript")
            self.think(said) if reasons else self.say(said)

    def _call(self, index: int, item: Any, whole: bool) -> None:
        if isinstance(item, dict) and str(item.get("type")).endswith("_call"):
            arguments = first(item, "arguments", "input", "action", "code") if whole else None
            name = text(item.get("name")) or text(item.get("type"))
            self.call(index, name, arguments, text(item.get("call_id")) or text(item.get("id")))


def _index(doc: dict[str, Any]) -> int:
    index = doc.get("output_index")
    return index if isinstance(index, int) else 0


RESPONSES = Format(
    name="openai.responses",
    operation=Operation.CHAT,
    read_request=read_request,
    reader=ResponsesReader,
    end_marks=("response.completed", "response.failed", "response.incomplete", "response.cancelled"),
)
