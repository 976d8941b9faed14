"""One JSON document, decoded as well as it can be."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from kimi_mitm.wire.format import WireError

_BOM = b"\xef\xbb\xbf"
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


def _decode_leniently(data: bytes) -> Any:
    text = data.removeprefix(_BOM).decode("utf-8", "replace")
    try:
        doc = json.loads(text, strict=False, parse_constant=_no_number, parse_int=_whole)
        return _without_surrogates(doc) if "\\u" in text else doc
    except (ValueError, RecursionError):
        raise WireError("no JSON document") from None


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
