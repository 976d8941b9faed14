"""An HTTP/1.1 upstream, over TLS or plain, whose every byte a test decides on."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

DEADLINE_S = 10.0


@dataclass
class Call:
    """One request as it came in, and the means to answer it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    over: bool = field(default=False)

    async def head(self, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """Sends the head; without a content-length the body will be chunked."""
        lines = [f"HTTP/1.1 {status} Whatever", *(f"{k}: {v}" for k, v in (headers or {}).items())]
        if not any(k.lower() == "content-length" for k in headers or {}):
            lines.append("transfer-encoding: chunked")
        self.writer.write("\r\n".join([*lines, "", ""]).encode())
        await self.writer.drain()

    async def piece(self, data: bytes) -> None:
        """Sends one chunk."""
        self.writer.write(b"%x\r\n%s\r\n" % (len(data), data))
        await self.writer.drain()

    async def end(self) -> None:
        """Ends a chunked body."""
        self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()

    async def answer(self, body: bytes, headers: Mapping[str, str] | None = None, status: int = 200) -> None:
        """Sends a whole answer of known length."""
        await self.head(status, {"content-length": str(len(body)), **(headers or {})})
        self.writer.write(body)
        await self.writer.drain()

    async def stream(self, *pieces: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Sends a whole chunked answer."""
        await self.head(200, headers or {"content-type": "text/event-stream"})
        for piece in pieces:
            await self.piece(piece)
        await self.end()

    def reset(self) -> None:
        """Cuts the connection without a word (TCP reset)."""
        self.over = True
        self.writer.transport.abort()

    def hang_up(self) -> None:
        """Closes the connection in the middle."""
        self.over = True
        self.writer.close()


type Handler = Callable[[Call], Awaitable[None]]


class Upstream:
    """Serves every request with `handler`, which a test sets. `calls` are all that came, `error` the first
    exception of a handler, raised again by `down`."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.calls: list[Call] = []
        self.connections = 0
        self.greetings: list[bytes] = []
        self.port = 0
        self._error: BaseException | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def up(self, tls: ssl.SSLContext | None) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls, limit=2**24)
        self.port = self._server.sockets[0].getsockname()[1]

    async def down(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=DEADLINE_S)
        if self._error is not None:
            raise self._error

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while (call := await _read(reader, writer)) is not None:
                self.calls.append(call)
                await self.handler(call)
                if call.over:
                    return
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError, ssl.SSLError):
            pass
        except BaseException as e:
            self._error = self._error or e
        finally:
            self._writers.discard(writer)
            self._tasks.discard(task)
            with contextlib.suppress(Exception):
                writer.close()


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Call | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    line, *rest = head.rstrip("\r\n").split("\r\n")
    method, path, _ = line.split(" ", 2)
    headers = {k.lower(): v for k, v in (x.split(": ", 1) for x in rest if ": " in x)}
    body = b""
    if "content-length" in headers and "x-leave-body" not in headers:
        body = await reader.readexactly(int(headers["content-length"]))
    elif headers.get("transfer-encoding") == "chunked" and "x-leave-body" not in headers:
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
    return Call(method, path, headers, body, reader, writer)
