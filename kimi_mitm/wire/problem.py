"""What an error answer says, whichever provider's it is.

`{"error": {…}}` (OpenAI, Anthropic, Google and most), `{"error": "…"}` (Ollama, xAI, Hugging Face),
a list of errors (Google), `{"message": …}` alone or beside `__type` (AWS, Cohere), `{"detail": …}`
(FastAPI), `{"error_code": …, "error_msg": …}` (Baidu), `{"errors": […]}` (watsonx, Cloudflare), JSON
inside the message (gateways), a page.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from kimi_mitm.records import Problem
from kimi_mitm.wire.document import decode
from kimi_mitm.wire.format import WireError

_LONGEST = 500
_DEEPEST = 6
_TYPES = ("type", "status", "code", "__type", "error_type", "error_code", "reason")
_MESSAGES = (
    "message",
    "Message",
    "detail",
    "error_message",
    "errorMessage",
    "error_msg",
    "error_description",
    "msg",
    "title",
)
_TITLE = re.compile(r"<(title|h1)[^>]*>(.*?)</\1>", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<[^>]{0,200}>")


def stated(name: str | None, doc: dict[str, Any]) -> bool:
    """True if a document says by itself, whatever the status, that it is about an error."""
    if doc.get("error") or doc.get("__type") or name == "error" or (name and name.endswith("Exception")):
        return True
    if doc.get("error_code") and doc.get("error_msg"):
        return True
    kind = doc.get("type")
    if kind == "error" or doc.get("object") == "error":
        return True
    return bool(doc.get("errors")) and doc.get("success") is not True and "choices" not in doc


def read(doc: Any, fallback: str) -> Problem:
    """The error that a document of an error answer is about; `fallback` is its type where it names none."""
    kind, message = _look(doc, _DEEPEST)
    if not message:
        message = msgspec.json.encode(doc).decode("utf-8", "replace")
    return Problem(kind or fallback, shorten(message))


def page(head: bytes, fallback: str) -> Problem:
    """The error of an answer that is no JSON: a page's title, or the text itself."""
    text = head.decode("utf-8", "replace")
    title = _TITLE.search(text)
    text = " ".join(_TAG.sub(" ", title[2] if title else text).split())
    return Problem(fallback, shorten(text) or "no message")


def shorten(message: str) -> str:
    """At most 500 characters: some providers repeat the whole request in their messages."""
    return message if len(message) <= _LONGEST else message[: _LONGEST - 1] + "…"


def _look(value: Any, depth: int) -> tuple[str | None, str | None]:
    """Type and message, from the innermost place that states a message."""
    if isinstance(value, list):
        messages = [found for item in value[:5] if (found := _look(item, depth - 1))[1]] if depth else []
        kind = messages[0][0] if messages else None
        return kind, "; ".join(message for _, message in messages if message) or None
    if isinstance(value, str):
        return _look_into(value, depth)
    if not isinstance(value, dict) or not depth:
        return None, None
    kind = _kind(value)
    for name in ("error", "errors"):
        if value.get(name):
            inner, message = _look(value[name], depth - 1)
            if message:
                return inner or kind, message
    for name in _MESSAGES:
        if value.get(name):
            inner, message = _look(value[name], depth - 1)
            if message:
                return kind or inner, message
    return kind, None


def _look_into(text: str, depth: int) -> tuple[str | None, str | None]:
    """A message may hold the JSON of the error that a gateway was given."""
    if depth and text.lstrip()[:1] in ("{", "["):
        try:
            kind, message = _look(decode(text.encode("utf-8", "replace")), depth - 1)
        except WireError:
            return None, text
        if message:
            return kind, message
    return None, text or None


def _kind(error: dict[str, Any]) -> str | None:
    for name in _TYPES:
        value = error.get(name)
        if isinstance(value, str) and value and value != "error":
            return value.rpartition("#")[2][:100]
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)[:100]
    return None
