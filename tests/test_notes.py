from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from mitmproxy.utils.emoji import emoji

from kimi_mitm import notes
from kimi_mitm.records import Composition, EstimateKind, Exchange, Operation, Problem, Source

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
STARTED = Exchange(
    id="x1",
    flow_id="f1",
    started_at=AT,
    client="codex",
    provider="openai",
    model="gpt-5",
    operation=Operation.CHAT,
    session_id="s_14ffee00112233445566",
    estimated_input_tokens=12_400,
    estimate_kind=EstimateKind.CALIBRATED,
    composition=Composition(system=2_400, user=10_000),
    context_window=20_000,
    context_percent=62.0,
)
SETTLED = replace(
    STARTED,
    input_tokens=12_900,
    output_tokens=540,
    is_estimated=False,
    source=Source.USAGE,
    cost_usd=Decimal("0.0412"),
)


def test_a_comment_has_the_numbers_first() -> None:
    assert notes.comment(STARTED) == "≈12.4k · 62 % · gpt-5 · s_14ffee"
    assert notes.comment(SETTLED) == "12.4k→12.9k+540 · $0.041 · 62 % · gpt-5 · s_14ffee"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"estimated_input_tokens": None, "context_percent": None}, "12.9k+540 · $0.041"),
        ({"input_tokens": None, "output_tokens": None, "is_estimated": True, "cost_usd": None}, "≈12.4k · "),
        ({"error": Problem("rate_limit", "slow down"), "output_tokens": None}, "error: rate_limit"),
        ({"model": None, "response_model": "gpt-5-mini"}, "gpt-5-mini"),
        ({"model": None}, "· openai ·"),
    ],
)
def test_a_comment_leaves_out_what_is_unknown(changes: dict[str, Any], expected: str) -> None:
    assert expected in notes.comment(replace(SETTLED, **changes))


def test_an_unreadable_exchange_has_a_dash_for_numbers() -> None:
    unread = Exchange(id="x", started_at=AT, provider="cursor", operation=Operation.OTHER)

    assert notes.comment(unread) == "– · cursor"


@pytest.mark.parametrize("marker", [*notes.MARKERS.values(), notes.OTHER_MARKER])
def test_every_marker_is_one_that_mitmproxy_can_show(marker: str) -> None:
    assert marker in emoji


def test_the_marker_tells_the_provider() -> None:
    assert notes.note_of(STARTED, settled=False).marker == ":green_circle:"
    assert notes.note_of(replace(STARTED, provider="somebody"), settled=False).marker == ":robot:"


def test_metadata_is_flat_and_plain_and_leaves_out_the_unknown() -> None:
    found = notes.metadata(SETTLED, settled=True)

    assert all(key.startswith("kimi.") for key in found)
    assert all(type(value) in (str, int, float, bool) for value in found.values())
    assert found["kimi.provider"] == "openai"
    assert found["kimi.session"] == "s_14ffee00112233445566"
    assert found["kimi.cost_usd"] == "0.0412"
    assert found["kimi.part.system"] == 2_400
    assert "kimi.part.tools" not in found
    assert "kimi.cache_read_tokens" not in found


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "reported"),
        ({"via": "logs"}, "reported, by logs"),
        ({"is_estimated": True, "source": Source.HYBRID}, "fused: hybrid"),
        ({"is_estimated": True, "source": Source.PROXY}, "calibrated estimate"),
        ({"is_estimated": True, "source": Source.PROXY, "estimate_kind": None}, "unknown"),
    ],
)
def test_a_figure_says_where_it_comes_from(changes: dict[str, Any], words: str) -> None:
    assert notes.origin(replace(SETTLED, **changes)) == words


def test_only_a_settled_exchange_has_a_line() -> None:
    assert notes.note_of(STARTED, settled=False).line is None
    assert notes.note_of(SETTLED, settled=True).line == (
        "codex → openai 12.4k→12.9k+540 · $0.041 · 62 % · gpt-5 · s_14ffee (reported)"
    )


def test_an_exchange_read_again_is_shown_on_the_flow_that_holds_it_now() -> None:
    note = notes.note_again(SETTLED, "f2")

    assert (note.flow_id, note.line, note.settled) == ("f2", None, True)
    assert note.metadata == notes.metadata(SETTLED, settled=True)


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        (0, "0"),
        (987, "987"),
        (12_400, "12.4k"),
        (999_949, "999.9k"),
        (999_950, "1.00M"),
        (1_234_567, "1.23M"),
    ],
)
def test_tokens_in_short(tokens: int, text: str) -> None:
    assert notes.short(tokens) == text


@pytest.mark.parametrize(
    ("amount", "text"),
    [("0", "$0"), ("0.00001", "<$0.0001"), ("0.0412", "$0.041"), ("0.5", "$0.50"), ("12.345", "$12.34")],
)
def test_dollars_in_short(amount: str, text: str) -> None:
    assert notes.dollars(Decimal(amount)) == text


def test_every_key_is_in_the_docs() -> None:
    docs = (Path(__file__).parents[1] / "docs" / "mitmproxy.md").read_text(encoding="utf-8")
    parts = dict.fromkeys((field.name for field in fields(Composition)), 1)
    plain: dict[str, Any] = dict.fromkeys(notes._PLAIN, 1)
    whole = replace(SETTLED, **plain, composition=Composition(**parts), error=Problem("x", "y"))

    assert [key for key in notes.metadata(whole, settled=True) if f"`{key}`" not in docs] == []
    assert [mark for mark in notes.MARKERS.values() if emoji[mark] not in docs] == []
