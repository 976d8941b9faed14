"""The control endpoint's door: its port is taken at once, the rest comes when somebody knocks.

FastAPI and uvicorn are 30 MB and half a second that a proxy without a visitor need not spend. Where
the event loop can't watch a socket (Windows), they are loaded at the start.
"""

from __future__ import annotations

import asyncio
import importlib
import ipaddress
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from kimi_mitm import __version__
from kimi_mitm.control.address import take

if TYPE_CHECKING:
    from kimi_mitm.control.listener import Listener
    from kimi_mitm.control.service import Service
    from kimi_mitm.settings import Settings


def _nothing(error: Exception) -> None:
    return


class Door:
    """One listening address. `address` is where it listens, None when it could not; `failed` is told why
    nobody can be served although the address was taken."""

    def __init__(
        self,
        settings: Settings,
        make_service: Callable[[], Service],
        failed: Callable[[Exception], object] = _nothing,
    ) -> None:
        self._settings = settings
        self._make_service = make_service
        self._failed = failed
        self._socket: socket.socket | None = None
        self._opening: asyncio.Task[None] | None = None
        self._listener: Listener | None = None
        self.address: tuple[str, int] | None = None

    async def open(self) -> None:
        """Takes the address. Raises OSError when it can't be had."""
        if self._settings.control is None:
            return
        self._socket = take(*self._settings.control)
        host, port = self._socket.getsockname()[:2]
        self.address = (host, port)
        try:
            asyncio.get_running_loop().add_reader(self._socket, self._knocked)
        except NotImplementedError:  # Windows' loop watches no sockets
            await self._answer()

    async def close(self) -> None:
        """Frees the address; streams that are open end."""
        if self._socket is None:
            return
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])
        elif self._listener is None:
            asyncio.get_running_loop().remove_reader(self._socket)
        if self._listener is not None:
            await self._listener.stop()
        else:
            self._socket.close()

    def _knocked(self) -> None:
        assert self._socket is not None
        asyncio.get_running_loop().remove_reader(self._socket)
        self._opening = asyncio.create_task(self._answer(), name="kimi control")

    async def _answer(self) -> None:
        """Serves; a fault of ours costs the endpoint, not the engine."""
        try:
            await self._serve()
        except Exception as e:
            self.address = None
            if self._socket is not None:
                self._socket.close()
            self._failed(e)

    async def _serve(self) -> None:
        assert self._socket is not None
        modules = ("kimi_mitm.control.app", "kimi_mitm.control.listener", "kimi_mitm.control.guard")
        app, listener, guard = [await asyncio.to_thread(importlib.import_module, m) for m in modules]
        settings = guard.ControlSettings(
            token=self._settings.control_token,
            admin_token=self._settings.control_admin_token,
            loopback=_is_loopback(self._socket.getsockname()[0]),
            version=__version__,
        )
        self._listener = await listener.serve_on(app.create_app(self._make_service(), settings), self._socket)


def _is_loopback(host: str) -> bool:
    return ipaddress.ip_address(host.split("%")[0]).is_loopback
