"""Errors that state a prompt's tokens: one case per wording, and the look-alikes that don't."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_mitm.error_figures import ROWS, PromptError, prompt_tokens_of_error

CASES = [
    ("prompt is too long: 213462 tokens > 200000 maximum", 213_462, 200_000, None),
    (
        "input length and `max_tokens` exceed context limit: 199999 + 8192 > 200000, "
        "decrease input length or `max_tokens` and try again",
        199_999,
        200_000,
        8192,
    ),
    (
        "This model's maximum context length is 128000 tokens. However, your messages resulted in 130000 "
        "tokens. Please reduce the length of the messages.",
        130_000,
        128_000,
        None,
    ),
    (
        "This model's maximum context length is 8192 tokens. However, your messages resulted in 8545 tokens "
        "(8445 in the messages, 100 in the functions).",
        8545,
        8192,
        None,
    ),
    (
        "This model's maximum context length is 4097 tokens. However, you requested 4200 tokens "
        "(97 in the messages, 103 in the functions, and 4000 in the completion).",
        200,
        4097,
        4000,
    ),
    (
        "This model's maximum context length is 8191 tokens, however you requested 10346 tokens "
        "(10341 in your prompt; 5 for the completion). Please reduce your prompt; or completion length.",
        10_341,
        8191,
        5,
    ),
    (
        "This model's maximum context length is 32768 tokens. However, you requested 40000 tokens.",
        40_000,
        32_768,
        None,
    ),
    (
        "This endpoint's maximum context length is 163840 tokens. However, you requested about 171532 tokens "
        "(160000 of text input, 3340 of tool input, 8192 in the output). Please reduce the length of either "
        "one, or use the middle-out transform.",
        163_340,
        163_840,
        8192,
    ),
    ("This endpoint's maximum context length is 65536 tokens.", None, 65_536, None),
    (
        "'max_tokens' or 'max_completion_tokens' is too large: 2000. This model's maximum context length is "
        "4096 tokens and your request has 2104 input tokens (2000 > 4096 - 2104).",
        2104,
        4096,
        2000,
    ),
    (
        "This model's maximum context length is 131072 tokens. However, your request has 140000 input "
        "tokens.",
        140_000,
        131_072,
        None,
    ),
    (
        "The decoder prompt (length 5000) is longer than the maximum model length of 4096.",
        5000,
        4096,
        None,
    ),
    (
        "Requested token count exceeds the model's maximum context length of 32768 tokens. You requested a "
        "total of 40000 tokens: 35000 tokens from the input messages and 5000 tokens for the completion.",
        35_000,
        32_768,
        5000,
    ),
    (
        "The input (250000 tokens) is longer than the model's context length (200000 tokens).",
        250_000,
        200_000,
        None,
    ),
    ("Input length (265330) exceeds model's maximum context length (262144).", 265_330, 262_144, None),
    ("Input length 9000 exceeds the maximum allowed input length of 8000 tokens.", 9000, 8000, None),
    (
        "The input token count (1290000) exceeds the maximum number of tokens allowed (1048576).",
        1_290_000,
        1_048_576,
        None,
    ),
    (
        "The input token count exceeds the maximum number of tokens allowed 1048576.",
        None,
        1_048_576,
        None,
    ),
    (
        "Unable to submit request because the input token count is 40000 but the model only supports up to "
        "32768. Reduce the input token count and try again.",
        40_000,
        32_768,
        None,
    ),
    (
        "request (13392 tokens) exceeds the available context size (8192 tokens), try increasing it",
        13_392,
        8192,
        None,
    ),
    (
        "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
        537_812,
        131_072,
        None,
    ),
    ("prompt token count of 130000 exceeds the limit of 128000", 130_000, 128_000, None),
    (
        "Prompt contains 40,000 tokens and 0 draft tokens, too large for model with 32,768 maximum context "
        "length",
        40_000,
        32_768,
        None,
    ),
    (
        "Invalid request: Your request exceeded model token limit: 131072 (requested: 140000)",
        140_000,
        131_072,
        None,
    ),
    ("The prompt is too long: 140000, model maximum context length: 131071", 140_000, 131_071, None),
    (
        "`inputs` tokens + `max_new_tokens` must be <= 8193. Given: 9000 `inputs` tokens and 512 "
        "`max_new_tokens`",
        9000,
        None,
        512,
    ),
    (
        "Please reduce the length of the messages or completion. Current length is 9000 while limit is 8192",
        9000,
        8192,
        None,
    ),
    (
        "the number of input tokens 5000 cannot exceed the total tokens limit 4096 for this model",
        5000,
        4096,
        None,
    ),
    (
        "400 Bad Request: Too many input tokens. Max input tokens: 8192, request input token count: 9279",
        9279,
        8192,
        None,
    ),
    (
        "too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 5000.",
        5000,
        4081,
        None,
    ),
    ("Range of input length should be [1, 129024]", None, 129_024, None),
]

FLOOR = (
    "This model's maximum context length is 40960 tokens. However, you requested 100 output tokens and your "
    "prompt contains at least 40861 input tokens."
)

LOOKALIKES = [
    "Number of request tokens has exceeded your per-minute rate limit",
    "You exceeded your current quota, please check your plan and billing details.\n* Quota exceeded for "
    "metric: generativelanguage.googleapis.com/generate_content_free_tier_input_token_count, limit: 250000",
    "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 40000.",
    "This request would exceed your organization's rate limit of 30,000 input tokens per minute.",
    "Rate limit reached: prompt is too long: 9000 tokens > 8000 maximum per minute",
    "Input is too long for requested model.",
    "Please reduce the length of the messages or completion.",
    "invalid params, context window exceeds limit (2013)",
    "Your input exceeds the context window of this model.",
    "",
]


@pytest.mark.parametrize(("message", "tokens", "window", "output"), CASES)
def test_the_figures_of_each_wording(
    message: str, tokens: int | None, window: int | None, output: int | None
) -> None:
    want = PromptError(input_tokens=tokens, context_window=window, max_output_tokens=output)

    assert prompt_tokens_of_error("invalid_request_error", message) == want


@pytest.mark.parametrize(("message", "tokens", "window", "output"), CASES)
def test_a_wording_is_found_in_the_body_too_also_as_json_in_json(
    message: str, tokens: int | None, window: int | None, output: int | None
) -> None:
    want = PromptError(input_tokens=tokens, context_window=window, max_output_tokens=output)
    inner = json.dumps({"error": {"message": message}})
    body = json.dumps({"error": {"message": "Provider returned error", "metadata": {"raw": inner}}})

    assert prompt_tokens_of_error(None, None, inner.encode()) == want
    assert prompt_tokens_of_error("400", "Provider returned error", body.encode()) == want


def test_at_least_so_many_is_a_lower_bound() -> None:
    want = PromptError(input_tokens=40_861, context_window=40_960, max_output_tokens=100, lower_bound=True)

    assert prompt_tokens_of_error("BadRequestError", FLOOR) == want


def test_every_row_has_a_case() -> None:
    messages = [case[0] for case in CASES] + [FLOOR]

    for row in ROWS:
        assert any(
            next(r for r in ROWS if r.pattern.search(m)) is row for m in messages if row.pattern.search(m)
        ), row.pattern.pattern


def test_llama_cpps_own_fields_win() -> None:
    body = (
        b'{"error":{"code":400,"message":"the request exceeds the available context size",'
        b'"type":"exceed_context_size_error","n_prompt_tokens":13392,"n_ctx":8192}}'
    )

    got = prompt_tokens_of_error("exceed_context_size_error", "the request exceeds", body)

    assert got == PromptError(input_tokens=13_392, context_window=8192)


@pytest.mark.parametrize("message", LOOKALIKES)
def test_quotas_rate_limits_and_errors_without_figures_give_none(message: str) -> None:
    assert prompt_tokens_of_error("error", message, message.encode()) is None


@pytest.mark.parametrize("kind", ["rate_limit_error", "rate_limit_exceeded", "insufficient_quota"])
def test_the_errors_own_type_may_say_that_it_is_a_rate_limit(kind: str) -> None:
    assert prompt_tokens_of_error(kind, CASES[0][0]) is None


def test_a_figure_beyond_any_context_is_no_figure() -> None:
    got = prompt_tokens_of_error(None, "prompt is too long: 999999999999 tokens > 200000 maximum")

    assert got == PromptError(context_window=200_000)


@given(st.text(max_size=300), st.binary(max_size=300))
def test_whatever_comes_raises_nothing(message: str, body: bytes) -> None:
    prompt_tokens_of_error(message[:20], message, body)
