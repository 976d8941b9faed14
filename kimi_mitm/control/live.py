"""Readers of live events: server-sent events and WebSockets over one hub.

A reader that can't keep up waits in its own `send`, with its own place in the hub's ring; nobody
else notices. Writes are paced by the number of readers, so that many of them cost a bounded share
of the loop: the first event after a quiet time goes out at once, those that follow are gathered,
and all readers write in the same rounds.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from kimi_mitm.events import Event, Subscription

RETRY_MS = 1000
"""How long a browser's own EventSource waits before it comes back."""

_PACE_S = 0.004
_MAX_PACE_S = 1.0


class Live:
    """The open readers of one application; `close` ends them all."""

    def __init__(self) -> None:
        self._open: set[Subscription] = set()
        self._round: asyncio.Event | None = None
        self._closed = False

    def __len__(self) -> int:
        return len(self._open)

    def enter(self, reader: Subscription) -> None:
        """Counts a reader in."""
        self._open.add(reader)

    def leave(self, reader: Subscription) -> None:
        """Ends a reader and counts it out."""
        reader.close()
        self._open.discard(reader)

    def close(self) -> None:
        """Ends every reader; their streams finish as soon as what is being written is written."""
        self._closed = True
        self._begin_round()
        for reader in list(self._open):
            reader.close()

    async def pace(self) -> None:
        """Waits for the next round of writes: the more readers, the longer from one to the next."""
        if self._closed:
            return
        if self._round is None:
            self._round = asyncio.Event()
            apart = min(len(self._open) * _PACE_S, _MAX_PACE_S)
            asyncio.get_running_loop().call_later(apart, self._begin_round)
        await self._round.wait()

    def _begin_round(self) -> None:
        begun, self._round = self._round, None
        if begun is not None:
            begun.set()


class EventStream(Response):
    """An endless answer of server-sent events; it ends when the reader is closed or the client leaves."""

    media_type = "text/event-stream"

    def __init__(self, live: Live, reader: Subscription) -> None:
        self._live = live
        self._reader = reader
        self.status_code = 200
        self.background = None
        self.init_headers({"X-Accel-Buffering": "no"})
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._live.enter(self._reader)
        gone = asyncio.ensure_future(_until_gone(receive, self._reader))
        try:
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            await send(_piece(f"retry: {RETRY_MS}\nid: {self._reader.place}\n\n".encode()))
            while events := await self._reader.batch():
                await send(_piece(b"".join(event.frame for event in events)))
                await self._live.pace()
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._live.leave(self._reader)
            gone.cancel()


async def serve_socket(websocket: WebSocket, live: Live, reader: Subscription) -> None:
    """Sends each event as one text message; what the client sends is ignored."""
    live.enter(reader)
    gone = asyncio.ensure_future(_until_gone(websocket.receive, reader))
    try:
        while events := await reader.batch():
            await _send_all(websocket, events)
            await live.pace()
        with suppress(RuntimeError):
            await websocket.close(1001)
    except WebSocketDisconnect:
        pass
    finally:
        live.leave(reader)
        gone.cancel()


async def _send_all(websocket: WebSocket, events: list[Event]) -> None:
    for event in events:
        await websocket.send_text(event.json.decode())


async def _until_gone(receive: Receive, reader: Subscription) -> None:
    with suppress(RuntimeError):
        while not (await receive())["type"].endswith(".disconnect"):
            pass
    reader.close()


def _piece(body: bytes) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": True}
