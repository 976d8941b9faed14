"""YAML that any reader reads back as the same values."""

from __future__ import annotations

import io
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from kimi_mitm.archive.yaml_text import dump

_PIECES = st.sampled_from(
    [
        "\n",
        " ",
        "\t",
        "a",
        "- ",
        ": ",
        "#",
        "---",
        "...",
        "\r",
        "\x85",
        "\u2028",
        "\ufeff",
        "\x1b[0m",
        "|",
        "\0",
    ]
)
_TEXTS = st.one_of(
    st.text(), st.lists(_PIECES).map("".join), st.text(alphabet=" \n\ta"), st.text(alphabet="\n ab\x1b")
)
_SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), _TEXTS)
_DOCUMENTS = st.dictionaries(
    _TEXTS.filter(lambda key: len(key) < 100),
    st.recursive(
        _SCALARS,
        lambda inner: st.one_of(
            st.lists(inner, max_size=4),
            st.dictionaries(_TEXTS.filter(lambda key: len(key) < 100), inner, max_size=4),
        ),
        max_leaves=12,
    ),
    max_size=5,
)


def load(text):
    return YAML(typ="safe", pure=True).load(io.StringIO(text))


@settings(max_examples=600, deadline=None)
@given(_TEXTS)
@example("a\n  b \n\n\tc\n\n")
@example("  leading\nlines")
@example("\n\nafter two")
@example("trailing\n ")
@example("yes")
@example("1e3")
@example("012")
@example("2026-03-01")
@example("colour \x1b[31mred\n  indented\n\ttab\n")
def test_text_reads_back_as_it_was(text):
    assert load(dump({"outer": [{"text": text}, text], "text": text})) == {
        "outer": [{"text": text}, text],
        "text": text,
    }


@settings(max_examples=200, deadline=None)
@given(_DOCUMENTS)
def test_any_document_reads_back_as_it_was(document):
    assert load(dump(document)) == document


@pytest.mark.parametrize("number", [1e300, 1e-7, 5e-324, 1.5e16, -0.0, 1e22, 12345678901234567890])
def test_a_number_stays_the_number_it_was(number):
    read = load(dump({"number": number}))["number"]

    assert (read, type(read)) == (number, type(number))


def test_lines_stay_lines_even_beside_control_characters():
    text = dump({"plain": "one\ntwo\n", "coloured": "\x1b[31mone\n  two\n"})

    assert text == 'plain: |\n  one\n  two\ncoloured: "\\x1b[31mone\\n\\\n  \\  two\\n\\\n  "\n'


def test_a_lone_surrogate_becomes_a_replacement_character():
    assert load(dump({"text": "a\ud800b"})) == {"text": "a\ufffdb"}


def test_ten_megabytes_take_no_seconds():
    turns = [{"role": "user", "text": "a line of some length, with text in it\n" * 250} for _ in range(1000)]

    started = time.process_time()
    text = dump({"turns": turns})

    assert len(text) > 9_000_000
    assert time.process_time() - started < 2
