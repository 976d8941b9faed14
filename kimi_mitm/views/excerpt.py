"""Text for a person's eyes, within bounds: long values are cut in the middle and say how much is missing.

The form is YAML's, as far as that helps to read and to highlight it: `key: text`, or the text as an
indented block below its key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

_INLINE = 90
_WIDTH = 120
_PLAIN = re.compile(r"[^\s\-?:,\[\]{}#&*!|>'\"%@`][^\n]*")
_CONFUSING = re.compile(r":\s|:$|\s#")
_MEDIA = re.compile(r"(?:data:[^,]{0,200},)?[A-Za-z0-9+/_\-]{200}")
_MOST_NODES = 40_000
_MEDIA_HEAD = 48_000
"""Of base64 text so much is kept that a picture's size can be read; a multiple of four."""


class Unreadable(ValueError):
    """The bytes are not what their wire format says; the message says why, without content."""


def block(key: str, text: str, bound: int) -> list[str]:
    """The lines of one entry; a text longer than `bound` characters is cut."""
    text = clip(text, bound)
    if len(text) <= _INLINE and _PLAIN.fullmatch(text) and not _CONFUSING.search(text):
        return [f"{key}: {text}"]
    if not text:
        return [f"{key}:"]
    return [f"{key}: |", *(f"  {part}" for line in text.splitlines() for part in _wrapped(line))]


def _wrapped(line: str) -> Iterator[str]:
    """The line in pieces that a screen holds, cut at spaces: mitmweb doesn't wrap."""
    while len(line) > _WIDTH:
        at = line.rfind(" ", _WIDTH // 2, _WIDTH)
        cut = at + 1 if at > 0 else _WIDTH
        yield line[:cut]
        line = line[cut:]
    yield line


def clip(text: str, bound: int) -> str:
    """The text, or its first three quarters and last quarter of `bound` characters with a word between."""
    if len(text) <= bound + 100:
        return text
    tail = bound // 4
    head = bound - tail
    return f"{text[:head]}\n… {len(text) - bound:,} characters left out …\n{text[-tail:]}"


def size(count: int) -> str:
    """`512 B`, `83.1 KB`, `4.9 MB`."""
    if count < 1000:
        return f"{count} B"
    return f"{count / 1000:.1f} KB" if count < 999_950 else f"{count / 1_000_000:.1f} MB"


@dataclass(slots=True)
class Lightened:
    """A JSON value whose long texts were cut to `bound` characters. `media`: the lengths in bytes of
    base64 texts that were cut, in order."""

    bound: int
    media: list[int] = field(default_factory=list)
    _nodes: int = 0

    def lighten(self, value: Any) -> Any:
        """Raises `Unreadable` when there is too much of it, whatever its texts."""
        self._nodes += 1
        if self._nodes > _MOST_NODES:
            raise Unreadable("it has too many values")
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, list):
            return [self.lighten(item) for item in value]
        if isinstance(value, dict):
            return {key: self.lighten(item) for key, item in value.items()}
        return value

    def _text(self, text: str) -> str:
        if len(text) <= self.bound + 100:
            return text
        found = _MEDIA.match(text)
        if not found:
            return clip(text, self.bound)
        if len(text) <= _MEDIA_HEAD:
            return text
        start = text.find(",") + 1 if text.startswith("data:") else 0
        self.media.append((len(text) - start) * 3 // 4)
        return text[: start + _MEDIA_HEAD]
