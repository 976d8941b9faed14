from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from typing import Any

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from kimi_mitm.wire.encoding import Decoder, decode_body

TEXT = b"data: " + bytes(range(32, 127)) * 200 + b"\n\n" + "Grüße ☃".encode() * 50
LIMIT = 10_000_000


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def checked_zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


PACKERS: dict[str, tuple[str | None, Callable[[bytes], bytes]]] = {
    "identity": (None, bytes),
    "gzip": ("gzip", gzip.compress),
    "gzip in members": ("gzip", lambda data: gzip.compress(data[:99]) + gzip.compress(data[99:])),
    "zlib": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
    "br": ("br", brotli.compress),
    "zstd": ("zstd", checked_zstd),
    "zstd in frames": ("zstd", lambda data: checked_zstd(data[:99]) + checked_zstd(data[99:])),
    "stacked": ("gzip, br", lambda data: brotli.compress(gzip.compress(data))),
    "twice": ("gzip, gzip", lambda data: gzip.compress(gzip.compress(data))),
    "upper case": (" BR ", brotli.compress),
    "identity beside": ("identity, gzip", gzip.compress),
    "gzip not labelled": (None, gzip.compress),
    "zlib not labelled": (None, zlib.compress),
    "zstd not labelled": ("identity", checked_zstd),
    "gzip labelled deflate": ("deflate", gzip.compress),
    "gzip labelled br": ("br", gzip.compress),
    "zstd labelled gzip": ("gzip", checked_zstd),
    "plain labelled gzip": ("gzip", bytes),
    "plain labelled br": ("br", bytes),
    "unknown label": ("compress", bytes),
    "br labelled gzip": ("gzip", brotli.compress),
    "br labelled zstd": ("zstd", brotli.compress),
    "br labelled deflate": ("deflate", brotli.compress),
}


def decode(data: bytes, encoding: str | None, piece: int, limit: int = LIMIT) -> tuple[bytes, Decoder]:
    decoder = Decoder(encoding, limit)
    made = b"".join(decoder.feed(data[start : start + piece]) for start in range(0, len(data), piece))
    return made + decoder.finish(), decoder


@pytest.mark.parametrize("piece", [1, 7, 1500, 1 << 20])
@pytest.mark.parametrize("how", PACKERS)
def test_every_encoding_is_undone(how: str, piece: int) -> None:
    encoding, pack = PACKERS[how]
    made, decoder = decode(pack(TEXT), encoding, piece)
    assert made == TEXT
    assert decoder.damaged is None
    assert not decoder.exceeded


@pytest.mark.parametrize("how", ["gzip", "zlib", "raw deflate", "br", "zstd"])
def test_what_a_server_flushes_is_seen_at_once(how: str) -> None:
    packers: dict[str, Callable[[], Any]] = {
        "gzip": lambda: zlib.compressobj(wbits=31),
        "zlib": zlib.compressobj,
        "raw deflate": lambda: zlib.compressobj(wbits=-15),
        "zstd": lambda: zstandard.ZstdCompressor().compressobj(),
    }
    event = b'data: {"choices": [{"delta": {"content": "hello"}}]}\n\n'
    if how == "br":
        packer = brotli.Compressor()
        flushed = [packer.process(event) + packer.flush(), packer.process(event) + packer.flush()]
    else:
        made = packers[how]()
        flush = zstandard.COMPRESSOBJ_FLUSH_BLOCK if how == "zstd" else zlib.Z_SYNC_FLUSH
        flushed = [made.compress(event) + made.flush(flush), made.compress(event) + made.flush(flush)]
    decoder = Decoder("deflate" if how in ("zlib", "raw deflate") else how, LIMIT)
    assert [decoder.feed(piece) for piece in flushed] == [event, event]


@pytest.mark.parametrize("how", ["gzip", "zlib", "zstd"])
@pytest.mark.parametrize("piece", [1, 100, 1 << 20])
def test_a_wrong_checksum_costs_no_byte(how: str, piece: int) -> None:
    encoding, pack = PACKERS[how]
    packed = bytearray(pack(TEXT))
    packed[-3] ^= 0xFF
    made, decoder = decode(bytes(packed), encoding, piece)
    assert decoder.damaged
    assert made == TEXT


