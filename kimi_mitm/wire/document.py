"""One JSON document, decoded as well as it can be, whole or cut."""

from __future__ import annotations

import contextlib
import json
import re
from typing import Any, NamedTuple

import msgspec

from kimi_mitm.wire.format import WireError

_BOM = b"\xef\xbb\xbf"
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+("?)|[{}\[\],]', re.DOTALL)
_QUOTE, _COMMA = b'",'
_CLOSING = {ord("{"): ord("}"), ord("["): ord("]")}
_DEEPEST = 100
"""What is nested deeper states nothing that is read."""
_NO_JSON = re.compile(
    rb'("(?:[^"\\]++|\\.)*+"?)|/\*(?:[^*]++|\*(?!/))*+(?:\*/)?|//[^\n]*+|,(?=\s*[}\]])', re.DOTALL
)
"""Comments and commas before a closing bracket; what is in strings comes first, and stays."""
_decode = msgspec.json.Decoder().decode


def decode(data: bytes) -> Any:
    """The value that `data` holds. Invalid UTF-8 (it occurs inside otherwise good streams), lone
    surrogates, control characters in strings and NaN are survived; they become U+FFFD, themselves, None.

    Raises `WireError` for what is no JSON, nesting that exhausts the parser and absurd numbers included.
    """
    try:
        return _decode(data)
    except (ValueError, RecursionError):
        return _decode_leniently(data)


class Mended(NamedTuple):
    """A cut document up to its last whole member, with its brackets closed: JSON, if the data was, as far
    as it came. `depth` says how many objects and arrays, from the outermost in, are not whole."""

    data: bytes
    depth: int


def mend(data: bytes) -> Mended | None:
    """Closes what a cut document left open; None where nothing of it stands."""
    closing = bytearray()
    end, still_open = 0, b""
    for token in _TOKEN.finditer(data):
        first = data[token.start()]
        if first == _QUOTE:
            if not token[1]:
                break
            continue
        if first in _CLOSING:
            closing.append(_CLOSING[first])
        elif first != _COMMA:
            if not closing or closing.pop() != first:
                break
        elif not closing:
            break
        end = token.start() if first == _COMMA else token.end()
        still_open = bytes(closing)
        if not closing:
            break
    return Mended(data[:end] + still_open[::-1], len(still_open)) if end else None


def tidy(data: bytes) -> bytes | None:
    """`data` as JSON where it is so but for comments, commas before a closing bracket, or nesting that
    exhausts the parser (what lies too deep becomes null); None where it is not even that."""
    for tidied in (_NO_JSON.sub(rb"\1", data), _shallow(data)):
        if tidied != data:
            with contextlib.suppress(WireError):
                decode(tidied)
                return tidied
    return None


def _decode_leniently(data: bytes) -> Any:
    text = data.removeprefix(_BOM).decode("utf-8", "replace")
    try:
        doc = json.loads(text, strict=False, parse_constant=_no_number, parse_int=_whole)
        return _without_surrogates(doc) if "\\u" in text else doc
    except (ValueError, RecursionError):
        raise WireError("no JSON document") from None


def _shallow(data: bytes) -> bytes:
    """The document with null for everything that is nested deeper than `_DEEPEST`."""
    kept: list[bytes] = []
    depth, end, start = 0, 0, 0
    for token in _TOKEN.finditer(data):
        first = data[token.start()]
        if first in _CLOSING:
            depth += 1
            if depth == _DEEPEST + 1:
                start = token.start()
        elif first not in (_QUOTE, _COMMA):
            if depth == _DEEPEST + 1:
                kept += (data[end:start], b"null")
                end = token.end()
            depth -= 1
    return b"".join((*kept, data[end:]))


def _no_number(_: str) -> None:
    return None


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) < 20 else float(digits)


def _without_surrogates(value: Any) -> Any:
    """Strings that UTF-8 can't hold would fail whoever writes them down."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_without_surrogates(name): _without_surrogates(item) for name, item in value.items()}
    return value
