"""Flows made by hand: what `make_samples.py` builds its conversations with."""

from __future__ import annotations

import json
import struct
import uuid
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mitmproxy import connection, http

START = 1_762_160_400.0  # 2025-11-03 09:00 UTC
JSON_TYPE = {"content-type": "application/json"}
SSE_TYPE = {"content-type": "text/event-stream; charset=utf-8"}


def tool(name: str, about: str, **parameters: str) -> dict[str, Any]:
    """A tool's definition in the form that Anthropic takes; the others are made of it."""
    described = {key: {"type": "string", "description": text} for key, text in parameters.items()}
    schema = {"type": "object", "properties": described, "required": list(parameters)}
    return {"name": name, "description": about, "input_schema": schema}


TOOLS = [
    tool("Read", "Reads a file of the project.", path="The file, relative to the project's root."),
    tool("Edit", "Replaces text in a file.", path="The file.", old="Text to find.", new="Text in its place."),
    tool("Bash", "Runs a command.", command="The command line.", reason="Why it is run, in a few words."),
]
FUNCTIONS = [
    {
        "type": "function",
        "function": {
            "name": t["name"],
            "description": t["description"],
            "parameters": t["input_schema"],
        },
    }
    for t in TOOLS
]


def encoded(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def sse(*events: Any, named: bool = False, done: bool = False) -> bytes:
    """Server-sent events; `named` ones carry their type as the event's name."""
    lines = [
        (b"event: " + event["type"].encode() + b"\n" if named else b"") + b"data: " + encoded(event)
        for event in events
    ]
    return b"\n\n".join([*lines, *([b"data: [DONE]"] if done else []), b""])


def words(text: str, size: int = 24) -> Iterator[str]:
    """The text in pieces, as a model streams it."""
    return (text[i : i + size] for i in range(0, len(text), size))


class Recording:
    """The flows so far; each starts a little after the one before."""

    def __init__(self) -> None:
        self.flows: list[http.HTTPFlow] = []

    def add(
        self,
        url: str,
        agent: str,
        body: bytes,
        answer: bytes = b"",
        *,
        status: int = 200,
        sent: Mapping[str, str] | None = None,
        got: Mapping[str, str] | None = None,
        method: str = "POST",
    ) -> http.HTTPFlow:
        number = len(self.flows)
        at = START + 40.0 * number
        host = url.split("/")[2]
        client = connection.Client(
            peername=("127.0.0.1", 50_000 + number), sockname=("127.0.0.1", 8080), timestamp_start=at - 0.1
        )
        server = connection.Server(address=(host, 443))
        client.id, server.id = (str(uuid.uuid5(uuid.NAMESPACE_URL, f"{url}{number}{n}")) for n in "cs")
        flow = http.HTTPFlow(client, server, live=False)
        flow.id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"kimi-mitm sample {number}"))
        flow.timestamp_created = at
        names = {"host": host, "user-agent": agent, **(JSON_TYPE if body else {}), **(sent or {})}
        flow.request = http.Request.make(method, url, body, names)
        flow.response = http.Response.make(status, b"", dict(got or JSON_TYPE))
        flow.response.raw_content = answer
        flow.response.headers["content-length"] = str(len(answer))
        flow.request.timestamp_start, flow.request.timestamp_end = at, at + 0.02
        flow.response.timestamp_start, flow.response.timestamp_end = at + 0.9, at + 4.2
        self.flows.append(flow)
        return flow


def anthropic_events(
    name: str, usage: dict[str, int], blocks: Iterable[tuple[str, Any]], output: int
) -> Iterator[Any]:
    """The events of a streamed message of these blocks: (type, text), or a whole tool call."""
    head = {"id": name, "type": "message", "role": "assistant", "model": "claude-sonnet-4-5-20250929"}
    yield {"type": "message_start", "message": {**head, "content": [], "stop_reason": None, "usage": usage}}
    reason = "end_turn"
    for index, (kind, value) in enumerate(blocks):
        start: dict[str, Any] = {"type": kind, kind: ""}
        if kind == "tool_use":
            reason = "tool_use"
            start = {**value, "input": {}}
            arguments = words(json.dumps(value["input"]))
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in arguments]
        else:
            deltas = [{"type": f"{kind}_delta", kind: piece} for piece in words(value)]
        yield {"type": "content_block_start", "index": index, "content_block": start}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    yield {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": output}}
    yield {"type": "message_stop"}


def aws_frame(event: str, payload: Any) -> bytes:
    """One message: lengths, their checksum, headers, payload, checksum of all (big-endian, CRC-32)."""
    named = {":event-type": event, ":content-type": "application/json", ":message-type": "event"}
    headers = b"".join(
        struct.pack(">B", len(k)) + k.encode() + b"\x07" + struct.pack(">H", len(v)) + v.encode()
        for k, v in named.items()
    )
    data = encoded(payload)
    prelude = struct.pack(">II", 16 + len(headers) + len(data), len(headers))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + data
    return message + struct.pack(">I", zlib.crc32(message))
