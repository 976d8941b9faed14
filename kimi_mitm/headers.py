"""Which headers may be kept: an allow-list by name, in `headers.toml`; never credentials or cookies."""

from __future__ import annotations

import re
import tomllib
from importlib.resources import files
from typing import Any


def _load() -> dict[str, Any]:
    return tomllib.loads(files("kimi_mitm").joinpath("headers.toml").read_text(encoding="utf-8"))


_TABLE = _load()

HEADERS: frozenset[str] = frozenset(_TABLE["names"])
"""Names (lower-case) of the headers that may be kept; the families of `is_kept` come on top."""

_KEPT: re.Pattern[str] = re.compile("|".join(_TABLE["patterns"]))


def is_kept(name: str) -> bool:
    """Whether a header may be kept: identity, encodings, ids, limits; never credentials or cookies."""
    name = name.lower()
    return name in HEADERS or _KEPT.fullmatch(name) is not None
