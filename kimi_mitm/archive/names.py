"""Names of folders and files that come from outside: safe on every system, and different for different
input.

A user's name may be anything, as it comes from a header. In a folder's name only letters, digits and a few
signs stand for themselves; every other character is written as its UTF-8 bytes, `%2F`.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

_LONGEST = 120
"""Bytes. File systems take 255; Windows takes 260 characters for a whole path."""

_SIGNS = frozenset(" ._-@+")
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(?=\.|$| )", re.IGNORECASE)
"""Device names on Windows, with any extension."""


def folder_name(user: str) -> str:
    """The user's folder: one path component, never empty, `.` or `..`."""
    name = "".join(_safe(char) for char in _characters(user))
    if not name:
        return "%"
    if name[0] in " .":
        name = _bytes(name[0]) + name[1:]
    if name[-1] in " .":
        name = name[:-1] + _bytes(name[-1])
    if _RESERVED.match(name):
        name = _bytes(name[0]) + name[1:]
    if len(name.encode()) <= _LONGEST:
        return name
    digest = hashlib.sha256(user.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{_cut(name, _LONGEST - 18)}%~{digest}"


def _characters(user: str) -> str:
    """One way of writing accents: some systems' folders know only one, others tell them apart."""
    return unicodedata.normalize("NFC", user)


def _safe(char: str) -> str:
    if char in _SIGNS or (char.isalnum() and char.isprintable()):
        return char
    return _bytes(char)


def _bytes(char: str) -> str:
    return "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "surrogatepass"))


def _cut(name: str, size: int) -> str:
    """At most so many bytes, no escape cut in two."""
    cut = name.encode()[:size].decode("utf-8", "ignore")
    return re.sub(r"%[0-9A-F]?$", "", cut)
