"""Content codings applied piece by piece, as servers flush them."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

import brotli
import zstandard

CODINGS = ("identity", "gzip", "deflate", "br", "zstd")


def encoded(coding: str, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Each piece coded and flushed, then the coding's own end."""
    match coding:
        case "gzip" | "deflate":
            squeeze = zlib.compressobj(wbits=31 if coding == "gzip" else 15)
            for piece in pieces:
                yield squeeze.compress(piece) + squeeze.flush(zlib.Z_SYNC_FLUSH)
            yield squeeze.flush()
        case "br":
            press = brotli.Compressor()
            for piece in pieces:
                yield press.process(piece) + press.flush()
            yield press.finish()
        case "zstd":
            pack = zstandard.ZstdCompressor().compressobj()
            for piece in pieces:
                yield pack.compress(piece) + pack.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
            yield pack.flush()
        case _:
            yield from pieces
