"""Size of an image in pixels, or of a document in pages, read from the head of its bytes.

Formats: PNG (ISO/IEC 15948), GIF89a, JPEG (ITU-T T.81, SOF markers), WebP (RIFF; VP8, VP8L, VP8X), BMP,
PDF (ISO 32000-1: page objects, page tree counts). Whatever bytes come, the answer is a `Media`.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
import zlib
from dataclasses import dataclass

import xxhash

from kimi_mitm.records import Part, PartKind

_MAX_STREAMS = 400
_MAX_INFLATED = 2_000_000
_PAGE = re.compile(rb"/Type\s*/Page(?![a-zA-Z])")
_COUNT = re.compile(rb"/Count\s+(\d{1,6})")
_STREAM = re.compile(rb"/ObjStm\b.{0,400}?stream\r?\n", re.DOTALL)
_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)?[^,]{0,200},")
_KINDS = {"image": PartKind.IMAGE, "audio": PartKind.AUDIO, "video": PartKind.VIDEO}


@dataclass(frozen=True, slots=True)
class Media:
    """What the bytes of a medium tell of its size; None where they don't."""

    mime: str | None = None
    width: int | None = None
    height: int | None = None
    pages: int | None = None
    seconds: float | None = None


def measure(data: bytes) -> Media:
    """Reads the head of an image, WAV or PDF."""
    try:
        return _measure(data)
    except (struct.error, IndexError, ValueError, ZeroDivisionError):
        return Media()


def _measure(data: bytes) -> Media:
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return Media("image/png", *struct.unpack(">II", data[16:24]))
    if data.startswith((b"GIF87a", b"GIF89a")):
        return Media("image/gif", *struct.unpack("<HH", data[6:10]))
    if data.startswith(b"\xff\xd8"):
        return _jpeg(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp(data)
    if data.startswith(b"BM"):
        width, height = struct.unpack("<ii", data[18:26])
        return Media("image/bmp", width, abs(height))
    if data.startswith(b"RIFF") and data[8:12] == b"WAVE":
        return Media("audio/wav", seconds=_wav_seconds(data))
    if data.lstrip()[:5] == b"%PDF-":
        return Media("application/pdf", pages=_pdf_pages(data))
    return Media()


def _jpeg(data: bytes) -> Media:
    at = 2
    while at + 9 < len(data):
        if data[at] != 0xFF:
            at += 1
            continue
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return Media("image/jpeg", width, height)
        if marker in (0xFF, 0x01) or 0xD0 <= marker <= 0xD8:
            at += 1 if marker == 0xFF else 2
            continue
        at += 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
    return Media("image/jpeg")


def _webp(data: bytes) -> Media:
    kind = data[12:16]
    if kind == b"VP8X":
        width = 1 + int.from_bytes(data[24:27], "little")
        return Media("image/webp", width, 1 + int.from_bytes(data[27:30], "little"))
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return Media("image/webp", 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
    width, height = struct.unpack("<HH", data[26:30])
    return Media("image/webp", width & 0x3FFF, height & 0x3FFF)


def _wav_seconds(data: bytes) -> float:
    rate = int(struct.unpack("<I", data[28:32])[0])
    return (len(data) - 44) / rate


def _pdf_pages(data: bytes) -> int | None:
    if pages := len(_PAGE.findall(data)):
        return pages
    inflated = 0
    for number, match in enumerate(_STREAM.finditer(data)):
        if number >= _MAX_STREAMS or inflated > _MAX_INFLATED:
            break
        try:
            text = zlib.decompressobj().decompress(data[match.end() :], _MAX_INFLATED)
        except zlib.error:
            continue
        inflated += len(text)
        pages += len(_PAGE.findall(text))
    counts = [int(count) for count in _COUNT.findall(data)]
    return pages or max(counts, default=0) or None


def media_part(
    data: str | None, *, mime: str | None = None, detail: str | None = None, name: str | None = None
) -> Part:
    """The part for base64 data, a data URL, or an address (then `remote`)."""
    if not data:
        return Part(kind=_kind(mime), mime=mime, name=name, detail=detail, remote=True)
    if url := _DATA_URL.match(data[:400]):
        mime, data = url[1] or mime, data[url.end() :]
    elif re.match(r"[a-zA-Z][a-zA-Z0-9+.-]{1,20}://", data):
        return Part(kind=_kind(mime), mime=mime, name=name, detail=detail, remote=True)
    raw = _decoded(data)
    seen = measure(raw)
    mime = seen.mime or mime
    return Part(
        kind=_kind(mime),
        mime=mime,
        size=len(raw),
        width=seen.width,
        height=seen.height,
        pages=seen.pages,
        detail=detail,
        name=name,
        digest=xxhash.xxh3_128_hexdigest(raw),
    )


def _decoded(data: str) -> bytes:
    data = data.strip()
    for altchars in (None, b"-_"):
        try:
            return base64.b64decode(data + "=" * (-len(data) % 4), altchars, validate=altchars is not None)
        except (binascii.Error, ValueError):
            continue
    return data.encode("utf-8", "replace")


def _kind(mime: str | None) -> PartKind:
    return _KINDS.get((mime or "").split("/")[0], PartKind.FILE)
