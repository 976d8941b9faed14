"""Reading JSON that anybody may have sent: the value where it has the right shape, else None.

Nothing here raises, but `body`, which raises `WireError`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from kimi_mitm.wire.document import decode
from kimi_mitm.wire.format import WireError

_MOST_TOKENS = 10**9
"""No model reads or writes as many: what is above is no token count (a time stamp, a byte count, damage)."""


def count(value: object) -> int | None:
    """A token count: whole, 0 or more, below 10**9. Whole floats count (Titan writes `28.0`), bools don't."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not 0 <= value < _MOST_TOKENS or value != int(value):
        return None
    return int(value)


def digits(value: object) -> int | None:
    """A token count in a header: decimal digits."""
    if isinstance(value, str) and value.isascii() and value.strip().isdigit() and len(value) < 20:
        return count(int(value))
    return None


def text(value: object) -> str | None:
    """A string that isn't empty."""
    return value if isinstance(value, str) and value else None


def get(doc: object, *path: str | int) -> Any:
    """What lies at `path`: string steps go into objects, whole numbers into arrays. None where a step
    leads nowhere."""
    for step in path:
        if isinstance(step, str):
            doc = doc.get(step) if isinstance(doc, dict) else None
        else:
            doc = doc[step] if isinstance(doc, list) and -len(doc) <= step < len(doc) else None
        if doc is None:
            return None
    return doc


def first(doc: object, *names: str) -> Any:
    """The first of several names (spellings of one field) that isn't null."""
    if isinstance(doc, dict):
        for name in names:
            if doc.get(name) is not None:
                return doc[name]
    return None


def items(value: object) -> list[Any]:
    """An array's elements; nothing for what is no array."""
    return value if isinstance(value, list) else []


def total(*parts: int | None) -> int | None:
    """The sum of the known parts; None when none is known."""
    known = [part for part in parts if part is not None]
    return sum(known) if known else None


def body(data: bytes) -> dict[str, Any]:
    """A request body that must be a JSON object; raises `WireError` for anything else."""
    doc = decode(data)
    if not isinstance(doc, dict):
        raise WireError("the request's body is no JSON object")
    return doc


def dump(value: object) -> str:
    """A value as compact JSON; empty for what JSON can't hold."""
    try:
        return msgspec.json.encode(value).decode()
    except (ValueError, TypeError, OverflowError, RecursionError):
        return ""
