"""What a content encoding's data is decoded with: one small object per stream, for `encoding`."""

from __future__ import annotations

import codecs
import zlib
from collections.abc import Callable, Mapping
from typing import Protocol

import brotli  # type: ignore[import-untyped]  # it comes without types
import zstandard

_GZIP = b"\x1f\x8b\x08"
_ZSTD = b"\x28\xb5\x2f\xfd"
_ANY_HEADER = 32 + zlib.MAX_WBITS
"""zlib looks for gzip's header and for its own."""


class Codec(Protocol):
    """Decodes a stream; `decode` raises one of `ERRORS` for damaged data."""

    def decode(self, data: bytes, room: int) -> bytes:
        """Gives what `data` adds, about `room` bytes at most: what is over is lost."""

    def ended(self) -> bool:
        """True once the stream has come to its end."""


_ENOUGH = 8
"""Decoded bytes that tell text from garbage."""

type Make = Callable[[], Codec]


class _Zlib:
    """Several gzip members one after the other are one stream; whatever else follows an end is no data."""

    __slots__ = ("_object", "_wbits")

    def __init__(self, wbits: int) -> None:
        self._wbits = wbits
        self._object = zlib.decompressobj(wbits)

    def decode(self, data: bytes, room: int) -> bytes:
        if self._object.eof:
            data = self._object.unused_data + data
            if not data.startswith(_GZIP[: len(data)]):
                return b""
            self._object = zlib.decompressobj(self._wbits)
        made = self._object.decompress(data, room)
        while self._object.eof and self._object.unused_data.startswith(_GZIP) and len(made) < room:
            rest = self._object.unused_data
            self._object = zlib.decompressobj(self._wbits)
            made += self._object.decompress(rest, room - len(made))
        return made

    def ended(self) -> bool:
        return self._object.eof


class _Brotli:
    __slots__ = ("_object",)

    def __init__(self) -> None:
        self._object = brotli.Decompressor()

    def decode(self, data: bytes, room: int) -> bytes:
        if self._object.is_finished():
            return b""
        made: bytes = self._object.process(data, output_buffer_limit=room)
        return made

    def ended(self) -> bool:
        return bool(self._object.is_finished())


class _Zstd:
    """Frames one after the other are one stream."""

    __slots__ = ("_object",)

    def __init__(self) -> None:
        self._object = zstandard.ZstdDecompressor().decompressobj()

    def decode(self, data: bytes, room: int) -> bytes:
        made = b""
        while data and len(made) < room:
            if self._object.eof:
                if not data.startswith(_ZSTD[: len(data)]):
                    break
                self._object = zstandard.ZstdDecompressor().decompressobj()
            made += self._object.decompress(data)
            data = self._object.unused_data if self._object.eof else b""
        return made

    def ended(self) -> bool:
        return self._object.eof


class _GuessedBrotli(_Brotli):
    """Brotli under another label: it has no mark of its own, so what comes out must look like an answer."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        super().__init__()
        self._seen = b""

    def decode(self, data: bytes, room: int) -> bytes:
        made = super().decode(data, room)
        if len(self._seen) < _ENOUGH:
            self._seen = (self._seen + made[:_ENOUGH]).lstrip()
            if not self._seen.startswith(STARTS) and not any(s.startswith(self._seen) for s in STARTS):
                raise brotli.error("no text")
        return made


class _Text:
    """Text in another Unicode encoding than UTF-8."""

    __slots__ = ("_object",)

    def __init__(self, name: str) -> None:
        self._object = codecs.getincrementaldecoder(name)("replace")

    def decode(self, data: bytes, room: int) -> bytes:
        return self._object.decode(data).encode("utf-8", "replace")

    def ended(self) -> bool:
        return True


def _zlib() -> Codec:
    return _Zlib(_ANY_HEADER)


def _raw_deflate() -> Codec:
    return _Zlib(-zlib.MAX_WBITS)


CODECS: Mapping[str, tuple[Make, ...]] = {
    "gzip": (_zlib,),
    "x-gzip": (_zlib,),
    "deflate": (_zlib, _raw_deflate),
    "br": (_Brotli,),
    "zstd": (_Zstd,),
    "utf-16": (lambda: _Text("utf-16"),),
    "utf-16le": (lambda: _Text("utf-16-le"),),
    "utf-16be": (lambda: _Text("utf-16-be"),),
}
"""Encoding → its decoders; where there are several, the first that doesn't fail at the start."""

GUESSED: Make = _GuessedBrotli
"""What is tried when a label is wrong and the first bytes don't tell the encoding."""

STARTS = (b"{", b"[", b"data:", b"event:", b"id:", b":", b"\xef\xbb\xbf")
"""How an answer begins that is text."""

MAGIC: Mapping[int, tuple[tuple[bytes, str], ...]] = {
    0x00: ((b"\0{\0", "utf-16be"), (b"\0[\0", "utf-16be")),
    0x1F: ((_GZIP, "gzip"),),
    0x28: ((_ZSTD, "zstd"),),
    0x78: (
        (b"\x78\x01", "deflate"),
        (b"\x78\x5e", "deflate"),
        (b"\x78\x9c", "deflate"),
        (b"\x78\xda", "deflate"),
    ),
    0x5B: ((b"[\0", "utf-16le"),),
    0x7B: ((b"{\0", "utf-16le"),),
    0xFE: tuple((b"\xfe\xff\0" + first, "utf-16") for first in (b"{", b"[", b"d", b"e")),
    0xFF: tuple((b"\xff\xfe" + first + b"\0", "utf-16") for first in (b"{", b"[", b"d", b"e")),
}
"""First byte → starts of streams that tell their encoding by themselves."""

ERRORS = (zlib.error, brotli.error, zstandard.ZstdError)
"""What a codec raises for damaged data."""
