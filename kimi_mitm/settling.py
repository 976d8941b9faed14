"""An exchange's figures, settled from its readings: the same for live traffic, files and logs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kimi_mitm import draft as drafts
from kimi_mitm import error_figures, fusion
from kimi_mitm.records import Exchange, Reading, Source, Usage


def settle(exchange: Exchange, readings: Sequence[Reading]) -> Exchange:
    """The exchange with the figures that its readings settle, its fill and its price."""
    fused = fusion.settle(readings)
    known = replace(
        exchange,
        is_estimated=fused.is_estimated,
        source=fused.source,
        via=fused.via,
        context_window=exchange.context_window or fused.about.context_window,
    )
    return drafts.priced(drafts.with_usage(known, fused.usage), fused.usage)


def error_readings(exchange: Exchange) -> list[Reading]:
    """What the exchange's own error says of its prompt's tokens; mostly nothing."""
    if exchange.error is None:
        return []
    stated = error_figures.prompt_tokens_of_error(exchange.error.type, exchange.error.message)
    if stated is None:
        return []
    return [
        Reading(
            source=Source.API_ERROR,
            reported=True,
            at=exchange.ended_at or exchange.started_at,
            key=f"error:{exchange.id}",
            origin=f"flow:{exchange.flow_id}",
            usage=Usage(input_tokens=stated.input_tokens),
            client=exchange.client,
            model=exchange.model,
            lower_bound=stated.lower_bound,
            context_window=stated.context_window,
        )
    ]
