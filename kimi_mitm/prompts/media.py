"""Size of an image in pixels, or of a document in pages, read from the head of its bytes.

Formats: PNG (ISO/IEC 15948), GIF89a, JPEG (ITU-T T.81, SOF markers), WebP (RIFF; VP8, VP8L, VP8X), BMP,
PDF (ISO 32000-1: page objects, page tree counts), and the length of WAV, MP3, MP4 (ISO/IEC 14496-12).
Whatever bytes come, the answer is a `Media`.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
import zlib
from dataclasses import dataclass

import xxhash

from kimi_mitm.prompts import office
from kimi_mitm.records import Part, PartKind

_MP3_RATES_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0)
_MP3_RATES_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0)
_MAX_STREAMS = 400
_MAX_INFLATED = 2_000_000
_PAGE = re.compile(rb"/Type\s*/Page(?![a-zA-Z])")
_COUNT = re.compile(rb"/Count\s+(\d{1,6})")
_STREAM = re.compile(rb"/ObjStm\b.{0,400}?stream\r?\n", re.DOTALL)
_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)?[^,]{0,200},")
_TEXTS = frozenset(
    {"application/json", "application/csv", "application/xml", "application/txt", "application/md"}
)
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
    """Reads the head of an image, a sound, a film or a PDF."""
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
    if data[4:8] == b"ftyp":
        return Media("video/mp4", seconds=_mp4_seconds(data))
    if data.startswith(b"ID3") or data[:2] in (b"\xff\xfb", b"\xff\xf3", b"\xff\xf2", b"\xff\xfa"):
        return Media("audio/mpeg", seconds=_mp3_seconds(data))
    if data[:1024].lstrip()[:5] == b"%PDF-":
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


def _mp4_seconds(data: bytes) -> float | None:
    at = data.find(b"mvhd")
    if at < 0:
        return None
    if data[at + 4] == 1:
        scale, duration = struct.unpack(">IQ", data[at + 24 : at + 36])
    else:
        scale, duration = struct.unpack(">II", data[at + 16 : at + 24])
    return float(duration / scale)


def _mp3_seconds(data: bytes) -> float | None:
    """By the first frame's bit rate (MPEG 1 and 2, layer III), as if it held throughout."""
    at = 0
    if data.startswith(b"ID3"):
        at = 10 + (data[6] << 21 | data[7] << 14 | data[8] << 7 | data[9])
    while at + 3 < len(data) and not (data[at] == 0xFF and data[at + 1] & 0xE6 == 0xE2):
        at += 1
    version_1 = bool(data[at + 1] & 0x08)
    kilobits = (_MP3_RATES_1 if version_1 else _MP3_RATES_2)[data[at + 2] >> 4]
    return (len(data) - at) / (kilobits * 125) if kilobits else None


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
        seconds=seen.seconds,
        text=_text(raw) if _is_text(mime) else office.text_of(raw),
        detail=detail,
        name=name,
        digest=xxhash.xxh3_128_hexdigest(raw),
    )


def _is_text(mime: str | None) -> bool:
    return bool(mime) and (str(mime).startswith("text/") or mime in _TEXTS)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _decoded(data: str) -> bytes:
    """Standard or URL-safe base64; what is neither is measured as it stands."""
    data = data.strip().replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(data + "=" * (-len(data) % 4))
    except (binascii.Error, ValueError):
        return data.encode("utf-8", "replace")


def _kind(mime: str | None) -> PartKind:
    return _KINDS.get((mime or "").split("/")[0], PartKind.FILE)
