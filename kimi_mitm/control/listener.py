"""Puts the application on a socket of its own, and takes it off again at once.

uvicorn is kept from doing what a guest in another's process mustn't: exit when a port is taken,
install signal handlers, log to the root logger, wait for endless streams when it stops.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from fastapi import FastAPI
from uvicorn import Config, Server
from uvicorn.protocols.http.h11_impl import H11Protocol

from kimi_mitm.control import address

_TICK_S = 1.0
_GRACE_S = 0.2
_KEEP_ALIVE_S = 30
_TURNS = 3
"""Turns of the loop from accepting a connection to knowing it."""
_WS_MESSAGE = 4096
_FILES = 8192


class _Protocol(H11Protocol):
    """The HTTP protocol, saying in the contract's shape that a request isn't HTTP, or its head too large."""

    def send_400_response(self, msg: str) -> None:
        body = json.dumps({"error": {"code": "bad_request", "message": msg}}).encode()
        head = (
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


class _Server(Server):
    """A server that leaves signals alone and stops when told, not at its next look."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._stop = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        counter = 0
        while not await self.on_tick(counter):
            counter += 10
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), _TICK_S)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accepts nobody else first, and lets who is being accepted come in: asyncio forgets to close a
        connection that it accepts in the very turn in which its server closes."""
        loop = asyncio.get_running_loop()
        for listening in sockets or ():
            with suppress(NotImplementedError):  # Windows' loop watches no sockets
                loop.remove_reader(listening)
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        await super().shutdown(sockets)

    def stop(self) -> None:
        self.should_exit = True
        self._stop.set()


class Listener:
    """A running server. `port` is the one it got, which matters when 0 was asked for."""

    def __init__(self, app: FastAPI, server: _Server, listening: socket.socket) -> None:
        self._app = app
        self._server = server
        self._stopping = False
        self.host, self.port = listening.getsockname()[:2]
        self._task = asyncio.create_task(server.serve(sockets=[listening]), name="kimi-control")

    @property
    def url(self) -> str:
        """Where it can be opened."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/"

    async def stop(self) -> None:
        """Ends every stream and connection and frees the port, within half a second whoever is connected."""
        if not self._stopping:
            self._stopping = True
            self._app.state.live.close()
            self._server.stop()
            await asyncio.wait([self._task], timeout=_GRACE_S)
            for connection in list(self._server.server_state.connections):
                connection.transport.abort()
        await asyncio.wait([self._task])


async def serve(app: FastAPI, host: str, port: int) -> Listener:
    """Listens on this address and serves; port 0 takes a free one.

    Raises OSError when the address can't be had (in use, not ours, not allowed), with nothing left open.
    """
    return await serve_on(app, address.take(host, port))


async def serve_on(app: FastAPI, listening: socket.socket) -> Listener:
    """Serves on a socket that listens already, and owns it from then on."""
    _allow_files()
    config = Config(
        app,
        http=_Protocol,
        ws="wsproto",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=1,
        ws_max_size=_WS_MESSAGE,
        ws_per_message_deflate=False,
        backlog=address.BACKLOG,
    )
    return Listener(app, _Server(config), listening)


def _allow_files() -> None:
    """Lets this process have as many connections as readers may come: the usual soft limit is 1024."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted: Any = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
