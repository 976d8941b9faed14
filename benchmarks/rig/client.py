"""A client for benchmarks: HTTP/1.1 over TLS through a CONNECT proxy, with the times that matter."""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from dataclasses import dataclass, field

_SENT = re.compile(rb'"sent":(\d+)')


@dataclass
class Answer:
    """Seconds from the request to the answer's first byte and to its end; delays of pieces in seconds."""

    first_s: float = 0.0
    total_s: float = 0.0
    size: int = 0
    delays: list[float] = field(default_factory=list)


class Connection:
    """One tunnel to one host."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> None:
        self._reader, self._writer, self._host = reader, writer, host

    @classmethod
    async def open(cls, proxy: int, host: str, context: ssl.SSLContext) -> Connection:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy, limit=1 << 22)
        writer.write(f"CONNECT {host}:443 HTTP/1.1\r\nhost: {host}:443\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head.split(b"\r\n", 1)[0]:
            raise ConnectionError(head.decode(errors="replace"))
        await writer.start_tls(context, server_hostname=host)
        return cls(reader, writer, host)

    async def ask(self, method: str, path: str, body: bytes = b"") -> Answer:
        """One request; the answer is read to its end."""
        start = time.monotonic()
        head = (
            f"{method} {path} HTTP/1.1\r\nhost: {self._host}\r\nauthorization: Bearer sk-bench\r\n"
            f"user-agent: bench/1\r\naccept: */*\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        self._writer.write(head.encode() + body)
        await self._writer.drain()
        answer = Answer()
        headers = await self._reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: ?(\d+)", headers, re.IGNORECASE)
        if length:
            await self._plain(int(length[1]), answer, start)
        else:
            await self._chunked(answer, start)
        answer.total_s = time.monotonic() - start
        return answer

    async def _plain(self, left: int, answer: Answer, start: float) -> None:
        while left:
            data = await self._reader.read(min(left, 1 << 18))
            if not data:
                raise ConnectionError("the answer broke off")
            answer.first_s = answer.first_s or time.monotonic() - start
            answer.size += len(data)
            left -= len(data)

    async def _chunked(self, answer: Answer, start: float) -> None:
        while True:
            size = int((await self._reader.readline()).strip() or b"0", 16)
            data = await self._reader.readexactly(size + 2)
            if not size:
                return
            now = time.monotonic_ns()
            answer.first_s = answer.first_s or time.monotonic() - start
            answer.size += size
            answer.delays += [(now - int(sent)) / 1e9 for sent in _SENT.findall(data)]

    def close(self) -> None:
        self._writer.close()
