"""Ollama's own API: `/api/chat`, `/api/generate`, `/api/embed` (and the older `/api/embeddings`).

Answers stream as one JSON object per line, unless the request says `"stream": false`; the last line has
`done: true` and the figures. A prompt that lies in Ollama's cache may go without `prompt_eval_count`.
"""

from __future__ import annotations

from typing import Any

from kimi_mitm.records import Operation, Request, Usage
from kimi_mitm.wire.draft import Draft, settle
from kimi_mitm.wire.format import Format, Target
from kimi_mitm.wire.values import body, count, get, items, text


class OllamaReader(Draft):
    """Reads the lines of a chat or a completion, or the one object that is the whole answer."""

    def read(self, name: str | None, doc: dict[str, Any]) -> None:
        """Takes one line."""
        self.response_model = text(doc.get("model")) or self.response_model
        message = doc.get("message")
        self.think(get(message, "thinking"))
        self.say(get(message, "content"))
        for call in items(get(message, "tool_calls")):
            self.call(
                None, get(call, "function", "name"), get(call, "function", "arguments"), get(call, "id")
            )
        self.think(doc.get("thinking"))
        self.say(doc.get("response"))
        self.keep(doc, "prompt_eval_count", "eval_count")
        if doc.get("done") is True:
            self.finish_reason = text(doc.get("done_reason")) or self.finish_reason
            self.complete = True

    def usage(self) -> Usage:
        """The last line's figures."""
        return settle(input=self.figures.get("prompt_eval_count"), output=self.figures.get("eval_count"))


class EmbedReader(OllamaReader):
    """Reads an embedding's answer, which is one object."""

    def read(self, name: str | None, doc: dict[str, Any]) -> None:
        """Takes the answer."""
        super().read(name, doc)
        self.complete = True


def _read_chat(data: bytes, target: Target) -> Request:
    doc = body(data)
    messages = items(doc.get("messages"))
    return _request(doc, message_count=len(messages), tool_count=len(items(doc.get("tools"))), asked=messages)


def _read_generate(data: bytes, target: Target) -> Request:
    doc = body(data)
    context = items(doc.get("context"))
    return _request(
        doc,
        fim=bool(text(doc.get("suffix"))),
        hidden=frozenset({"conversation"}) if context else frozenset(),
        message_count=1,
        asked=doc.get("prompt") or doc.get("images") or doc.get("suffix"),
    )


def _request(
    doc: dict[str, Any],
    *,
    asked: object,
    message_count: int,
    tool_count: int = 0,
    fim: bool = False,
    hidden: frozenset[str] = frozenset(),
) -> Request:
    # Without a prompt Ollama only loads or unloads the model (docs/api.md, "Load a model").
    return Request(
        model=text(doc.get("model")) or text(doc.get("name")),
        stream=doc.get("stream") is not False,
        generates=bool(asked),
        hidden=hidden,
        fim=fim,
        max_output_tokens=count(get(doc, "options", "num_predict")),
        output_schema=isinstance(doc.get("format"), dict),
        tool_count=tool_count,
        message_count=message_count,
    )


def _read_embed(data: bytes, target: Target) -> Request:
    return Request(model=text(body(data).get("model")), stream=False)


CHAT = Format(name="ollama.chat", operation=Operation.CHAT, read_request=_read_chat, reader=OllamaReader)

GENERATE = Format(
    name="ollama.generate",
    operation=Operation.TEXT_COMPLETION,
    read_request=_read_generate,
    reader=OllamaReader,
)

EMBED = Format(
    name="ollama.embed", operation=Operation.EMBEDDINGS, read_request=_read_embed, reader=EmbedReader
)
