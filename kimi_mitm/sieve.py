"""What of a message's head may cross to the engine: chosen by header name, cleaned, and masked there.

`sift` runs on the proxy's loop for every request and answer, so it only looks names up. A credential's
header never gets through it. What the kept values may hide is masked by `masked`, on the engine's side.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from kimi_mitm import link, redact
from kimi_mitm.headers import is_kept

ASIDE = frozenset({"proxy-authorization", "x-user-id"})
"""Headers that the recorder itself reads and that go no further."""

_LONGEST_VALUE = 8192
_MOST_NAMES = 4096
_NOTHING: Mapping[str, str] = {}

_names: dict[bytes, str | None] = {}
"""A header's name as it came → lower-case if it is kept or read, None for any other: asked once each."""


def sift(fields: Iterable[tuple[bytes, bytes]]) -> tuple[dict[str, str], Mapping[str, str]]:
    """The headers that may be kept, and those of `ASIDE`; names in lower case, the last value of each."""
    kept: dict[str, str] = {}
    aside: dict[str, str] | None = None
    for raw, value in fields:
        try:
            name = _names[raw]
        except KeyError:
            name = _learn(raw)
        if name is None:
            continue
        text = value.decode("utf-8", "replace")
        if name in ASIDE:
            aside = aside or {}
            aside[name] = text
        else:
            kept[name] = text if len(text) <= _LONGEST_VALUE else text[:_LONGEST_VALUE]
    return kept, _NOTHING if aside is None else aside


def masked[M: (link.Opened, link.Answered)](head: M) -> M:
    """The same frame with everything masked in its headers that looks like a credential."""
    return msgspec.structs.replace(
        head, headers={name: redact.text(value) for name, value in head.headers.items()}
    )


def _learn(raw: bytes) -> str | None:
    if len(_names) >= _MOST_NAMES:
        _names.clear()
    name = raw.decode("latin-1").lower()
    found = name if name in ASIDE or is_kept(name) else None
    _names[raw] = found
    return found
