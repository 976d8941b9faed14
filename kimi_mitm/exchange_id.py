"""The stable id of an exchange: the same one read again, live or from a file, has the same id. No I/O.

mitmproxy keeps a flow's id in its files, but makes a new one each time a HAR file is read, so an
exchange from there is named by what it holds.
"""

from __future__ import annotations

import hashlib
import uuid
from collections import Counter

_NAMESPACE = uuid.UUID("6b1d9a52-4d0c-5a5e-9c55-1f4f0f6f2b3a").bytes


def of_flow(flow_id: str, started_at: float) -> str:
    """The id of an exchange that mitmproxy names. A replay keeps its flow's id and starts at another
    time: it is another exchange."""
    return _uuid5(f"{flow_id} {started_at!r}".encode())


class ByContent:
    """Names exchanges that nobody names. One instance per reading: equal ones are told apart by counting."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()

    def name(self, started_at: float, method: str, url: str, body: bytes) -> str:
        """The id of an exchange that started then (to the millisecond)."""
        digest = hashlib.sha256(body).hexdigest()
        found = _uuid5(f"{round(started_at * 1000)} {method} {url} {digest}".encode())
        self._seen[found] += 1
        times = self._seen[found]
        return found if times == 1 else _uuid5(f"{found} {times}".encode())


def _uuid5(name: bytes) -> str:
    """What `str(uuid.uuid5(…))` gives, without its objects: this runs on the proxy's loop."""
    digest = bytearray(hashlib.sha1(_NAMESPACE + name, usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
