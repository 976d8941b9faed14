"""What an exchange cost, and how large its model's context is: the operator's price or none."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from kimi_mitm.prices import context_window, cost
from kimi_mitm.records import Usage

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
THOUSAND = Usage(input_tokens=1000, output_tokens=100)


def test_cached_tokens_are_part_of_the_input() -> None:
    usage = Usage(input_tokens=1000, output_tokens=100, cache_read_tokens=400, cache_write_tokens=200)

    got = cost(usage, "claude-sonnet-4-5", "anthropic", "anthropic", AT)

    assert got == Decimal("0.003") * 400 / 1000 + Decimal("0.0003") * 400 / 1000 + (
        Decimal("0.00375") * 200 / 1000 + Decimal("0.0015")
    )


@pytest.mark.parametrize(
    ("model", "provider", "served_by", "expected"),
    [
        ("gpt-4o", "openai", "openai", "0.0035"),
        ("gpt-4o", "openai", "azure", "0.0035"),
        ("openai/gpt-4o", "openai", None, "0.0035"),
        ("models/gemini-2.5-pro", "google", "google", "0.00225"),
        ("publishers/anthropic/models/claude-sonnet-4-5@20250929", "anthropic", "google", "0.0045"),
        ("kimi-k2.5", "moonshotai", "moonshotai", "0.0009"),
        ("glm-4.6", "zai", "zai", "0.00082"),
    ],
)
def test_whoever_operates_the_host_sends_the_bill(
    model: str, provider: str, served_by: str | None, expected: str
) -> None:
    assert cost(THOUSAND, model, provider, served_by, AT) == Decimal(expected)


def test_a_region_of_bedrock_has_its_own_price() -> None:
    model = "anthropic.claude-sonnet-4-5-20250929-v1:0"

    regional = cost(THOUSAND, f"us.{model}", "anthropic", "aws", AT)
    everywhere = cost(THOUSAND, f"global.{model}", "anthropic", "aws", AT)

    assert regional is not None
    assert everywhere is not None
    assert regional > everywhere


@pytest.mark.parametrize(
    ("model", "provider", "served_by"),
    [
        ("gpt-4o", "openai", "kilo"),
        ("kimi-k2.5", "nvidia", "nvidia"),
        ("llama3", "meta", "ollama"),
        ("kimi-for-coding", "moonshotai", "moonshotai"),
        ("my-deployment", "azure", "azure"),
        ("gpt-4o", "unknown", None),
        ("", "openai", "openai"),
        (None, "openai", "openai"),
        ("no-such-model", "openai", "openai"),
    ],
)
def test_no_price_is_no_guess(model: str | None, provider: str, served_by: str | None) -> None:
    assert cost(THOUSAND, model, provider, served_by, AT) is None


@pytest.mark.parametrize(
    "usage",
    [
        Usage(),
        Usage(output_tokens=5),
        Usage(input_tokens=10),
        Usage(input_tokens=10, output_tokens=1, cache_read_tokens=500),
        Usage(input_tokens=-1, output_tokens=1),
    ],
)
def test_figures_that_are_missing_or_impossible_have_no_price(usage: Usage) -> None:
    assert cost(usage, "gpt-4o", "openai", "openai", AT) is None


def test_embeddings_cost_without_an_output() -> None:
    assert cost(Usage(input_tokens=1000), "text-embedding-3-small", "openai", "openai", AT) == Decimal(
        "0.00002"
    )


def test_what_the_provider_states_itself_wins() -> None:
    usage = Usage(input_tokens=1, output_tokens=1, cost_usd=Decimal("0.25"))

    assert cost(usage, "whatever", "unknown", "openrouter", AT) == Decimal("0.25")


@pytest.mark.parametrize(
    ("model", "provider", "served_by", "tokens"),
    [
        ("claude-sonnet-4-5", "anthropic", "anthropic", 200_000),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "anthropic", "aws", 200_000),
        ("gpt-4o", "openai", "kilo", 128_000),
        ("moonshotai/kimi-k2.5", "moonshotai", "nvidia", 262_144),
        ("kimi-for-coding", "moonshotai", "moonshotai", 262_144),
        ("gemini-2.5-pro", "google", "google", 1_048_576),
        ("glm-4.6", "zai", "zai", 200_000),
        ("command-r-plus", "cohere", "cohere", 128_000),
        ("my-deployment", "azure", "azure", None),
        ("gpt-4o", "unknown", None, None),
        (None, "openai", "openai", None),
    ],
)
def test_the_context_window_is_known_or_none(
    model: str | None, provider: str, served_by: str | None, tokens: int | None
) -> None:
    assert context_window(model, provider, served_by) == tokens


def test_the_price_list_is_loaded_at_the_first_question_only() -> None:
    program = "import kimi_mitm.prices, sys; print('genai_prices' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=dict(os.environ)
    )

    assert done.stdout.strip() == "False"


def test_nothing_fetches_newer_prices() -> None:
    from genai_prices import update_prices
    from genai_prices.data_snapshot import get_snapshot

    cost(THOUSAND, "gpt-4o", "openai", "openai", AT)

    assert not get_snapshot().from_auto_update
    assert not update_prices.wait_prices_updated_sync(0)
