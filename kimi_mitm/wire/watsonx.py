"""IBM watsonx.ai: text generation in its own shape, chat in OpenAI's, embeddings; by path `…/text/chat`,
`…/text/generation`, `…/text/embeddings`, with `_stream` behind for server-sent events.

A generation's stream states the prompt's tokens in its first event and zeros after; the generated ones
grow from event to event.
"""

from __future__ import annotations

from typing import Any

from kimi_mitm.records import Operation, Request, Usage
from kimi_mitm.wire.draft import settle
from kimi_mitm.wire.format import Format, Target
from kimi_mitm.wire.openai_chat import ChatReader
from kimi_mitm.wire.values import body, count, first, get, items, text

_OPERATIONS = {
    "chat": Operation.CHAT,
    "chat_stream": Operation.CHAT,
    "embeddings": Operation.EMBEDDINGS,
}


class WatsonxReader(ChatReader):
    """Reads answers of all three kinds, whole or streamed."""

    def read(self, name: str | None, doc: dict[str, Any]) -> None:
        """Takes the answer or one event."""
        self.response_model = text(doc.get("model_id")) or self.response_model
        if "choices" in doc or "usage" in doc:
            super().read(name, doc)
            return
        result = get(doc, "results", 0)
        self.say(get(result, "generated_text"))
        self._grow("read", first(result, "input_token_count"))
        self._grow("read", doc.get("input_token_count"))
        self._grow("written", get(result, "generated_token_count"))
        reason = text(get(result, "stop_reason"))
        if reason and reason != "not_finished":
            self.finish_reason = reason
        if reason != "not_finished":
            self.complete = True

    def usage(self) -> Usage:
        """A chat's usage object, or a generation's counts."""
        if self.figures:
            return settle(input=self.figures.get("read"), output=self.figures.get("written"))
        return super().usage()

    def _grow(self, name: str, value: object) -> None:
        stated = count(value)
        if stated is not None:
            self.figures[name] = max(stated, self.figures.get(name, 0))


def _read_request(data: bytes, target: Target) -> Request:
    doc = body(data)
    last = target.path.rstrip("/").rpartition("/")[2]
    messages = items(doc.get("messages"))
    most = first(doc, "max_tokens", "max_completion_tokens") or get(doc, "parameters", "max_new_tokens")
    return Request(
        model=text(doc.get("model_id")) or text(doc.get("model")),
        stream=last.endswith("_stream"),
        max_output_tokens=count(most),
        output_schema=get(doc, "response_format", "type") == "json_schema",
        tool_count=len(items(doc.get("tools"))),
        message_count=len(messages) or 1,
        operation=_OPERATIONS.get(last),
    )


WATSONX = Format(
    name="watsonx",
    operation=Operation.TEXT_COMPLETION,
    read_request=_read_request,
    reader=WatsonxReader,
    end_marks=("[DONE]",),
)
