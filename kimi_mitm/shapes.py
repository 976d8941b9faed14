"""What the bodies of LLM calls look like, whatever their address: shapes of requests and of answers.

Requests are split at their top level only, whole or damaged; answers are known by marks that no other
format has, in their first kilobytes. Any bytes may come; nothing is raised.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

_SNIFFED = 16 * 1024
_SNIFFED_END = 4 * 1024
_DAMAGED = 64 * 1024
_ANSWER_HEAD = 16 * 1024

# gzip, zstd, zlib: a compressed body can't be judged here, so it may be one.
_COMPRESSED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\x78\x01", b"\x78\x9c", b"\x78\xda")

_KEYS = re.compile(
    rb'"(?:messages?|prompt|contents?|inputs?|texts|instances|requests?|inputText|system|instructions|'
    rb'conversationState|chat_history|max_tokens|model(?:_id|Id)?)"\s*:'
)
_RPC = re.compile(rb'"jsonrpc"\s*:')

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_TOKEN = re.compile(rb'"((?:[^"\\]|\\.)*)"|[{}\[\]]', re.DOTALL)
_COLON = re.compile(rb"\s*:\s*(.?)", re.DOTALL)


def sniff(body: bytes) -> bool:
    """Whether a body of unknown kind may be an LLM request: a JSON object with one of their keys near
    its beginning or end, or compressed bytes that can't be judged. Takes some ten microseconds."""
    head = body[:_SNIFFED].lstrip(b"\xef\xbb\xbf \t\r\n")
    if head[:1] not in (b"{", b"["):
        return head.startswith(_COMPRESSED)
    if _RPC.search(head[:512]):
        return False
    return _KEYS.search(head) is not None or _KEYS.search(body[-_SNIFFED_END:]) is not None


@dataclass(frozen=True, slots=True)
class Asked:
    """A request body's top level: key → first byte of its value. Empty when it is no JSON object."""

    kinds: Mapping[str, bytes] = field(default_factory=dict)
    model: str = ""
    roles: bool = False
    """Whether `messages` or `input` is a list of things that have a role."""

    def __bool__(self) -> bool:
        return bool(self.kinds)

    def has(self, *keys: str) -> bool:
        return any(key in self.kinds for key in keys)

    def is_list(self, key: str) -> bool:
        return self.kinds.get(key) == b"["

    def is_text(self, key: str) -> bool:
        return self.kinds.get(key) == b'"'

    def fits(self, name: str) -> bool:
        """Whether a request of the wire format `name` has what this body has."""
        needs = _NEEDS.get(name)
        return needs is None or any(
            self.kinds.get(key, b"") in starts for key, starts in needs if key in self.kinds
        )


_LIST, _TEXT, _OBJ = (b"[",), (b'"',), (b"{",)
_ANY = (b"[", b'"', b"{")

# Of these keys a request has at least one, with a value that starts like that.
_NEEDS: Mapping[str, tuple[tuple[str, tuple[bytes, ...]], ...]] = {
    "openai.chat": (("messages", _LIST),),
    "openai.completions": (("prompt", _ANY),),
    "openai.responses": (("input", _LIST + _TEXT), ("prompt", _OBJ), ("previous_response_id", _TEXT)),
    "openai.embeddings": (("input", _ANY),),
    "anthropic.messages": (("messages", _LIST),),
    "anthropic.complete": (("prompt", _TEXT),),
    "google.generate_content": (("contents", _LIST + _OBJ), ("request", _OBJ)),
    "google.embed_content": (("content", _OBJ), ("requests", _LIST)),
    "google.interactions": (("input", _ANY),),
    "google.predict": (("instances", _LIST),),
    "aws.converse": (("messages", _LIST),),
    "ollama.chat": (("messages", _LIST), ("model", _TEXT)),
    "ollama.generate": (("prompt", _TEXT), ("model", _TEXT)),
    "ollama.embed": (("input", _LIST + _TEXT), ("prompt", _TEXT)),
    "cohere.chat": (("message", _TEXT), ("messages", _LIST)),
    "cohere.generate": (("prompt", _TEXT),),
    "cohere.embed": (("texts", _LIST), ("images", _LIST), ("inputs", _LIST)),
    "voyage.embed": (("input", _LIST + _TEXT),),
    "watsonx": (("input", _TEXT), ("messages", _LIST), ("inputs", _LIST)),
    "writer.chat": (("messages", _LIST),),
    "alephalpha": (("prompt", _LIST + _TEXT),),
}

