from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from kimi_mitm.records import NO_USAGE, Usage
from kimi_mitm.wire.openai_usage import merge, usage

OPENAI = {
    "prompt_tokens": 321,
    "completion_tokens": 12,
    "total_tokens": 333,
    "prompt_tokens_details": {"cached_tokens": 256, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 5, "accepted_prediction_tokens": 0},
}


def known(
    given: int | None,
    made: int | None,
    total: int | None,
    read: int | None = None,
    reasoning: int | None = None,
) -> Usage:
    return Usage(
        input_tokens=given,
        output_tokens=made,
        total_tokens=total,
        cache_read_tokens=read,
        reasoning_tokens=reasoning,
    )


DIALECTS: dict[str, tuple[dict[str, Any], Usage]] = {
    "OpenAI": (OPENAI, known(321, 12, 333, 256, 5)),
    "Responses": (
        {
            "input_tokens": 321,
            "output_tokens": 12,
            "total_tokens": 333,
            "input_tokens_details": {"cached_tokens": 256},
            "output_tokens_details": {"reasoning_tokens": 5},
        },
        known(321, 12, 333, 256, 5),
    ),
    "a singular": (
        {"prompt_tokens": 9, "prompt_token_details": {"cached_tokens": 4}},
        known(9, None, None, 4),
    ),
    "nothing generated (OpenAI's legacy completions)": (
        {"prompt_tokens": 9, "total_tokens": 9},
        known(9, 0, 9),
    ),
    "generated tokens in the total only": ({"input_tokens": 9, "total_tokens": 12}, known(9, 3, 12)),
    "a total too small": ({"input_tokens": 9, "total_tokens": 3}, known(9, None, 3)),
    "DeepSeek": (
        {
            "prompt_tokens": 9,
            "completion_tokens": 2,
            "prompt_cache_hit_tokens": 4,
            "prompt_cache_miss_tokens": 5,
        },
        known(9, 2, 11, 4),
    ),
    "Mistral": ({"prompt_tokens": 9, "num_cached_tokens": 4}, known(9, None, None, 4)),
    "Moonshot": ({"prompt_tokens": 9, "completion_tokens": 2, "cached_tokens": 4}, known(9, 2, 11, 4)),
    "a gateway to Anthropic": ({"prompt_tokens": 9, "cache_read_input_tokens": 4}, known(9, None, None, 4)),
    "xAI: reasoning beside the completion (10120 + 1499 + 2809)": (
        {
            "prompt_tokens": 10120,
            "completion_tokens": 1499,
            "total_tokens": 14428,
            "prompt_tokens_details": {"cached_tokens": 128},
            "completion_tokens_details": {"reasoning_tokens": 2809},
        },
        known(10120, 1499 + 2809, 14428, 128, 2809),
    ),
    "Mistral: audio beside the prompt (6 + 375 + 2)": (
        {
            "prompt_audio_seconds": 0,
            "prompt_tokens": 6,
            "completion_tokens": 2,
            "total_tokens": 383,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 375},
        },
        known(381, 2, 383, 0),
    ),
    "Mistral: audio only in the total (5 + 375 + 24)": (
        {"prompt_audio_seconds": 5, "prompt_tokens": 5, "completion_tokens": 24, "total_tokens": 404},
        known(380, 24, 404),
    ),
    "Grok on Azure: cached beside the prompt (4142 + 4328 + 254)": (
        {
            "prompt_tokens": 4142,
            "completion_tokens": 254,
            "total_tokens": 8724,
            "prompt_tokens_details": {"cached_tokens": 4328},
        },
        known(8470, 254, 8724, 4328),
    ),
    "OpenAI audio inside the prompt": (
        {
            "prompt_tokens": 100,
            "completion_tokens": 5,
            "total_tokens": 105,
            "prompt_tokens_details": {"audio_tokens": 80},
        },
        known(100, 5, 105),
    ),
    "a total that nothing explains": (
        {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 99},
        known(10, 5, 99),
    ),
    "a total below the sum": (
        {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 10},
        known(10, 5, 10),
    ),
    "Perplexity": (
        {"prompt_tokens": 10, "completion_tokens": 50, "total_tokens": 60, "reasoning_tokens": 30},
        known(10, 50, 60, None, 30),
    ),
    "whole floats": ({"prompt_tokens": 10.0, "completion_tokens": 5.0}, known(10, 5, 15)),
    "an empty object": ({}, NO_USAGE),
    "nonsense": (
        {
            "prompt_tokens": True,
            "completion_tokens": -4,
            "total_tokens": 10**12,
            "prompt_tokens_details": "x",
            "completion_tokens_details": [1],
            "cached_tokens": 1.5,
        },
        NO_USAGE,
    ),
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_is_normalised(dialect: str) -> None:
    stated, expected = DIALECTS[dialect]
    assert usage(stated) == expected


def test_cache_writes_are_read_under_each_name() -> None:
    for name in ("cache_write_tokens", "cache_creation_input_tokens", "cache_creation_tokens"):
        assert usage({"prompt_tokens": 9, name: 4}).cache_write_tokens == 4
    assert usage({"prompt_tokens_details": {"cache_write_tokens": 4}}).cache_write_tokens == 4


def test_google_tells_its_thinking_in_the_total_only() -> None:
    stated = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 115}
    assert usage(stated, hides_thinking=True) == known(10, 105, 115, None, 100)


@pytest.mark.parametrize(
    ("stated", "dollars"),
    [
        ({"cost": 0.00014}, "0.00014"),
        ({"cost": 0.001, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.02}}, "0.021"),
        ({"cost": {"total_cost": 0.006, "request_cost": 0.005}}, "0.006"),
        ({"cost_in_usd_ticks": 232856000}, "0.0232856"),
    ],
)
def test_a_stated_cost_is_kept(stated: dict[str, Any], dollars: str) -> None:
    assert usage({"prompt_tokens": 1, **stated}).cost_usd == Decimal(dollars)


@pytest.mark.parametrize(
    "stated",
    [
        {"cost": None},
        {"cost": -1},
        {"cost": True},
        {"cost": "x"},
        {"cost": float("inf")},
        {"cost": 0.001, "is_byok": True},
    ],
)
def test_a_cost_that_is_none_is_unknown(stated: dict[str, Any]) -> None:
    assert usage({"prompt_tokens": 1, **stated}).cost_usd is None


def test_the_last_value_that_is_not_null_stands_field_by_field() -> None:
    stated: dict[str, Any] = {}
    merge(stated, {"prompt_tokens": 1, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 1}})
    merge(stated, {"prompt_tokens": None, "completion_tokens": 7, "prompt_tokens_details": None})
    merge(stated, {"prompt_tokens_details": {"audio_tokens": 2, "cached_tokens": None}})
    merge(stated, {"prompt_tokens_details": {}})
    assert stated == {
        "prompt_tokens": 1,
        "completion_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 1, "audio_tokens": 2},
    }
