"""What a content encoding's data is decoded with: one small object per stream, for `encoding`."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Protocol

import brotli  # type: ignore[import-untyped]
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
}
"""Encoding → its decoders; where there are several, the first that doesn't fail at the start."""

MAGIC: Mapping[int, tuple[tuple[bytes, str], ...]] = {
    0x1F: ((_GZIP, "gzip"),),
    0x28: ((_ZSTD, "zstd"),),
    0x78: (
        (b"\x78\x01", "deflate"),
        (b"\x78\x5e", "deflate"),
        (b"\x78\x9c", "deflate"),
        (b"\x78\xda", "deflate"),
    ),
}
"""First byte → starts of streams that tell their encoding by themselves."""

ERRORS = (zlib.error, brotli.error, zstandard.ZstdError)
"""What a codec raises for damaged data."""
