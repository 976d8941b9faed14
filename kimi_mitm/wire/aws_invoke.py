"""Amazon Bedrock's InvokeModel: `/model/{id}/invoke` and `/invoke-with-response-stream`.

The body is the model maker's own, so its shape decides who reads it. What it doesn't say of its tokens
stands in `amazon-bedrock-invocationMetrics` of a stream's last chunk, or in the headers of a whole
answer; both count cached tokens apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from kimi_mitm.records import Answer, Operation, Request, Usage
from kimi_mitm.wire import anthropic, cohere, openai_chat
from kimi_mitm.wire.aws import BedrockDraft, ConverseReader, converse_hidden, model_in_path
from kimi_mitm.wire.draft import Draft, settle
from kimi_mitm.wire.format import Format, Target, WireError
from kimi_mitm.wire.values import body, count, digits, first, get, items, text, total

_EVENTS = frozenset(
    {
        "messageStart",
        "contentBlockStart",
        "contentBlockDelta",
        "contentBlockStop",
        "messageStop",
        "metadata",
    }
)


class _NovaReader(ConverseReader):
    """Amazon Nova: Converse's documents, its events each in an object under their name."""

    def read(self, name: str | None, doc: dict[str, Any]) -> None:
        events = _EVENTS & doc.keys()
        for event in events:
            if isinstance(doc[event], dict):
                super().read(event, doc[event])
        if not events:
            super().read(None, doc)


class _ChoicesReader(openai_chat.ChatReader):
    """OpenAI's shape; DeepSeek and Mistral on Bedrock say `stop_reason` in place of `finish_reason`."""

    def read(self, name: str | None, doc: dict[str, Any]) -> None:
        choices = [
            {**choice, "finish_reason": first(choice, "finish_reason", "stop_reason")}
            for choice in items(doc.get("choices"))
            if isinstance(choice, dict)
        ]
        super().read(name, {**doc, "choices": choices})


class _PlainReader(BedrockDraft):
    """The older text models: their few fields differ only in their names and places."""

    def read(self, name: str | None, doc: dict[str, Any]) -> None:
        self.say(_at(doc, _TEXTS))
        reason = text(_at(doc, _REASONS))
        self.response_id = text(doc.get("id")) or self.response_id
        self.finish_reason = reason or self.finish_reason
        stated = {"read": _at(doc, _READ), "written": _at(doc, _WRITTEN)}
        self.keep(stated, *stated)
        if reason or "totalOutputTextTokenCount" in doc:
            self.complete = True

    def usage(self) -> Usage:
        return settle(input=self.figures.get("read"), output=self.figures.get("written"))


type _Paths = tuple[tuple[str | int, ...], ...]

_TEXTS: _Paths = (
    ("results", 0, "outputText"),  # Titan
    ("outputText",),
    ("generation",),  # Llama
    ("outputs", 0, "text"),  # Mistral
    ("completion",),  # Claude before Messages
    ("completions", 0, "data", "text"),  # Jurassic
)
_REASONS: _Paths = (
    ("results", 0, "completionReason"),
    ("completionReason",),
    ("stop_reason",),
    ("outputs", 0, "stop_reason"),
    ("completions", 0, "finishReason", "reason"),
)
_READ: _Paths = (("inputTextTokenCount",), ("prompt_token_count",))
_WRITTEN: _Paths = (("results", 0, "tokenCount"), ("totalOutputTextTokenCount",), ("generation_token_count",))


def _at(doc: dict[str, Any], paths: _Paths) -> Any:
    return next((found for path in paths if (found := get(doc, *path)) is not None), None)


def _is_messages(doc: dict[str, Any]) -> bool:
    kind = doc.get("type")
    return isinstance(kind, str) and kind.startswith(("message", "content_block", "ping"))


type _Reader = Callable[[int, Mapping[str, str]], Draft]

_FAMILIES: tuple[tuple[Callable[[dict[str, Any]], bool], _Reader], ...] = (
    (_is_messages, anthropic.MessagesReader),
    (lambda doc: bool(doc.keys() & (_EVENTS | {"output", "stopReason"})), _NovaReader),
    (lambda doc: "choices" in doc, _ChoicesReader),
    (lambda doc: bool(doc.keys() & {"event_type", "generation_id", "chat_history"}), cohere.ChatReader),
    (lambda doc: bool(doc.keys() & {"generations", "is_finished"}), cohere.GenerateReader),
    (lambda doc: "embeddings" in doc and "inputTextTokenCount" not in doc, cohere.EmbedReader),
)
"""Which documents are whose, asked in this order; what none of them knows is read plainly."""

