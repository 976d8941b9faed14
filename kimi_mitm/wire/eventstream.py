"""AWS event streams (`application/vnd.amazon.eventstream`): bytes in, named JSON documents out.

A frame is: length of all, length of the headers, CRC-32 of these eight bytes, headers, payload, CRC-32
of everything before it; numbers are big-endian. Source: the "event stream" appendix of the Smithy
specification (`amazon-eventstream`). A damaged frame is skipped, and reading goes on at the next one
whose first checksum is right.
"""

from __future__ import annotations

import re
import struct
from base64 import b64decode
from binascii import Error as Base64Error
from zlib import crc32

import msgspec

_PRELUDE = struct.Struct(">III")
_OVERHEAD = _PRELUDE.size + 4
_LONGEST = 16 * 1024 * 1024 + 128 * 1024
"""The specification's most: 16 MiB of payload, 128 KiB of headers."""

_MOST_DAMAGE = 100
"""How often the place may be lost: nested false frames cost a checksum of the rest each."""

_FIRST_HEADER = re.compile(
    rb"[\x0b\x0d\x0f]:(?:event-type|content-type|message-type|error-code|exception-type|date)"
)
"""How a frame's headers begin, length byte first: what to look for when the place is lost. Whichever comes
first, the prelude's checksum in front of it decides."""
_LONGEST_MARK = 16

_FIXED_SIZES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
_BYTES, _STRING = 6, 7

type Message = tuple[str | None, bytes]
"""An event's name and its JSON: `:event-type`, or `:exception-type` or `:error-code` for errors."""


class EventStream:
    """Reads one event stream, in pieces of any size."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._lost = False
        self.damaged = 0
        """How often the place was lost: frames that were skipped, or stretches between two good ones."""

    def feed(self, data: bytes) -> list[Message]:
        """Takes the next bytes and gives the messages that they complete. Never raises."""
        if self.damaged > _MOST_DAMAGE:
            return []
        self._buffer += data
        return self._read()

    def finish(self) -> list[Message]:
        """Takes the end of the stream: a last frame that isn't whole may hide whole ones behind a damaged
        length."""
        messages: list[Message] = []
        while self._buffer:
            self._lose()
            messages += self._read()
            if self._lost:
                break
        self._buffer.clear()
        return messages

    def _read(self) -> list[Message]:
        messages: list[Message] = []
        while not self._lost or self._find():
            if len(self._buffer) < _PRELUDE.size:
                break
            length, header_length, checksum = _PRELUDE.unpack_from(self._buffer)
            if not _plausible(length, header_length) or crc32(self._buffer[:8]) != checksum:
                self._lose()
                continue
            if len(self._buffer) < length:
                break
            frame = bytes(self._buffer[:length])
            if crc32(frame[:-4]) != int.from_bytes(frame[-4:]):
                self._lose()
                continue
            del self._buffer[:length]
            message = _message(frame, header_length)
            if message is not None:
                messages.append(message)
        return messages

    def _lose(self) -> None:
        self._lost = True
        self.damaged += 1
        del self._buffer[0]
        if self.damaged > _MOST_DAMAGE:
            self._buffer.clear()

    def _find(self) -> bool:
        """Moves to the next place where a frame with a right first checksum begins; False: not yet there."""
        at = 0
        while (mark := _FIRST_HEADER.search(self._buffer, at)) is not None:
            start, at = mark.start() - _PRELUDE.size, mark.end()
            if start < 0:
                continue
            length, header_length, checksum = _PRELUDE.unpack_from(self._buffer, start)
            if _plausible(length, header_length) and crc32(self._buffer[start : start + 8]) == checksum:
                del self._buffer[:start]
                self._lost = False
                return True
        del self._buffer[: -(_PRELUDE.size + _LONGEST_MARK)]
        return False


def _plausible(length: int, header_length: int) -> bool:
    return _OVERHEAD + header_length <= length <= _LONGEST


def _message(frame: bytes, header_length: int) -> Message | None:
    headers = _headers(frame[_PRELUDE.size : _PRELUDE.size + header_length])
    payload = frame[_PRELUDE.size + header_length : -4]
    kind = headers.get(":message-type", "event")
    if kind == "exception":
        return headers.get(":exception-type") or "exception", payload or b"{}"
    if kind == "error":
        text = {"message": headers.get(":error-message", "")}
        return headers.get(":error-code") or "error", payload or msgspec.json.encode(text)
    if not payload:
        return None
    name = headers.get(":event-type")
    return name, (_inner(payload) if name == "chunk" else payload)


def _inner(payload: bytes) -> bytes:
    """The document inside an invoke stream's `{"bytes": "<base64>"}`; the payload itself if there is none."""
    try:
        return b64decode(msgspec.json.decode(payload, type=_Chunk).bytes)
    except (ValueError, Base64Error, RecursionError):
        return payload


class _Chunk(msgspec.Struct):
    bytes: str


def _headers(data: bytes) -> dict[str, str]:
    """The headers whose values are strings; whatever follows a header that can't be read is left out."""
    found: dict[str, str] = {}
    at = 0
    while at < len(data):
        name_end = at + 1 + data[at]
        name = data[at + 1 : name_end].decode(errors="replace")
        if name_end >= len(data):
            break
        kind = data[name_end]
        at = name_end + 1
        if kind in (_BYTES, _STRING):
            size = int.from_bytes(data[at : at + 2])
            if kind == _STRING:
                found[name] = data[at + 2 : at + 2 + size].decode(errors="replace")
            at += 2 + size
        elif kind in _FIXED_SIZES:
            at += _FIXED_SIZES[kind]
        else:
            break
    return found
