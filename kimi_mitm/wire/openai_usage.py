"""OpenAI's usage object and its many dialects → `Usage`.

Cached tokens are inside the prompt's count, reasoning inside the completion's. Where a provider's
total is larger than prompt and completion together, a part that makes up the difference stands
outside: xAI leaves reasoning out of the completion, Mistral audio out of the prompt, Grok on Azure
cached tokens out of the prompt. Where nothing was generated, OpenAI's legacy completions state prompt and
total only.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

from kimi_mitm.records import NO_USAGE, Usage
from kimi_mitm.wire.draft import settle
from kimi_mitm.wire.values import count, first

_INPUT = ("prompt_tokens", "input_tokens")
_OUTPUT = ("completion_tokens", "output_tokens")
_INPUT_DETAILS = (
    "prompt_tokens_details",
    "input_tokens_details",
    "prompt_token_details",
    "input_token_details",
)
_OUTPUT_DETAILS = (
    "completion_tokens_details",
    "output_tokens_details",
    "completion_token_details",
    "output_token_details",
)
_CACHED = (
    "cached_tokens",
    "prompt_cache_hit_tokens",
    "num_cached_tokens",
    "cache_read_input_tokens",
    "cached_prompt_text_tokens",
)
_CACHE_WRITTEN = ("cache_write_tokens", "cache_creation_input_tokens", "cache_creation_tokens")
_TICKS = 10**10
"""xAI's units in a dollar."""
_DEEPEST = 3


def merge(known: dict[str, Any], stated: dict[str, Any], depth: int = _DEEPEST) -> None:
    """Adds what an answer states of its usage: per field the last value that isn't null stands."""
    for name, value in stated.items():
        if value is None:
            continue
        before = known.get(name)
        if depth and isinstance(value, dict) and isinstance(before, dict):
            merge(before, value, depth - 1)
        elif not (value == {} and before):
            known[name] = value


def usage(stated: dict[str, Any], hides_thinking: bool = False) -> Usage:
    """`stated` in our convention. `hides_thinking`: this provider tells its thinking in the total only
    (Google's OpenAI-compatible endpoint)."""
    if not stated:
        return NO_USAGE
    of_input, of_output = first(stated, *_INPUT_DETAILS), first(stated, *_OUTPUT_DETAILS)
    given, made = _count(stated, _INPUT), _count(stated, _OUTPUT)
    reasoning = _either(of_output, stated, ("reasoning_tokens",))
    cached = _either(of_input, stated, _CACHED)
    whole = count(stated.get("total_tokens"))
    if made is None and given is not None and whole is not None and whole >= given:
        made = whole - given
    if given is not None and made is not None:
        over = whole - given - made if whole is not None else None
        audio = _count(of_input, ("audio_tokens",)) or 0
        beside_input, beside_output = _outside(over, given, made, reasoning or 0, cached or 0, audio)
        if over and not beside_input and not beside_output:
            if "prompt_audio_seconds" in stated:
                beside_input = over
            elif hides_thinking and not reasoning:
                beside_output = reasoning = max(over, 0)
        given, made = given + beside_input, made + beside_output
    known = settle(
        input=given,
        output=made,
        cache_read=cached,
        cache_write=_either(of_input, stated, _CACHE_WRITTEN),
        reasoning=reasoning,
        total_tokens=whole,
    )
    return replace(known, cost_usd=_cost(stated))


def _outside(
    over: int | None, given: int, made: int, reasoning: int, cached: int, audio: int
) -> tuple[int, int]:
    """What stands beside prompt and completion instead of inside them: such parts as make up the
    difference to the total, or, without a total, such as are larger than what they would be a part of."""
    if over is None:
        return (cached if cached > given else 0), (reasoning if reasoning > made else 0)
    if over <= 0:
        return 0, 0
    for of_input, of_output in (
        (0, reasoning),
        (audio, 0),
        (cached, 0),
        (cached, reasoning),
        (audio, reasoning),
    ):
        if over == of_input + of_output:
            return of_input, of_output
    return 0, 0


def _count(doc: Any, names: tuple[str, ...]) -> int | None:
    return count(first(doc, *names))


def _either(details: Any, stated: dict[str, Any], names: tuple[str, ...]) -> int | None:
    found = _count(details, names)
    return found if found is not None else _count(stated, names)


def _cost(stated: dict[str, Any]) -> Decimal | None:
    """What the provider says that it charges (xAI, Perplexity, OpenRouter and gateways like it), in dollars.
    With a key of the user's own, OpenRouter's `cost` is its fee, and the model's price stands apart."""
    ticks = _money(stated.get("cost_in_usd_ticks"), _TICKS)
    if ticks is not None:
        return ticks
    cost = stated.get("cost")
    if isinstance(cost, dict):
        return _money(cost.get("total_cost"))
    amount = _money(cost)
    if amount is not None and stated.get("is_byok") is True:
        details = stated.get("cost_details")
        upstream = _money(details.get("upstream_inference_cost")) if isinstance(details, dict) else None
        return amount + upstream if upstream is not None else None
    return amount


def _money(value: Any, units: int = 1) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        amount = Decimal(str(value)) / units
    except ArithmeticError:
        return None
    return amount if amount.is_finite() and 0 <= amount < 1_000_000 else None