_ROLES = re.compile(rb'"role"\s*:\s*"(?:user|system|assistant|developer|tool|model|function)"')


def of_request(body: bytes) -> Asked:
    """The shape of a decoded request body; of a damaged one, what its first kilobytes show."""
    try:
        raw = _OBJECT.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return _of_damaged(body[:_DAMAGED])
    parts = {key: memoryview(value) for key, value in raw.items()}
    kinds = {key: bytes(value[:1]) for key, value in parts.items()}
    turns = parts.get("messages") or parts.get("input") or parts.get("contents")
    roles = turns is not None and _ROLES.search(bytes(turns[:8192])) is not None
    return Asked(kinds, _text(raw.get("model")) or _text(raw.get("model_id")), roles)


def _text(raw: msgspec.Raw | None) -> str:
    if raw is None:
        return ""
    try:
        return msgspec.json.decode(raw, type=str)
    except msgspec.MsgspecError:
        return ""


def _of_damaged(head: bytes) -> Asked:
    kinds: dict[str, bytes] = {}
    model, depth = "", 0
    for token in _TOKEN.finditer(head):
        mark = token[0][:1]
        if mark in b"{[":
            depth += 1
        elif mark in b"}]":
            depth -= 1
        elif depth == 1:
            value = _COLON.match(head, token.end())
            if value is None:
                continue
            key = token[1].decode("utf-8", "replace")
            kinds.setdefault(key, value[1])
            if key == "model" and value[1] == b'"':
                named = _TOKEN.match(head, value.end() - 1)
                model = named[1].decode("utf-8", "replace") if named and named[1] is not None else ""
    return Asked(kinds, model, _ROLES.search(head) is not None)


# What only this format's answers say, first match wins.
_MARKS: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb'"object"\s*:\s*"chat\.completion'), "openai.chat"),
    (re.compile(rb'"object"\s*:\s*"text[._]completion'), "openai.completions"),
    (re.compile(rb'"object"\s*:\s*"response"|"type"\s*:\s*"response\.[a-z_]+"'), "openai.responses"),
    (
        re.compile(rb'"type"\s*:\s*"message_start"|"type"\s*:\s*"message"\s*,\s*"(?:role|id|model)"'),
        "anthropic.messages",
    ),
    (
        re.compile(rb'"(?:id|model|role)"\s*:\s*"[^"]*"\s*,\s*"type"\s*:\s*"message"\s*,'),
        "anthropic.messages",
    ),
    (re.compile(rb'"type"\s*:\s*"completion"'), "anthropic.complete"),
    (
        re.compile(rb'"(?:candidates|promptFeedback)"\s*:\s*[\[{]|"usageMetadata"\s*:\s*\{'),
        "google.generate_content",
    ),
    (
        re.compile(rb'"object"\s*:\s*"interaction"|"event_type"\s*:\s*"(?:interaction|content|step)\.'),
        "google.interactions",
    ),
    (
        re.compile(rb'"output"\s*:\s*\{\s*"message"|:event-type..?.?(?:messageStart|contentBlockDelta)'),
        "aws.converse",
    ),
    (
        re.compile(rb'"generation_id"\s*:|"event_type"\s*:\s*"stream-start"|"type"\s*:\s*"message-start"'),
        "cohere.chat",
    ),
    (re.compile(rb'"results"\s*:\s*\[\s*\{\s*"generated_text"'), "watsonx"),
    (re.compile(rb'"created_at"\s*:[^{}]*"message"\s*:\s*\{'), "ollama.chat"),
    (re.compile(rb'"created_at"\s*:[^{}]*"response"\s*:\s*"'), "ollama.generate"),
    (
        re.compile(rb'"object"\s*:\s*"(?:list|embedding)"(?=.{0,400}"embedding"\s*:)', re.DOTALL),
        "openai.embeddings",
    ),
    (re.compile(rb'"choices"\s*:\s*\[\s*\{[^{}\[\]]*"(?:message|delta)"\s*:'), "openai.chat"),
    (re.compile(rb'"choices"\s*:\s*\[\s*\{[^{}\[\]]*"text"\s*:'), "openai.completions"),
)


