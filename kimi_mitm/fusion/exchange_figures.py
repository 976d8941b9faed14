"""What an exchange's figures are made of: the wire's readings, their price, and what follows from them."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from kimi_mitm import prices
from kimi_mitm.records import Answer, Exchange, Reading, Source, Usage
from kimi_mitm.tokens import Turn

if TYPE_CHECKING:
    from kimi_mitm.draft import Draft


def figures(exchange: Exchange, usage: Usage) -> dict[str, Any]:
    """The fields of an exchange that settled figures make, the fill of the window among them."""
    shown = usage.input_tokens if usage.input_tokens is not None else exchange.estimated_input_tokens
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "total_tokens": usage.total_tokens,
        "context_percent": percent(shown, exchange.context_window),
    }


def price(exchange: Exchange, usage: Usage, *, is_estimated: bool) -> Decimal | None:
    """What the exchange cost: what the provider stated, else its list price; None when there is none."""
    cost = usage.cost_usd
    if cost is None and not is_estimated:
        for model in dict.fromkeys((exchange.response_model, exchange.model)):
            cost = cost or prices.cost(
                usage, model, exchange.provider, exchange.served_by, exchange.started_at
            )
    return cost


def readings(draft: Draft, estimator_output: int | None) -> list[Reading]:
    """What the wire says of this exchange's tokens, for fusion: our estimate, and the provider's report."""
    exchange = draft.exchange
    at = exchange.ended_at or exchange.started_at
    common: dict[str, Any] = {
        "at": at,
        "origin": f"flow:{exchange.flow_id}",
        "client": exchange.client,
        "model": exchange.model,
    }
    found: list[Reading] = []
    answer = draft.answer
    if not draft.request.generates and not _is_nothing(answer):
        return found
    if draft.request.generates and exchange.estimated_input_tokens is not None and exchange.error is None:
        guess = Usage(input_tokens=exchange.estimated_input_tokens, output_tokens=estimator_output)
        found.append(
            Reading(source=Source.PROXY, reported=False, key=f"proxy:{exchange.id}", usage=guess, **common)
        )
    if answer is not None and answer.usage:
        found.append(
            Reading(
                source=Source.USAGE, reported=True, key=f"usage:{exchange.id}", usage=answer.usage, **common
            )
        )
    return found


def _is_nothing(answer: Answer | None) -> bool:
    """A warm-up's report counts only when it says that nothing was read or generated."""
    usage = answer.usage if answer else Usage()
    return bool(usage) and not usage.input_tokens and not usage.output_tokens


def turn_fields(turn: Turn) -> dict[str, Any]:
    """The fields of an exchange that say what is new in its prompt."""
    return {
        "delta_tokens": turn.delta_tokens,
        "history_ratio": turn.history_ratio,
        "is_noise": turn.is_noise,
    }


def percent(tokens: int | None, window: int | None) -> float | None:
    """How full the context window is; None where either is unknown."""
    return round(100 * tokens / window, 1) if window and tokens is not None else None
