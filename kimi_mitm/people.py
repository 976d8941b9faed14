"""Who is talking: the user's name that a client brought to the proxy, by connection.

`HTTPS_PROXY=http://alice:x@127.0.0.1:8080` names alice without any option; the header that carries it
is meant for proxies and is never forwarded (RFC 9110, 11.7.1).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mitmproxy import http

_HEADER = "proxy-authorization"
_MAX_NAME = 200


class People:
    """Users by client connection, as far as they said who they are."""

    def __init__(self) -> None:
        self._by_connection: dict[str, str] = {}

    def connect(self, flow: http.HTTPFlow) -> None:
        """Reads and takes away the name on a CONNECT."""
        self._take(flow)

    def request(self, flow: http.HTTPFlow) -> None:
        """The same on a plain request, where the header would go upstream."""
        if _HEADER in flow.request.headers:
            self._take(flow)

    def user(self, flow: http.HTTPFlow, headers: Mapping[str, str]) -> str | None:
        """The user's name: the proxy's own authorization, else `X-User-Id`; None when nobody said."""
        told = flow.metadata.get("proxyauth")
        if isinstance(told, tuple | list) and told:
            return str(told[0])[:_MAX_NAME]
        name = self._by_connection.get(flow.client_conn.id) or headers.get("x-user-id")
        return name[:_MAX_NAME] if name else None

    def forget(self, connection: str) -> None:
        """The connection is closed."""
        self._by_connection.pop(connection, None)

    def _take(self, flow: http.HTTPFlow) -> None:
        name = user_of(flow.request.headers.get(_HEADER, ""))
        flow.request.headers.pop(_HEADER, None)
        if name:
            self._by_connection[flow.client_conn.id] = name


def user_of(authorization: str) -> str | None:
    """The user of a Basic authorization, None for anything else. The password is not looked at."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return None
    return decoded.split(":", 1)[0].strip() or None
