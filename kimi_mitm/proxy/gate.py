"""Which hosts are decrypted, and which pass untouched. No I/O, no mitmproxy."""

from __future__ import annotations

import re
from collections.abc import Sequence

from kimi_mitm import recognise

REFUSALS = 2
"""A host whose clients refuse our certificate that often is passed through from then on."""


class Gate:
    """Decides by host name; learns which hosts' clients refuse us."""

    def __init__(self, patterns: Sequence[str] = (), everything: bool = False) -> None:
        self._patterns = [re.compile(p, re.IGNORECASE) for p in patterns]
        self._everything = everything
        self._refusals: dict[str, int] = {}
        self._trusted: set[str] = set()
        self.passed: set[str] = set()

    def decrypts(self, host: str | None) -> bool:
        """Whether a TLS connection to this host (its SNI, else its address) is to be decrypted."""
        if not host or host in self.passed:
            return False
        return self._everything or self.wanted(host)

    def wanted(self, host: str) -> bool:
        """Whether the tables or the user's own patterns name this host."""
        return recognise.serves_llm(host) or self.named(host)

    def named(self, host: str) -> bool:
        """Whether the user's own patterns name this host."""
        return any(p.search(host) for p in self._patterns)

    def accepted(self, host: str) -> None:
        """A client took our certificate for this host."""
        self._trusted.add(host)

    def refused(self, host: str, error: str) -> bool:
        """A client broke off its handshake with us; True when the host is passed through from now on.

        A client that only hangs up proves nothing where another handshake worked: some open spare
        connections and drop them. One that says it does not trust us is believed.
        """
        if host in self.passed or (host in self._trusted and "does not trust" not in _certain(error)):
            return False
        self._refusals[host] = self._refusals.get(host, 0) + 1
        if self._refusals[host] < REFUSALS:
            return False
        self.passed.add(host)
        return True


def _certain(error: str) -> str:
    """mitmproxy mentions distrust as a possibility too ("this may indicate that …")."""
    return error.split("this may indicate", 1)[0]
