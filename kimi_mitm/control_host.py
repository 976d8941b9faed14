"""The control endpoint as seen from inside the proxy: `http://kimi.mitm/` leads to it, its address does not.

The endpoint listens on loopback, but whoever can reach the proxy could reach loopback through it. So
requests for the endpoint's own address are refused, and those for the magic host are pointed there;
its own checks (Host, token) then hold for them too.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import TYPE_CHECKING

from mitmproxy import http

if TYPE_CHECKING:
    from mitmproxy.proxy import server_hooks

MAGIC_HOST = "kimi.mitm"
_REFUSED = "the control endpoint is not reachable through the proxy by address; use http://kimi.mitm/"


class ControlHost:
    """Where the endpoint is, and which flows may go there."""

    def __init__(self) -> None:
        self._address: tuple[str, int] | None = None
        self._routed: set[str] = set()

    @property
    def url(self) -> str | None:
        """The page's own address, None while the endpoint is off."""
        if self._address is None:
            return None
        host, port = self._address
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/"

    def opened(self, address: tuple[str, int] | None) -> None:
        """The endpoint listens there now; None: it is off."""
        self._address = address

    def route(self, flow: http.HTTPFlow) -> bool:
        """Points a request for the magic host at the endpoint; refuses one for the endpoint's address.
        True when the request was one of these."""
        request = flow.request
        if request.pretty_host == MAGIC_HOST and request.scheme == "http":
            if self._address is None:
                flow.response = http.Response.make(503, b"the control endpoint is off\n")
                return True
            host_header = request.headers.get("host", MAGIC_HOST)
            request.host, request.port = self._address
            request.headers["host"] = host_header
            self._routed.add(flow.client_conn.id)
            return True
        if self._is_ours(request.host, request.port):
            flow.response = http.Response.make(403, _REFUSED.encode() + b"\n")
            return True
        return False

    def routed(self, flow: http.HTTPFlow) -> bool:
        """Whether the flow goes to the endpoint."""
        return self._is_ours(flow.request.host, flow.request.port)

    def refuse_connect(self, flow: http.HTTPFlow) -> None:
        """Refuses a tunnel to the endpoint."""
        if self._is_ours(flow.request.host, flow.request.port):
            flow.response = http.Response.make(403, _REFUSED.encode() + b"\n")

    def forget(self, connection: str) -> None:
        """The client's connection is closed."""
        self._routed.discard(connection)

    async def guard(self, data: server_hooks.ServerConnectionHookData) -> None:
        """Refuses a connection whose name resolves to the endpoint's address."""
        address = data.server.address
        if self._address is None or address is None or address[1] != self._address[1]:
            return
        if data.client.id in self._routed and address[0] == self._address[0]:
            return
        if await _is_loopback(address[0]):
            data.server.error = _REFUSED

    def _is_ours(self, host: str, port: int) -> bool:
        if self._address is None or port != self._address[1]:
            return False
        return host == self._address[0] or host in ("localhost", "127.0.0.1", "::1")


async def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        pass
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return any(ipaddress.ip_address(str(info[4][0]).split("%")[0]).is_loopback for info in found)
