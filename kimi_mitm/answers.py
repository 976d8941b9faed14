"""What the answers of LLM calls look like: marks in their first kilobytes that tell the wire format."""

from __future__ import annotations

import re
from functools import cache

_HEAD = 16 * 1024


# What only this format's answers say, first match wins.
_MARKS: tuple[tuple[bytes, str], ...] = (
    (rb'"object"\s*:\s*"chat\.completion', "openai.chat"),
    (rb'"object"\s*:\s*"text[._]completion', "openai.completions"),
    (rb'"object"\s*:\s*"response"|"type"\s*:\s*"response\.[a-z_]+"', "openai.responses"),
    (rb'"type"\s*:\s*"message_start"', "anthropic.messages"),
    (rb'"type"\s*:\s*"message"\s*,\s*"(?:role|id|model)"', "anthropic.messages"),
    (rb'"(?:id|model|role)"\s*:\s*"[^"]{0,200}"\s*,\s*"type"\s*:\s*"message"\s*,', "anthropic.messages"),
    (rb'"type"\s*:\s*"completion"', "anthropic.complete"),
    (rb'"(?:candidates|promptFeedback)"\s*:\s*[\[{]|"usageMetadata"\s*:\s*\{', "google.generate_content"),
    (rb'"embeddings?"\s*:\s*\[?\s*\{\s*"values"', "google.embed_content"),
    (
        rb'"object"\s*:\s*"interaction"|"event_type"\s*:\s*"(?:interaction|content|step)\.',
        "google.interactions",
    ),
    (rb'"output"\s*:\s*\{\s*"message"', "aws.converse"),
    (rb":event-type[\x00-\x20]{3}(?:messageStart|contentBlock|messageStop)", "aws.converse"),
    (rb':event-type[\x00-\x20]{3}chunk.{0,200}\{"bytes"', "aws.invoke"),
    (
        rb'"response_type"\s*:\s*"embeddings_|"embeddings"\s*:\s*\{\s*"(?:float|u?int8|u?binary|base64)"',
        "cohere.embed",
    ),
    (rb'"completions"\s*:\s*\[\s*\{\s*"completion"|"model_version"\s*:.{0,80}"completions"', "alephalpha"),
    (rb'"prompt_filter_results"\s*:', "openai.chat"),
    (rb'"generations"\s*:\s*\[\s*\{', "cohere.generate"),
    (rb'"generation_id"\s*:|"event_type"\s*:\s*"stream-start"|"type"\s*:\s*"message-start"', "cohere.chat"),
    (rb'"finish_reason"\s*:\s*"(?:COMPLETE|MAX_TOKENS|TOOL_CALL|STOP_SEQUENCE)"', "cohere.chat"),
    (rb'"results"\s*:\s*\[\s*\{\s*"generated_text"', "watsonx"),
    (rb'"created_at"\s*:[^{}]{0,400}"message"\s*:\s*\{', "ollama.chat"),
    (rb'"created_at"\s*:[^{}]{0,400}"response"\s*:\s*"', "ollama.generate"),
    (rb'^\s*\{\s*"embedding"\s*:\s*\[|"embeddings"\s*:\s*\[\s*\[', "ollama.embed"),
    (rb'"object"\s*:\s*"(?:list|embedding)"(?=.{0,400}"embedding"\s*:)', "openai.embeddings"),
    (rb'"choices"\s*:\s*\[\s*\{[^{}\[\]]{0,400}"text"\s*:', "openai.completions"),
    (rb'"choices"\s*:\s*\[.{0,800}?"(?:message|delta)"\s*:\s*\{', "openai.chat"),
)

# Answers of models in formats that are not read (llama.cpp's own, Text Generation Inference).
_FOREIGN = re.compile(
    rb'"tokens_(?:evaluated|predicted)"\s*:\s*\d|"generated_text"\s*:|"tokens_generated"\s*:\s*\d'
)
_USAGE = re.compile(
    rb'"(?:(?:prompt|completion|input|output)_tokens|(?:prompt|completion|input|output)Tokens)"\s*:\s*\d'
)
_READABLE = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:[{\[]|(?:data|event|id|retry):|:)")


def of_answer(head: bytes) -> str | None:
    """The wire format that an answer's first kilobytes speak; None when they don't say."""
    head = head[:_HEAD]
    return next((name for mark, name in _marks() if mark.search(head)), None)


@cache
def _marks() -> tuple[tuple[re.Pattern[bytes], str], ...]:
    return tuple((re.compile(pattern, re.DOTALL), name) for pattern, name in _MARKS)


def is_foreign(head: bytes) -> bool:
    """Whether an answer is a model's, in a format that is not read."""
    return _FOREIGN.search(head[:_HEAD]) is not None


def has_usage(head: bytes) -> bool:
    """Whether an answer counts tokens."""
    return _USAGE.search(head[:_HEAD]) is not None


def is_readable(head: bytes) -> bool:
    """Whether an answer is JSON or an event stream by its first bytes, and not compressed or cut away."""
    return _READABLE.match(head) is not None
