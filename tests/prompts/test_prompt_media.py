"""Sizes are read from the heads of images, sounds, films and documents."""

from __future__ import annotations

import base64
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_mitm.prompts.blocks import content
from kimi_mitm.prompts.media import measure, media_part
from kimi_mitm.records import PartKind

JPEG = b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0\xff\xc0\0\x11\x08\x01\x02\x03\x04\x03" + b"\0" * 20
WEBP_X = b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + (99).to_bytes(3, "little") + (49).to_bytes(3, "little")
WEBP_L = b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2f" + (99 | 49 << 14).to_bytes(4, "little")
WEBP = b"RIFF\0\0\0\0WEBPVP8 \0\0\0\0\0\0\0\x9d\x01\x2a" + struct.pack("<HH", 100, 50)
WAV = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0" + struct.pack("<II", 8000, 16000) + b"\0" * 12 + b"\0" * 32000


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 640, 480), (640, 480)),
        (b"GIF89a" + struct.pack("<HH", 3, 4), (3, 4)),
        (JPEG, (0x0304, 0x0102)),
        (WEBP, (100, 50)),
        (WEBP_X, (100, 50)),
        (WEBP_L, (100, 50)),
        (b"BM" + b"\0" * 16 + struct.pack("<ii", 7, -8), (7, 8)),
    ],
)
def test_pixel_sizes(data: bytes, size: tuple[int, int]) -> None:
    """Every image format that models take."""
    seen = measure(data)

    assert (seen.width, seen.height) == size


def test_pages_are_counted_where_they_stand_open_and_where_they_are_packed() -> None:
    """Page objects may be inside compressed object streams."""
    pages = b"1 0 obj << /Type /Page >> endobj " * 3 + b"<< /Type /Pages /Count 3 >>"
    packed = b"<< /Type /ObjStm /Length 9 >> stream\n" + zlib.compress(pages) + b"\nendstream"

    assert measure(b"%PDF-1.4\n" + pages).pages == 3
    assert measure(b"%PDF-1.5\n" + packed).pages == 3


def test_seconds_of_sound_and_film() -> None:
    """WAV by its byte rate, MP4 by its movie header."""
    film = (
        b"\0\0\0\x18ftypmp42"
        + b"\0" * 8
        + b"moov\0\0\0\x6cmvhd"
        + b"\0" * 12
        + struct.pack(">II", 1000, 2500)
    )

    assert measure(WAV).seconds == pytest.approx(2.0)
    assert measure(film).seconds == pytest.approx(2.5)


def test_url_safe_base64_is_read_too() -> None:
    """Google's clients send it."""
    data = b"%PDF-1.4 /Type /Page " + bytes(range(256))

    part = media_part(base64.urlsafe_b64encode(data).decode(), mime="application/pdf")

    assert (part.size, part.pages) == (len(data), 1)


def test_an_address_is_remote() -> None:
    """Nobody fetches it."""
    part = media_part("https://example.com/cat.png", mime="image/*")

    assert part.remote
    assert part.kind is PartKind.IMAGE


@given(
    st.sampled_from(
        [
            b"\x89PNG\r\n\x1a\n",
            b"GIF89a",
            b"\xff\xd8",
            b"RIFF0000WEBP",
            b"BM",
            b"RIFF0000WAVE",
            b"0000ftyp",
            b"ID3",
            b"%PDF-",
        ]
    ),
    st.binary(max_size=200),
)
def test_no_head_is_too_damaged(head: bytes, rest: bytes) -> None:
    """Whatever follows the magic bytes, there is an answer."""
    measure(head + rest)


def test_a_file_in_a_link_is_a_file() -> None:
    """Perplexity takes a document's base64 where an address may stand."""
    data = base64.b64encode(b"PK\x03\x04" + bytes(range(200))).decode()
    block = {"type": "file_url", "file_url": {"url": data}}

    (part,) = content([block])

    assert (part.kind, part.size, part.text) == (PartKind.FILE, 204, "")
