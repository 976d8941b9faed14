"""A provider for benchmarks: TLS on loopback, HTTP/1.1, answers with the time it sent each piece.

`python upstream.py PORT CERT KEY`. `POST …/chat/completions` streams when the body's head says so
(`"pieces": N, "every_ms": M`), else answers at once; `GET /bytes/N` sends N bytes.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import sys
import time

_FIGURE = re.compile(rb'"(pieces|every_ms)": ?(\d+)')
_BLOCK = b"x" * 65536
_SMALL = (
    b'{"id":"chatcmpl-1","object":"chat.completion","model":"gpt-4o","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"ok"},"finish_reason":"stop"}],"usage":{"prompt_tokens":12,'
    b'"completion_tokens":1,"total_tokens":13}}'
)
_LAST = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","model":"gpt-4o","choices":[],"usage":'
    b'{"prompt_tokens":12,"completion_tokens":%d,"total_tokens":20}}\n\ndata: [DONE]\n\n'
)
_PIECE = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","sent":%d,"model":"gpt-4o","choices":'
    b'[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}\n\n'
)


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while head := await _head(reader):
            line, length = head
            body = await reader.readexactly(length) if length else b""
            if line.startswith(b"GET /bytes/"):
                await _bytes(writer, int(line.split()[1].rsplit(b"/", 1)[1]))
            else:
                figures = {k: int(v) for k, v in _FIGURE.findall(body[:200])}
                await _answer(writer, figures.get(b"pieces", 0), figures.get(b"every_ms", 0))
    except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
        pass
    finally:
        writer.close()


async def _head(reader: asyncio.StreamReader) -> tuple[bytes, int] | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    found = re.search(rb"content-length: ?(\d+)", head, re.IGNORECASE)
    return head.split(b"\r\n", 1)[0], int(found[1]) if found else 0


async def _bytes(writer: asyncio.StreamWriter, size: int) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
    while size > 0:
        writer.write(_BLOCK[:size])
        size -= len(_BLOCK)
        await writer.drain()


async def _answer(writer: asyncio.StreamWriter, pieces: int, every_ms: int) -> None:
    if not pieces:
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(_SMALL)
        )
        writer.write(_SMALL)
        await writer.drain()
        return
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
    start = time.monotonic()
    for i in range(pieces):
        wait = start + i * every_ms / 1000 - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        _chunk(writer, _PIECE % time.monotonic_ns())
    _chunk(writer, _LAST % pieces)
    writer.write(b"0\r\n\r\n")
    await writer.drain()


def _chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(b"%x\r\n%s\r\n" % (len(data), data))


async def main(port: int, cert: str, key: str) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    server = await asyncio.start_server(serve, "127.0.0.1", port, ssl=context, limit=1 << 20)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
