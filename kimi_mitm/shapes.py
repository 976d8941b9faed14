"""What the request bodies of LLM calls look like, whatever their address.

A body is split at its top level only, whole or damaged. Any bytes may come; nothing is raised.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

_SNIFFED = 16 * 1024
_SNIFFED_END = 4 * 1024
_DAMAGED = 64 * 1024

# gzip, zstd, zlib, UTF-16: an encoded body can't be judged here, so it may be one.
_ENCODED = (
    *(b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\x78\x01", b"\x78\x9c", b"\x78\xda"),
    *(b"\xff\xfe", b"\xfe\xff", b"{\0", b"\0{", b"[\0", b"\0["),
)

_KEYS = re.compile(
    rb'"(?:messages?|prompt|contents?|inputs?|texts|instances|requests?|inputText|system|instructions|'
    rb'conversationState|chat_history|max_tokens|model(?:_id|Id)?)"\s*:'
)
_RPC = re.compile(rb'"jsonrpc"\s*:')

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_TOKEN = re.compile(rb'"((?:[^"\\]++|\\.)*+)(?:"|\\?\Z)|[{}\[\]]', re.DOTALL)
_COLON = re.compile(rb"\s*:\s*(.?)", re.DOTALL)


def sniff(body: bytes) -> bool:
    """Whether a body of unknown kind may be an LLM request: a JSON object with one of their keys near
    its beginning or end, or compressed bytes that can't be judged. Takes some ten microseconds."""
    head = body[:_SNIFFED].lstrip(b"\xef\xbb\xbf \t\r\n")
    if head.startswith(_ENCODED):
        return True
    if head[:1] not in (b"{", b"["):
        return False
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
    whole: bool = False
    """Whether the body was read to its end: only then does a missing key say something."""

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
    return Asked(kinds, _text(raw.get("model")) or _text(raw.get("model_id")), roles, whole=True)


def _text(raw: msgspec.Raw | None) -> str:
    if raw is None:
        return ""
    try:
        return msgspec.json.decode(raw, type=str)
    except (msgspec.MsgspecError, UnicodeDecodeError):
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
