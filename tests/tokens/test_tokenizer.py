"""Tokens are counted offline, whatever the text."""

from __future__ import annotations

import base64
import hashlib
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kimi_mitm.tokens import tokenizer

PUBLISHED = {
    "cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    "o200k_base": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_ranks_are_the_published_ones(name: str) -> None:
    """The file that OpenAI publishes is rebuilt byte for byte."""
    lines = (base64.b64encode(token) + b" %d\n" % rank for token, rank in tokenizer.ranks(name).items())

    assert hashlib.sha256(b"".join(lines)).hexdigest() == PUBLISHED[name]


@pytest.mark.parametrize(
    ("name", "text", "tokens"),
    [
        ("o200k_base", "hello world", 2),
        ("cl100k_base", "hello world", 2),
        ("o200k_base", "<|endoftext|>", 7),
        ("o200k_base", "", 0),
        ("o200k_base", "Größe 漢字 \ud800", 6),
    ],
)
def test_known_counts(name: str, text: str, tokens: int) -> None:
    """Special tokens in a text are text."""
    assert tokenizer.count(text, name) == tokens


def test_no_network_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An encoding that isn't loaded yet loads with every socket refused."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("counting went to the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    tokenizer._load.cache_clear()

    assert tokenizer.count("hello world", "cl100k_base") == 2


def test_a_million_blanks_do_not_panic() -> None:
    """tiktoken's regex gives up on runs that long; pieces keep them short."""
    assert tokenizer.count(" " * 1_100_000 + "x") > 1000


def test_a_panic_is_caught_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a BaseException; interrupts still pass."""

    class PanicException(BaseException):
        pass

    def panic(text: str) -> list[int]:
        raise PanicException("out of stack")

    def interrupt(text: str) -> list[int]:
        raise KeyboardInterrupt

    assert tokenizer._count_piece(panic, "a" * 400) == 101
    with pytest.raises(KeyboardInterrupt):
        tokenizer._count_piece(interrupt, "a")


def test_damaged_ranks_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong ranks would give wrong counts in silence."""
    monkeypatch.setitem(tokenizer._HASHES, "o200k_base", "0" * 64)

    with pytest.raises(tokenizer.RanksError, match="o200k_base"):
        tokenizer.ranks("o200k_base")


@given(st.text(max_size=200), st.integers(1, 600))
@settings(deadline=None, max_examples=50)
def test_pieces_are_the_text(text: str, times: int) -> None:
    """Nothing is lost where a text is cut, and no piece is too long."""
    long = text * times

    pieces = list(tokenizer.pieces(long))

    assert "".join(pieces) == long
    assert all(len(piece) <= 20_000 for piece in pieces)


def test_cutting_hardly_changes_a_count() -> None:
    """Pieces end at line ends."""
    text = "".join(f"def f{i}(x: int) -> int:\n    return x + {i}\n\n" for i in range(3000))
    whole = len(tokenizer._load("o200k_base").encode_ordinary(text))

    assert abs(tokenizer.count(text) - whole) <= 2e-4 * whole