@pytest.mark.parametrize("how", ["gzip", "zlib", "raw deflate", "br"])
@pytest.mark.parametrize("piece", [1, 100, 1 << 20])
def test_what_comes_before_the_damage_is_kept(how: str, piece: int) -> None:
    encoding, pack = PACKERS[how]
    data = b"".join(b"%d, " % number for number in range(5000))
    packed = bytearray(pack(data))
    middle = len(packed) // 2
    packed[middle:] = bytes(byte ^ 0x5A for byte in packed[middle:])
    made, _ = decode(bytes(packed), encoding, piece)
    assert made[: len(data) // 5] == data[: len(data) // 5]


@pytest.mark.parametrize("how", ["gzip", "zlib", "br"])
def test_what_was_sent_of_a_cut_body_is_kept(how: str) -> None:
    encoding, pack = PACKERS[how]
    data = b"".join(b"%d, " % number for number in range(5000))
    packed = pack(data)
    made, decoder = decode(packed[: len(packed) // 2], encoding, 1 << 20)
    assert data.startswith(made)
    assert len(made) > len(data) // 5
    assert decoder.damaged


@pytest.mark.parametrize("how", ["gzip", "zlib", "raw deflate", "br", "zstd", "stacked", "identity"])
@pytest.mark.parametrize("piece", [999, 1 << 24])
def test_a_bomb_ends_at_the_limit(how: str, piece: int) -> None:
    encoding, pack = PACKERS[how]
    made, decoder = decode(pack(b"x" * 30_000_000), encoding, piece, limit=1000)
    assert made == b"x" * 1000
    assert decoder.exceeded


def test_a_body_of_the_limit_does_not_exceed_it() -> None:
    decoded = decode_body(gzip.compress(b"x" * 1000), "gzip", 1000)
    assert decoded.data == b"x" * 1000
    assert not decoded.exceeded


def test_text_that_is_no_ascii_is_read_though_labelled_as_compressed() -> None:
    data = '{"名前": "値"}'.encode()
    for text in (data, b"\xef\xbb\xbf" + data, b"\r\n" + data):
        for label in ("gzip", "br", "zstd", "deflate"):
            assert decode_body(text, label, LIMIT).data == text


def test_an_empty_body_is_no_damage() -> None:
    decoded = decode_body(b"", "gzip", LIMIT)
    assert (decoded.data, decoded.damaged) == (b"", None)


def test_what_follows_the_end_of_the_data_is_passed_over() -> None:
    assert decode_body(gzip.compress(TEXT) + b"\0" * 30, "gzip", LIMIT).data == TEXT
    assert decode_body(checked_zstd(TEXT) + b"\0" * 30, "zstd", LIMIT).data == TEXT


def test_garbage_is_damage() -> None:
    decoded = decode_body(b"\xff\xfe\x00" * 50, "gzip", LIMIT)
    assert decoded.data == b""
    assert decoded.damaged


@given(
    st.binary(max_size=300),
    st.one_of(st.none(), st.sampled_from(["gzip", "deflate", "br", "zstd", "gzip,br"]), st.text(max_size=20)),
    st.integers(1, 40),
)
def test_no_bytes_raise(data: bytes, encoding: str | None, piece: int) -> None:
    decode(data, encoding, piece, limit=2000)


@given(st.binary(max_size=400), st.sampled_from(sorted(PACKERS)), st.integers(1, 300), st.integers(0, 2000))
def test_a_flipped_byte_does_not_raise(data: bytes, how: str, piece: int, place: int) -> None:
    encoding, pack = PACKERS[how]
    packed = bytearray(pack(data))
    if packed:
        packed[place % len(packed)] ^= 0x55
    decode(bytes(packed), encoding, piece)


@pytest.mark.parametrize("piece", [1, 5, 1000])
@pytest.mark.parametrize("label", [None, "gzip"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", ['{"a": "☃"}', '[{"a": "Grüße"}]'])
def test_utf_16_becomes_utf_8(text: str, encoding: str, label: str | None, piece: int) -> None:
    made, decoder = decode(text.encode(encoding), label, piece)
    assert made.removeprefix(b"\xef\xbb\xbf") == text.encode()
    assert decoder.damaged is None


@pytest.mark.parametrize("piece", [1, 1000, 1 << 20])
@pytest.mark.parametrize("label", ["gzip", "br", "zstd", "deflate"])
@pytest.mark.parametrize("start", ['{"名": "', '[\x01"', "{\x02", "data:\x00"])
def test_long_text_that_looks_like_no_text_is_read_though_labelled(
    start: str, label: str, piece: int
) -> None:
    text = start.encode() + "值 text ".encode() * 5000
    made, decoder = decode(text, label, piece)
    assert made == text or (decoder.damaged and label in ("br", "deflate"))
