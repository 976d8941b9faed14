"""An answer's body as text that can be read: what the model said, thought and called, and what it reported.

An answer of any size takes a few milliseconds: of a long stream only beginning and end are read.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import msgspec

from kimi_mitm.records import Answer, Operation, Usage
from kimi_mitm.views import excerpt
from kimi_mitm.views.excerpt import Lightened, Unreadable, block
from kimi_mitm.wire import FORMATS, AnswerReader, Format

WHOLE = 512 * 1024
"""Bytes up to which an answer is read whole."""
END = 128 * 1024
"""Bytes read from either end of a longer stream."""
TEXT_BOUND = 20_000
THOUGHT_BOUND = 4_000
CALL_BOUND = 2_000
_HEAVY_KEYS = ("data", "embeddings", "embedding", "predictions", "values", "b64_json", "logprobs")
_HEAVY = 16 * 1024
_TOP: msgspec.json.Decoder[dict[str, msgspec.Raw]] = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ANY = msgspec.json.Decoder()
_PRELUDE = struct.Struct(">I")
_BROKEN = (ValueError, RecursionError)


def answer_lines(wire_format: str, data: bytes, *, status: int, headers: Mapping[str, str]) -> list[str]:
    """The answer in a decoded response body; `headers` with lower-case names. Raises `Unreadable`."""
    format = FORMATS.get(wire_format)
    if format is None:
        raise Unreadable(f"the format {wire_format} is not known")
    if not data.strip():
        raise Unreadable("it is empty")
    kept = {k: v for k, v in headers.items() if k != "content-encoding"}
    if len(data) <= WHOLE:
        return _read(format, data, status, kept)
    document = _light_document(data)
    if document is not None:
        return _read(format, document, status, kept, weight=len(data))
    head, tail = _ends(data)
    missing = len(data) - len(head) - len(tail)
    lines = _read(format, head, status, kept)
    lines.append(f"# … {excerpt.size(missing)} of the stream left out …")
    try:
        lines += _read(format, tail, status, kept)
    except Unreadable as e:
        lines.append(f"# the end can't be read: {e}")
    return lines


def event_lines(wire_format: str, data: bytes) -> list[str]:
    """One message of a server on a WebSocket. Raises `Unreadable`."""
    doc = _decoded(data)
    if not isinstance(doc, dict):
        raise Unreadable("it is no JSON object")
    lines = [f"event: {doc['type']}"] if isinstance(doc.get("type"), str) else []
    format = FORMATS.get(wire_format)
    if format is not None:
        reader = format.reader(200, {})
        try:
            reader.document(None, doc)
            said = lines_of(reader.answer())
        except (TypeError, LookupError, AttributeError, ArithmeticError, *_BROKEN):
            said = []
        if said:
            return lines + said
    light = Lightened(CALL_BOUND).lighten({k: v for k, v in doc.items() if k != "type"})
    return lines + (block("data", msgspec.json.encode(light).decode(), CALL_BOUND) if light else [])


def lines_of(answer: Answer) -> list[str]:
    """What was read of an answer; nothing when that is nothing."""
    lines: list[str] = []
    if answer.reasoning:
        lines += block("assistant thinking", answer.reasoning, THOUGHT_BOUND)
    if answer.text:
        lines += block("assistant", answer.text, TEXT_BOUND)
    for call in answer.tool_calls:
        lines += block(f"assistant calls {call.name or 'a tool'}", call.arguments, CALL_BOUND)
    if answer.problem is not None:
        lines += block("error", f"{answer.problem.type}: {answer.problem.message}", CALL_BOUND)
    if answer.finish_reason:
        lines.append(f"finish: {answer.finish_reason}")
    if reported := _usage(answer.usage):
        lines.append(f"reported: {reported}")
    return lines


def _read(
    format: Format, data: bytes, status: int, headers: Mapping[str, str], *, weight: int | None = None
) -> list[str]:
    """What is in `data`; `weight` is how long it was before it was lightened."""
    reader = AnswerReader(format, status, headers)
    reader.feed(data)
    answer = reader.finish()
    lines = lines_of(answer)
    if not lines and format.operation is Operation.EMBEDDINGS and isinstance(_decoded(data), dict | list):
        lines.append(f"embeddings: {excerpt.size(weight or len(data))} of vectors")
    if not lines and reader.damaged:
        raise Unreadable("it is damaged, or not whole")
    if not lines and not answer.response_id and not answer.response_model:
        raise Unreadable(f"no {format.name} answer is in it")
    names = [name for name in (answer.response_model, answer.response_id) if name]
    if names:
        lines.insert(0, f"answer of: {' · '.join(names)}")
    if reader.damaged:
        lines.append(f"# {reader.damaged} damaged piece{'s' * (reader.damaged > 1)} left out")
    return lines


def _light_document(data: bytes) -> bytes | None:
    """A long document without what nobody reads (vectors, pictures); None when it is a stream."""
    try:
        top = _TOP.decode(data)
    except _BROKEN:
        return None
    for key in _HEAVY_KEYS:
        if len(bytes(top.get(key, b""))) > _HEAVY:
            del top[key]
    light: bytes = msgspec.json.encode(top)
    if len(light) <= WHOLE:
        return light
    try:
        return msgspec.json.encode(Lightened(TEXT_BOUND).lighten(_ANY.decode(light)))
    except (TypeError, *_BROKEN):
        return None


def _ends(data: bytes) -> tuple[bytes, bytes]:
    """Beginning and end of a stream, cut between two of its events."""
    half = END
    if data[:1] == b"\0":
        return _frames(data, half)
    for mark in (b"\n\n", b"\r\n\r\n", b"\n"):
        first = data.rfind(mark, 0, half)
        last = data.find(mark, len(data) - half)
        if first > 0 and last > 0:
            return data[: first + len(mark)], data[last + len(mark) :]
    return data[:half], b""


def _frames(data: bytes, half: int) -> tuple[bytes, bytes]:
    """The same for AWS event streams, whose frames begin with their own length (big-endian u32)."""
    at = first = 0
    while at + 4 <= len(data):
        (length,) = _PRELUDE.unpack_from(data, at)
        if length < 16:
            break
        if at + length <= half:
            first = at + length
        if at >= len(data) - half:
            return data[:first], data[at:]
        at += length
    return data[:first], b""


def _decoded(data: bytes) -> Any:
    try:
        return _ANY.decode(data)
    except _BROKEN:
        raise Unreadable("it is no JSON, or not whole") from None


def _usage(usage: Usage) -> str:
    said = []
    for value, word in (
        (usage.input_tokens, "in"),
        (usage.cache_read_tokens, "of it cached"),
        (usage.cache_write_tokens, "of it written to the cache"),
        (usage.output_tokens, "out"),
        (usage.reasoning_tokens, "of it reasoning"),
    ):
        if value is not None:
            said.append(f"{value:,} {word}")
    if not said and usage.total_tokens is not None:
        said.append(f"{usage.total_tokens:,} in all")
    return ", ".join(said)
