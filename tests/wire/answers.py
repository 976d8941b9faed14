"""Builders for tests of wire formats: requests, answers as their bytes, and frames of AWS event streams."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any
from zlib import crc32

from kimi_mitm.records import Answer, Request
from kimi_mitm.wire.answer import AnswerReader
from kimi_mitm.wire.format import Format, Target

EVENTSTREAM = "application/vnd.amazon.eventstream"


def request(row: Format, doc: Any, path: str = "/", query: Mapping[str, str] | None = None) -> Request:
    """What a format reads of a request; `doc` is its body, bytes or what is to be JSON."""
    data = doc if isinstance(doc, bytes) else json.dumps(doc).encode()
    return row.read_request(data, Target(path=path, query=query))


def answer(
    row: Format,
    data: bytes,
    content_type: str = "application/json",
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    piece: int | None = None,
    aborted: str | None = None,
) -> Answer:
    """What a format reads of an answer that comes in pieces of that size."""
    reader = AnswerReader(row, status, {"content-type": content_type, **(headers or {})})
    size = piece or len(data) or 1
    for start in range(0, len(data), size):
        reader.feed(data[start : start + size])
    return reader.finish(aborted)


def whole(row: Format, doc: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """What a format reads of an answer that is one document."""
    return answer(row, json.dumps(doc).encode(), status=status, headers=headers)


def sse(docs: Iterable[Any], end: str = "\r\n") -> bytes:
    """Documents as server-sent events."""
    return b"".join(f"data: {json.dumps(doc)}{end}{end}".encode() for doc in docs)


def ndjson(docs: Iterable[Any]) -> bytes:
    """Documents as lines."""
    return b"".join(json.dumps(doc).encode() + b"\n" for doc in docs)


def frame(headers: Mapping[str, str], payload: bytes) -> bytes:
    """One frame of an AWS event stream."""
    block = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + len(value).to_bytes(2) + value.encode()
        for name, value in headers.items()
    )
    prelude = (len(block) + len(payload) + 16).to_bytes(4) + len(block).to_bytes(4)
    rest = crc32(prelude).to_bytes(4) + block + payload
    return prelude + rest + crc32(prelude + rest).to_bytes(4)


def event(name: str, doc: Any) -> bytes:
    """An event of a Converse stream."""
    headers = {":event-type": name, ":content-type": "application/json", ":message-type": "event"}
    return frame(headers, json.dumps(doc).encode())


def chunk(doc: Any) -> bytes:
    """A chunk of an InvokeModel stream."""
    inner = base64.b64encode(json.dumps(doc).encode()).decode()
    return event("chunk", {"bytes": inner, "p": "abcd"})


def exception(name: str, message: str) -> bytes:
    """An error in mid-stream."""
    headers = {":exception-type": name, ":content-type": "application/json", ":message-type": "exception"}
    return frame(headers, json.dumps({"message": message}).encode())
