"""The control endpoint as seen from inside the proxy: `http://kimi.mitm/` leads to it, its address does not.

The endpoint listens on loopback, but whoever can reach the proxy could reach loopback through it. So
connections to the endpoint's own address are refused, by whatever name, and requests for the magic host
are pointed there; its own checks (Host, token) then hold for them too.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import TYPE_CHECKING

from mitmproxy import connection, http

if TYPE_CHECKING:
    from mitmproxy.proxy import server_hooks

MAGIC_HOST = "kimi.mitm"
_REFUSED = "the control endpoint is not reachable through the proxy by address; use http://kimi.mitm/"
_OFF = "the control endpoint is off"
_NO_TLS = "the control endpoint speaks plain HTTP; use http://kimi.mitm/"
_FAR = "kimi.mitm is for clients on the proxy's own machine, unless kimi_control_token is set"


class ControlHost:
    """Where the endpoint is, and which flows may go there. `guarded`: it asks for a token itself."""

    def __init__(self, *, guarded: bool = False) -> None:
        self._address: tuple[str, int] | None = None
        self._guarded = guarded
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

    def concerns(self, host: str, port: int) -> bool:
        """Whether a request for this host, to this port, is for `route`: the cheap look at all of them."""
        return _is_magic(host) or (self._address is not None and port == self._address[1])

    def route(self, flow: http.HTTPFlow) -> bool:
        """Points a request for the magic host at the endpoint; refuses one for the endpoint's address.
        True when the request was one of these."""
        request = flow.request
        if _is_magic(request.pretty_host):
            refused = self._refusal(flow)
            if refused is not None:
                _refuse(flow, *refused)
                return True
            assert self._address is not None
            host_header = request.host_header or MAGIC_HOST
            flow.server_conn = connection.Server(address=self._address)  # past any upstream proxy
            request.host, request.port = self._address
            request.scheme, request.host_header = "http", host_header
            self._routed.add(flow.client_conn.id)
            return True
        if self._is_ours(request.host, request.port):
            _refuse(flow, 403, _REFUSED)
            return True
        return False

    def connect(self, flow: http.HTTPFlow) -> None:
        """A tunnel: to the magic host (a WebSocket's way through a proxy) it leads to the endpoint."""
        request = flow.request
        if _is_magic(request.host):
            if request.port != 80:
                _refuse(flow, 502, _NO_TLS)
            elif (refused := self._refusal(flow)) is not None:
                _refuse(flow, *refused)
            elif self._address is not None:
                request.host, request.port = self._address
                self._routed.add(flow.client_conn.id)
        elif self._is_ours(request.host, request.port):
            _refuse(flow, 403, _REFUSED)

    def routed(self, flow: http.HTTPFlow) -> bool:
        """Whether the flow goes to the endpoint."""
        return self._is_ours(flow.request.host, flow.request.port)

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
        if await _leads_here(address[0]):
            data.server.error = _REFUSED

    def _refusal(self, flow: http.HTTPFlow) -> tuple[int, str] | None:
        if self._address is None:
            return 503, _OFF
        if not self._guarded and not _is_here(flow.client_conn.peername[0]):
            return 403, _FAR
        return None

    def _is_ours(self, host: str, port: int) -> bool:
        if self._address is None or port != self._address[1]:
            return False
        return host == self._address[0] or host.lower().rstrip(".") == "localhost" or _is_here(host)


def _refuse(flow: http.HTTPFlow, status: int, text: str) -> None:
    if flow.request.stream:  # mitmproxy can't answer a request whose body it passes on
        flow.kill()
        return
    flow.response = http.Response.make(status, f"{text}\n".encode(), {"content-type": "text/plain"})


def _is_magic(host: str) -> bool:
    return host.lower().rstrip(".") == MAGIC_HOST


def _is_here(host: str) -> bool:
    """Whether an address is this machine's loopback; the unspecified address leads there too."""
    try:
        address = ipaddress.ip_address(host.split("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return any(a.is_loopback or a.is_unspecified for a in (address, mapped) if a is not None)


async def _leads_here(host: str) -> bool:
    try:
        ipaddress.ip_address(host.split("%")[0])
    except ValueError:
        pass
    else:
        return _is_here(host)
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return any(_is_here(str(info[4][0])) for info in found)