_METRICS = "amazon-bedrock-invocationMetrics"
_COUNTED = ("inputTokenCount", "outputTokenCount", "cacheReadInputTokenCount", "cacheWriteInputTokenCount")
_HEADERS = (
    "x-amzn-bedrock-input-token-count",
    "x-amzn-bedrock-output-token-count",
    "x-amzn-bedrock-cache-read-input-token-count",
    "x-amzn-bedrock-cache-write-input-token-count",
)


class InvokeReader(BedrockDraft):
    """Reads an answer of any model: hands its documents to the reader that its first one calls for."""

    def __init__(self, status: int, headers: Mapping[str, str]) -> None:
        super().__init__(status, headers)
        self._inner: Draft | None = None
        self._embeds = False

    def read(self, name: str | None, doc: dict[str, Any]) -> None:
        """Takes the whole answer (without a name) or one chunk."""
        inner = self._inner
        if inner is None or isinstance(inner, _PlainReader):
            family = _family(doc)
            if inner is None or family is not _PlainReader:
                inner = self._inner = family(self.status, self.headers)
        inner.document(None, doc)
        self.started = inner.started
        self._embeds = self._embeds or "embedding" in doc or "embeddings" in doc
        self.keep(doc.get(_METRICS), *_COUNTED)
        if name is None or _METRICS in doc or "amazon-bedrock-trace" in doc or inner.complete:
            self.complete = True

    def answer(self) -> Answer:
        """What is known so far, the figures field by field from the best that states them."""
        known = self._inner.answer() if self._inner else super().answer()
        usage = known.usage
        for stated in (_apart(*map(self.figures.get, _COUNTED)), self._of_headers()):
            usage = _fill(usage, stated)
        if self._embeds:
            usage = replace(usage, output_tokens=None, total_tokens=None)
        complete = self.complete or known.complete
        return replace(known, usage=usage, problem=self.problem or known.problem, complete=complete)

    def _of_headers(self) -> Usage:
        return _apart(*(digits(self.headers.get(name)) for name in _HEADERS))


def _family(doc: dict[str, Any]) -> _Reader:
    return next((reader for belongs, reader in _FAMILIES if belongs(doc)), _PlainReader)


def _apart(fresh: int | None, written: int | None, cache_read: int | None, cache_write: int | None) -> Usage:
    given = None if fresh is None else total(fresh, cache_read, cache_write)
    return settle(input=given, output=written, cache_read=cache_read, cache_write=cache_write)


def _fill(known: Usage, stated: Usage) -> Usage:
    """`known`, and where it doesn't say, `stated`: of the prompt all figures or none, that they fit."""
    prompt = known if known.input_tokens is not None else stated
    output = known.output_tokens if known.output_tokens is not None else stated.output_tokens
    whole = settle(input=prompt.input_tokens, output=output, total_tokens=known.total_tokens)
    return replace(
        known,
        input_tokens=prompt.input_tokens,
        cache_read_tokens=prompt.cache_read_tokens,
        cache_write_tokens=prompt.cache_write_tokens,
        output_tokens=output,
        total_tokens=whole.total_tokens,
    )


_MOST = ("max_tokens", "max_tokens_to_sample", "max_completion_tokens", "max_gen_len", "maxTokens")
_MOST_INSIDE = (
    ("textGenerationConfig", "maxTokenCount"),
    ("inferenceConfig", "maxTokens"),
    ("inferenceConfig", "max_new_tokens"),
)


def _read_request(data: bytes, target: Target) -> Request:
    model, stream = model_in_path(target.path)
    try:
        doc = body(data)
    except WireError:
        return Request(model=model, stream=stream, hidden=frozenset({"partial_body"}))
    messages = items(doc.get("messages")) or items(doc.get("chat_history"))
    tools = items(doc.get("tools")) or items(get(doc, "toolConfig", "tools"))
    return Request(
        model=model,
        stream=stream,
        hidden=converse_hidden(doc) | cohere.chat_hidden(doc),
        max_output_tokens=count(first(doc, *_MOST) or _at(doc, _MOST_INSIDE)),
        output_schema=isinstance(get(doc, "output_config", "format"), dict),
        tool_count=len(tools),
        message_count=len(messages) + (text(doc.get("message")) is not None) or 1,
        operation=_operation(model or "", doc),
    )


def _operation(model: str, doc: dict[str, Any]) -> Operation | None:
    if "embed" in model:
        return Operation.EMBEDDINGS
    if doc.keys() & {"taskType", "text_prompts"}:
        return Operation.OTHER
    return Operation.TEXT_COMPLETION if doc.keys() & {"prompt", "inputText"} else None


INVOKE = Format(
    name="aws.invoke",
    operation=Operation.CHAT,
    read_request=_read_request,
    reader=InvokeReader,
)
