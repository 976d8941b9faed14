"""Gemini's text is counted as Gemma's published tokenizer counts it."""

from __future__ import annotations

import hashlib
import json
import runpy
from pathlib import Path
from typing import Any

import pytest
import tiktoken

from kimi_mitm.tokens import gemma, tokenizer

PACK = Path(__file__).parents[2] / "scripts" / "pack_gemma.py"


def count(text: str) -> int:
    """Tokens in Gemma's encoding."""
    return tokenizer.count(text, tokenizer.GEMMA)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("What is your name?", 5),
        ("Hello, world!", 4),
        ("The quick brown fox jumps over the lazy dog.", 10),
        ("12345 and 3.14159", 14),
        ("def f(x: int) -> int:\n    if x > 1:\n        return x * f(x - 1)\n    return 1\n", 36),
        ("日本語のテキスト、東京は大きい都市です。", 10),
        ("Größe, Привет мир, ¿qué tal?", 12),
        ('{"city":"San Francisco","unit":"celsius","days":[1,2,3]}', 19),
        (" leading and trailing ", 4),
        ("😀🚀", 2),
        ("x" * 50, 7),
        ("", 0),
    ],
)
def test_counts_are_those_of_the_published_tokenizer(text: str, tokens: int) -> None:
    """Figures of Hugging Face's `tokenizers` with the `tokenizer.json` of google/gemma-3; the first is also
    the example in Google's SDK."""
    assert count(text) == tokens


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("a  b   c\t\td\n\n\n\ne", 9),
        (" " * 40 + "x", 3),
        ("\n" * 62, 2),
        ("<table><tr><td>1</td></tr></table>", 7),
        ("<tablet>", 3),
    ],
)
def test_runs_of_blanks_and_tags_are_one_token_each(text: str, tokens: int) -> None:
    """Up to 31 blanks of a kind; what only begins like a tag is text."""
    assert count(text) == tokens


def test_a_character_out_of_the_vocabulary_counts_its_bytes_at_most() -> None:
    """SentencePiece has one token a byte for it."""
    assert 2 <= count("\N{EGYPTIAN HIEROGLYPH A001}") <= 4


def test_a_published_tokenizer_is_packed_piece_by_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The packed file has the pieces in their order, and what isn't made of earlier ones is left out."""
    pieces = ["<pad>", "<0x41>", "ab", "▁ab", "a", "b", "▁", "é"]
    published: dict[str, Any] = {
        "added_tokens": [{"content": "<pad>"}],
        "model": {
            "vocab": {piece: place for place, piece in enumerate(pieces)},
            "merges": [["a", "b"], ["▁", "ab"], ["▁a", "b"]],
        },
    }
    published["model"]["vocab"]["▁a"] = 99
    published["model"]["merges"].insert(2, ["▁", "a"])

    packed = runpy.run_path(str(PACK))["pack"](json.loads(json.dumps(published)))

    folder = tmp_path / "ranks"
    folder.mkdir()
    (folder / "gemma3.merges.xz").write_bytes(packed)
    monkeypatch.setattr(tokenizer.resources, "files", lambda package: tmp_path)
    monkeypatch.setitem(tokenizer._HASHES, tokenizer.GEMMA, hashlib.sha256(packed).hexdigest())
    ranks = tokenizer.ranks(tokenizer.GEMMA)
    assert list(ranks)[256:260] == ["é".encode(), b"ab", b" ab", b" a"]
    encoding = tiktoken.Encoding("tiny", pat_str=gemma.PATTERN, mergeable_ranks=ranks, special_tokens={})
    assert encoding.encode_ordinary("ab ab") == [ranks[b"ab"], ranks[b" ab"]]