def of_answer(head: bytes) -> str | None:
    """The wire format that an answer's first kilobytes speak; None when they don't say."""
    head = head[:_ANSWER_HEAD]
    return next((name for mark, name in _MARKS if mark.search(head)), None)


_RESPONSES_ONLY = (
    "instructions",
    "max_output_tokens",
    "previous_response_id",
    "reasoning",
    "text",
    "store",
    "tools",
    "include",
    "conversation",
    "background",
    "stream",
)
_COHERE_ONLY = ("chat_history", "preamble", "connectors", "prompt_truncation", "conversation_id", "documents")


def of_both(asked: Asked) -> str | None:
    """The wire format that a request's keys alone speak for; None when they fit several or none."""
    if asked.has("contents") and asked.fits("google.generate_content"):
        return "google.generate_content"
    if asked.is_list("messages") and asked.roles:
        if asked.has("anthropic_version", "system", "stop_sequences"):
            return "anthropic.messages"
        if asked.has("inferenceConfig", "toolConfig", "additionalModelRequestFields"):
            return "aws.converse"
        return "openai.chat" if asked.model else None
    if asked.is_text("message") and asked.has(*_COHERE_ONLY):
        return "cohere.chat"
    if asked.has("prompt"):
        if asked.has("max_tokens_to_sample"):
            return "anthropic.complete"
        return (
            "openai.completions" if asked.model and asked.has("max_tokens", "stream", "temperature") else None
        )
    if asked.has("input") and asked.model:
        if asked.roles or asked.has(*_RESPONSES_ONLY):
            return "openai.responses"
        if asked.has("encoding_format", "dimensions") or "embed" in asked.model:
            return "openai.embeddings"
    return None


def agree(
    suggested: str | None,
    certain: bool,
    path: str,
    headers: Mapping[str, str],
    asked: Asked,
    answered: str | None,
) -> str | None:
    """The wire format on which path, request and answer agree best; None when nothing speaks for any."""
    if certain and suggested is not None:
        if answered is None or answered == suggested or not asked or asked.fits(suggested):
            return _same_shape(suggested, answered, asked)
        return answered if asked.fits(answered) else suggested
    if path.endswith("/v1/chat") and answered == "openai.chat" and asked.fits("writer.chat"):
        return "writer.chat"
    if suggested is not None and asked.fits(suggested) and asked and answered in (None, suggested):
        return suggested if answered or _stands_alone(suggested, headers, asked) else of_both(asked)
    if answered is not None and (not asked or asked.fits(answered)):
        return answered
    if asked.is_list("messages") and headers.get("anthropic-version"):
        return "anthropic.messages"
    return of_both(asked)


# Formats whose tail others use too, for other bodies.
_SHARED: Mapping[str, frozenset[str]] = {
    "ollama.chat": frozenset({"openai.chat", "openai.responses", "anthropic.messages"}),
    "ollama.generate": frozenset({"openai.completions"}),
    "openai.completions": frozenset({"openai.chat"}),
    "ollama.embed": frozenset({"openai.embeddings"}),
}


def _same_shape(suggested: str, answered: str | None, asked: Asked) -> str:
    if answered is not None and answered in _SHARED.get(suggested, ()) and asked.fits(answered):
        return answered
    if suggested == "openai.completions" and asked and not asked.has("prompt") and asked.is_list("messages"):
        return "openai.chat"
    if suggested == "openai.embeddings" and asked.model.startswith("voyage-"):
        return "voyage.embed"
    return suggested


def _stands_alone(suggested: str, headers: Mapping[str, str], asked: Asked) -> bool:
    """Whether a request is enough for a suggestion of the path, with no answer to confirm it."""
    if suggested == "anthropic.messages":
        return asked.roles and (bool(asked.model) or bool(headers.get("anthropic-version")))
    if suggested == "cohere.chat":
        return (asked.roles and bool(asked.model)) or asked.has(*_COHERE_ONLY)
    return bool(asked.model) or suggested == "google.predict"


def is_llm(asked: Asked, answered: str | None, *, known: bool, status: int | None) -> bool:
    """Whether an exchange of no readable format looks like an LLM call all the same."""
    if answered is not None:
        return True
    if asked.is_text("inputs") and asked.has("parameters"):
        return True
    if not known:
        return False
    return (asked.is_list("messages") and asked.roles) or asked.has(
        "prompt", "contents", "conversationState", "provider_request", "chat_history"
    )
