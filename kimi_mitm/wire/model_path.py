"""The model of a request that names it in its path only."""

from __future__ import annotations

import re
from urllib.parse import unquote

_SLASHES = re.compile(r"/{2,}")
_PATHS = re.compile(
    r"/engines/(?P<engine>[^/]+)/"  # OpenAI before 2023, Copilot's completion while typing
    r"|/serving-endpoints/(?P<endpoint>[^/]+)/invocations$"  # Databricks
    r"|/publishers/[^/]+/models/(?P<published>[^/:]+):[A-Za-z]+$"  # Vertex AI
)


def plain_path(path: str) -> str:
    """The path decoded, with single slashes: gateways double them, clients encode `@` and `:`."""
    return _SLASHES.sub("/", unquote(path) if "%" in path else path)


def model_of_path(path: str) -> str | None:
    """The model that an OpenAI-compatible path names; None where it names none. An Azure deployment isn't
    one: its name is the customer's own."""
    found = _PATHS.search(plain_path(path).rstrip("/"))
    return next(filter(None, found.groups()), None) if found else None
