"""An exchange's figures, settled from its readings: the same for live traffic, files and logs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from kimi_mitm import error_figures, redact
from kimi_mitm.fusion import exchange_figures
from kimi_mitm.fusion import rules as fusion
from kimi_mitm.fusion.match import is_library
from kimi_mitm.records import Exchange, Reading, Source, Usage
from kimi_mitm.render import money

RULES = {
    1: "reported on the wire",
    2: "reported, by a log",
    3: "highest priority",
    4: "hybrid",
    5: "last known",
}
"""Fusion's rules by number, in words."""
_FIGURES = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "total_tokens",
)


def settle(exchange: Exchange, readings: Sequence[Reading], **more: Any) -> Exchange:
    """The exchange with the figures that its readings settle, its fill and its price; `more` are further
    fields to set."""
    fused = fusion.settle(readings)
    window = exchange.context_window or fused.about.context_window
    seen = exchange if window == exchange.context_window else replace(exchange, context_window=window)
    return replace(
        seen,
        is_estimated=fused.is_estimated,
        source=fused.source,
        via=fused.via,
        cost_usd=exchange_figures.price(exchange, fused.usage, is_estimated=fused.is_estimated),
        **exchange_figures.figures(seen, fused.usage),
        **more,
    )


def wire_readings(exchange: Exchange) -> list[Reading]:
    """The wire's own readings of an exchange that has ended, made anew from its record."""
    at = exchange.ended_at or exchange.started_at
    common: dict[str, Any] = {
        "at": at,
        "origin": f"flow:{exchange.flow_id}",
        "client": exchange.client,
        "model": exchange.model,
    }
    found = error_readings(exchange)
    guessed = exchange.input_tokens is not None or exchange.source is not Source.PROXY
    if guessed and exchange.estimated_input_tokens is not None and exchange.error is None:
        output = exchange.output_tokens if exchange.source is Source.PROXY else None
        guess = Usage(input_tokens=exchange.estimated_input_tokens, output_tokens=output)
        found.append(
            Reading(source=Source.PROXY, reported=False, key=f"proxy:{exchange.id}", usage=guess, **common)
        )
    if exchange.source is Source.USAGE and exchange.via is None:
        usage = Usage(**{name: getattr(exchange, name) for name in (*_FIGURES, "cost_usd")})
        found.append(
            Reading(source=Source.USAGE, reported=True, key=f"usage:{exchange.id}", usage=usage, **common)
        )
    return found


def described(exchange: Exchange, readings: Sequence[Reading]) -> Exchange:
    """The exchange with what logs know beside figures: title, folder, branch, sub-agent, their own cost;
    and who sent it, where the wire showed only a library's name. What an id tied has the last word."""
    notes = dict(exchange.notes)
    known = exchange
    for reading in sorted(readings, key=lambda r: (r.joined_by == "id", r.at)):
        for name in ("title", "folder", "branch", "subagent"):
            value = getattr(reading, name)
            if value is not None:
                notes[name] = redact.text(value)
        if reading.usage.cost_usd is not None and exchange.cost_usd != reading.usage.cost_usd:
            notes["cost_usd_of_log"] = money(reading.usage.cost_usd)
        if reading.joined_by is not None:
            notes["joined_by"] = reading.joined_by
            known = _identified(known, reading)
    return known if notes == exchange.notes else replace(known, notes=notes)


def _identified(exchange: Exchange, reading: Reading) -> Exchange:
    if reading.client is None or not (exchange.client == reading.client or is_library(exchange.client)):
        return exchange
    version = exchange.client_version if exchange.client == reading.client else None
    return replace(
        exchange,
        client=reading.client,
        client_version=version or reading.client_version,
        client_session_id=exchange.client_session_id or reading.client_session_id,
    )


def figures(exchange: Exchange) -> tuple[object, ...]:
    """What an exchange's figures are, and what they rest on: for telling whether they changed."""
    return (*(getattr(exchange, name) for name in _FIGURES), exchange.source, exchange.via, exchange.cost_usd)


def tokens(usage: Usage) -> dict[str, int | None]:
    """The token figures of a usage by name."""
    return {name: getattr(usage, name) for name in _FIGURES}


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
