"""Packs Gemma's vocabulary for kimi_mitm/tokens/ranks, from the `tokenizer.json` that it is published with.

    python scripts/pack_gemma.py tokenizer.json gemma3.merges.xz

The format is that of the other rank files (see the README there). Pieces keep their order. Before them come
the characters, byte by byte, because tiktoken merges bytes; after them runs of newlines, tabs and blanks.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import re
import sys
from pathlib import Path
from typing import Any

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_LONGEST_RUN = 31


class Ranks:
    """Tokens in order, each of two earlier ones."""

    def __init__(self) -> None:
        self.found = {bytes([i]): i for i in range(256)}
        self.pairs: list[tuple[int, int]] = []

    def add(self, left: bytes, right: bytes) -> None:
        """Adds what two tokens make together, unless it is there."""
        if left + right not in self.found:
            self.pairs.append((self.found[left], self.found[right]))
            self.found[left + right] = len(self.found)

    def spell(self, text: bytes) -> None:
        """Adds a text byte by byte."""
        for size in range(2, len(text) + 1):
            self.add(text[: size - 1], text[size - 1 : size])


def pack(published: dict[str, Any]) -> bytes:
    """The rank file of a published tokenizer."""
    vocab: dict[str, int] = published["model"]["vocab"]
    added = {token["content"] for token in published["added_tokens"]}
    pieces = [piece for piece in sorted(vocab, key=vocab.__getitem__) if piece not in added]
    pieces = [piece for piece in pieces if not _BYTE.fullmatch(piece)]
    halves = _halves(published["model"]["merges"], vocab)
    ranks = Ranks()
    for piece in pieces:
        if len(piece) == 1:
            ranks.spell(_bytes(piece))
    for piece in pieces:
        if len(piece) > 1:
            left, right = halves[piece]
            ranks.add(_bytes(left), _bytes(right))
    for blank in (b"\n", b"\t", b" "):
        ranks.spell(blank * _LONGEST_RUN)
    planes = [
        bytes(pair[side] >> shift & 255 for pair in ranks.pairs) for side in (0, 1) for shift in (0, 8, 16)
    ]
    return lzma.compress(bytes(range(256)) + b"".join(planes), preset=9 | lzma.PRESET_EXTREME)


def _halves(merges: list[list[str]], vocab: dict[str, int]) -> dict[str, tuple[str, str]]:
    """Two pieces of each, such that both come before it; characters come before all."""

    def place(piece: str) -> int:
        return -1 if len(piece) == 1 else vocab[piece]

    found: dict[str, tuple[str, str]] = {}
    for left, right in merges:
        whole, latest = left + right, max(place(left), place(right))
        if latest < vocab[whole] and (whole not in found or latest < max(map(place, found[whole]))):
            found[whole] = left, right
    return found


def _bytes(piece: str) -> bytes:
    return piece.replace("\N{LOWER ONE EIGHTH BLOCK}", " ").encode()


def main() -> None:
    source, target = map(Path, sys.argv[1:])
    packed = pack(json.loads(source.read_text(encoding="utf-8")))
    target.write_bytes(packed)
    print(f"{len(packed)} bytes, SHA-256 {hashlib.sha256(packed).hexdigest()}")


if __name__ == "__main__":
    main()
