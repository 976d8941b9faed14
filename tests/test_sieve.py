"""What of a head gets through to the engine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_mitm import link, sieve


def test_names_decide_whatever_their_case():
    kept, aside = sieve.sift([(b"User-Agent", b"a/1"), (b"COOKIE", b"x"), (b"Content-Type", b"text/plain")])

    assert kept == {"user-agent": "a/1", "content-type": "text/plain"}
    assert aside == {}


@pytest.mark.parametrize(
    "name",
    [
        "authorization",
        "proxy-authorization",
        "authentication",
        "x-api-key",
        "api-key",
        "x-goog-api-key",
        "ocp-apim-subscription-key",
        "x-amz-security-token",
        "cookie",
        "set-cookie",
        "x-anything-else",
    ],
)
def test_credentials_headers_do_not_get_through(name):
    kept, _ = sieve.sift([(name.encode(), b"secret"), (name.title().encode(), b"secret")])

    assert "secret" not in kept.values()


def test_what_the_recorder_reads_itself_is_set_aside():
    _, aside = sieve.sift([(b"Proxy-Authorization", b"Basic x"), (b"X-User-Id", b"alice")])

    assert aside == {"proxy-authorization": "Basic x", "x-user-id": "alice"}


def test_a_long_value_is_cut():
    kept, _ = sieve.sift([(b"user-agent", b"x" * 100_000)])

    assert len(kept["user-agent"]) == 8192


@given(st.lists(st.tuples(st.binary(max_size=30), st.binary(max_size=50)), max_size=20))
def test_any_head_gets_through_as_text_that_can_be_sent(fields):
    kept, _ = sieve.sift([*fields, (b"user-agent", b"\xff\xfe\xed\xa0\x80")])

    link.frame_head(link.Answered(n=1, at=0, status=200, headers=kept), 0)


def test_strange_names_do_not_fill_the_memory():
    sieve.sift([(f"x-{n}".encode(), b"") for n in range(20_000)])

    assert len(sieve._names) <= 4096


def test_keys_in_kept_values_are_masked_on_the_engines_side():
    head = link.Answered(n=1, at=0, status=200, headers={"x-request-id": "sk-abcdefghij0123456789ABCDEF"})

    assert sieve.masked(head).headers == {"x-request-id": "sk-[redacted]"}
    assert sieve.masked(head).n == 1
