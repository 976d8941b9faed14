"""Who is talking: the user's name that a client brought to the proxy, by connection.

`HTTPS_PROXY=http://alice:x@127.0.0.1:8080` names alice without any option; the header that carries it
is meant for proxies and is never forwarded (RFC 9110, 11.7.1).
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mitmproxy import http

HEADER = "proxy-authorization"
_MAX_NAME = 200


class People:
    """Users by client connection, as far as they said who they are."""

    def __init__(self) -> None:
        self._by_connection: dict[str, str] = {}

    def take(self, flow: http.HTTPFlow) -> None:
        """Reads the name on a CONNECT or a plain request, and takes it away."""
        values = flow.request.headers.get_all(HEADER)
        if not values:
            return
        del flow.request.headers[HEADER]
        name = user_of(values[0])
        if name:
            self._by_connection[flow.client_conn.id] = name

    def user(self, flow: http.HTTPFlow, x_user_id: str | None) -> str | None:
        """The user's name: the proxy's own authorization, else `X-User-Id`; None when nobody said."""
        told = flow.metadata.get("proxyauth")
        if isinstance(told, tuple | list) and told:
            return _name(str(told[0]))
        return self._by_connection.get(flow.client_conn.id) or _name(x_user_id)

    def forget(self, connection: str) -> None:
        """The connection is closed."""
        self._by_connection.pop(connection, None)


def user_of(authorization: str) -> str | None:
    """The user of a Basic authorization, None for anything else. The password is not looked at."""
    scheme, _, encoded = authorization.strip().partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return None
    return _name(decoded.split(":", 1)[0])


def _name(text: str | None) -> str | None:
    """A name as it is stored: one line of printable text, bounded."""
    if not text:
        return None
    shown = "".join(c for c in text if c.isprintable())
    return shown.strip()[:_MAX_NAME] or None
