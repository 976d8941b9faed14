"""Names from outside, and the names of scopes that are made of them."""

from __future__ import annotations

import hashlib
import re
from typing import overload

import msgspec

_LONGEST_SCOPE = 500
_LONGEST_NAME = 500
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
"""Databases refuse them: a NUL, and what headers that aren't UTF-8 are decoded to."""


@overload
def tidy(name: str) -> str: ...
@overload
def tidy(name: None) -> None: ...
@overload
def tidy(name: str | None) -> str | None: ...
def tidy(name: str | None) -> str | None:
    """A name from outside in a form that every database takes: unstorable characters written as escapes,
    at most 500 characters; long names that differ stay different."""
    if name is None:
        return None
    if _UNSTORABLE.search(name):
        name = _UNSTORABLE.sub(lambda char: f"\\u{ord(char.group()):04x}", name)
    if len(name) > _LONGEST_NAME:
        name = f"{name[: _LONGEST_NAME - 17]}~{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return name


def scope_of(kind: str, *parts: str | None) -> str:
    """The name under which there is one current session: `line` (user, client), `id` (user, client,
    the client's own id), `config` (user, config) or `exchange`. Different parts give different names."""
    name = msgspec.json.encode((kind, *parts)).decode()
    if len(name) <= _LONGEST_SCOPE:
        return name
    return f'["{kind}","sha256:{hashlib.sha256(name.encode()).hexdigest()}"]'
