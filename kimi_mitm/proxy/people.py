"""Who is talking: the user's name that a client brought to the proxy, by connection.

`HTTPS_PROXY=http://alice:x@127.0.0.1:8080` names alice without any option; the header that carries it
is meant for proxies and is never forwarded (RFC 9110, 11.7.1). In the password's place `kimi-mitm run`
says which of its runs it is, and which client it started; any other password is not looked at.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from mitmproxy import http

HEADER = "proxy-authorization"
_MAX_NAME = 200
_RUN = re.compile(r"run-(?P<id>[0-9a-f]{8,32})(?:\.(?P<client>[a-z][a-z0-9-]{0,39}))?")


class Run(NamedTuple):
    """A run of `kimi-mitm run`: its id, and the client that it started where that client's requests don't
    name it."""

    id: str
    client: str | None = None


class People:
    """Users by client connection, as far as they said who they are."""

    def __init__(self) -> None:
        self._by_connection: dict[str, str] = {}
        self._runs: dict[str, Run] = {}

    def take(self, flow: http.HTTPFlow) -> None:
        """Reads the name on a CONNECT or a plain request, and takes it away."""
        values = flow.request.headers.get_all(HEADER)
        if not values:
            return
        del flow.request.headers[HEADER]
        name = user_of(values[0])
        if name:
            self._by_connection[flow.client_conn.id] = name
        run = run_of(values[0])
        if run:
            self._runs[flow.client_conn.id] = run

    def user(self, flow: http.HTTPFlow, x_user_id: str | None) -> str | None:
        """The user's name: the proxy's own authorization, else `X-User-Id`; None when nobody said."""
        told = flow.metadata.get("proxyauth")
        if isinstance(told, tuple | list) and told:
            return _name(str(told[0]))
        return self._by_connection.get(flow.client_conn.id) or _name(x_user_id)

    def run(self, connection: str) -> Run | None:
        """The run that a connection is of, None when it is of none."""
        return self._runs.get(connection)

    def forget(self, connection: str) -> None:
        """The connection is closed."""
        self._by_connection.pop(connection, None)
        self._runs.pop(connection, None)


def user_of(authorization: str) -> str | None:
    """The user of a Basic authorization, None for anything else."""
    return _name(_credentials(authorization).split(":", 1)[0])


def run_of(authorization: str) -> Run | None:
    """The run that a Basic authorization names in its password's place, None for anything else."""
    found = _RUN.fullmatch(_credentials(authorization).partition(":")[2])
    return Run(found["id"], found["client"]) if found else None


def _credentials(authorization: str) -> str:
    """`user:password`, empty when it isn't Basic."""
    scheme, _, encoded = authorization.strip().partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(encoded.strip(), validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return ""


def _name(text: str | None) -> str | None:
    """A name as it is stored: one line of printable text, bounded."""
    if not text:
        return None
    shown = "".join(c for c in text if c.isprintable())
    return shown.strip()[:_MAX_NAME] or None
