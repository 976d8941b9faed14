"""What mitmproxy's views show of an exchange: a comment with the numbers first, a marker, flat metadata."""

from __future__ import annotations

from dataclasses import fields
from decimal import Decimal

import msgspec

from kimi_mitm import link
from kimi_mitm.records import EstimateKind, Exchange, Operation
from kimi_mitm.render import money

MARKERS = {
    "openai": ":green_circle:",
    "anthropic": ":orange_circle:",
    "google": ":large_blue_circle:",
    "moonshotai": ":new_moon:",
    "mistral": ":dash:",
    "meta": ":infinity:",
    "x-ai": ":black_circle:",
    "deepseek": ":whale:",
    "cohere": ":purple_circle:",
    "qwen": ":cloud:",
    "zai": ":zap:",
    "minimax": ":ocean:",
    "aws": ":package:",
    "azure": ":diamond_shape_with_a_dot_inside:",
    "perplexity": ":mag:",
    "voyage": ":sailboat:",
    "ollama": ":house:",
}
"""A flow's marker by the exchange's provider: of mitmproxy's own emoji, any other is shown as a red dot."""
OTHER_MARKER = ":robot:"
_HOW = {
    EstimateKind.EXACT: "exact count",
    EstimateKind.CALIBRATED: "calibrated estimate",
    EstimateKind.PRIOR: "estimate from family priors",
    EstimateKind.PLAIN: "plain estimate",
}

_PLAIN = (
    "id",
    "user",
    "client",
    "client_version",
    "provider",
    "served_by",
    "model",
    "response_model",
    "wire_format",
    "side",
    "estimated_input_tokens",
    "tiktoken_input_tokens",
    "estimate_p90_error",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "is_estimated",
    "via",
    "delta_tokens",
    "history_ratio",
    "is_noise",
    "context_window",
    "context_percent",
    "ttft_ms",
    "duration_ms",
    "finish_reason",
)
"""Fields of a record whose values a flow's metadata holds under the same names, after `kimi.`."""


def note_of(exchange: Exchange, *, settled: bool) -> link.Note:
    """The note for an exchange's flow. `settled` is True once it has ended."""
    return link.Note(
        flow_id=exchange.flow_id or "",
        comment=comment(exchange),
        marker=MARKERS.get(exchange.provider, OTHER_MARKER),
        metadata=metadata(exchange, settled=settled),
        settled=settled,
        line=line(exchange) if settled else None,
    )


def note_again(exchange: Exchange, flow_id: str) -> link.Note:
    """The note for another flow that holds the same exchange: a file that is read again. It has no line."""
    note = note_of(exchange, settled=True)
    return msgspec.structs.replace(note, flow_id=flow_id, line=None)


def comment(exchange: Exchange) -> str:
    """`12.4k→12.9k+540 · $0.04 · 62 % · gpt-5 · s14`: estimate, settled prompt, answer, cost, fill."""
    parts = [tokens(exchange)]
    if exchange.cost_usd is not None:
        parts.append(dollars(exchange.cost_usd))
    if exchange.context_percent is not None:
        parts.append(f"{exchange.context_percent:.0f} %")
    if exchange.error is not None:
        parts.append(f"error: {exchange.error.type}")
    parts.append(exchange.model or exchange.response_model or exchange.provider)
    if exchange.session_id:
        parts.append(exchange.session_id[:8])
    return " · ".join(parts)


def line(exchange: Exchange) -> str:
    """One line for a terminal."""
    return f"{exchange.client} → {exchange.provider} {comment(exchange)} ({origin(exchange)})"


def origin(exchange: Exchange) -> str:
    """Where the exchange's prompt figure comes from, in words."""
    if not exchange.is_estimated:
        return f"reported, by {exchange.via}" if exchange.via else "reported"
    if exchange.input_tokens is not None and exchange.source != "proxy":
        return f"fused: {exchange.source.value}"
    if exchange.estimate_kind is None:
        return "unknown"
    return _HOW[exchange.estimate_kind]


def metadata(exchange: Exchange, *, settled: bool) -> dict[str, str | int | float | bool | None]:
    """Flat keys with plain values, so that `~meta` finds them and flow files can hold them. Unknown is
    left out."""
    values: dict[str, str | int | float | bool | None] = {
        "kimi.settled": settled,
        "kimi.origin": origin(exchange),
        "kimi.estimate_kind": exchange.estimate_kind.value if exchange.estimate_kind else None,
        "kimi.operation": exchange.operation.value,
        "kimi.source": exchange.source.value,
        "kimi.session": exchange.session_id,
        "kimi.cost_usd": money(exchange.cost_usd) if exchange.cost_usd is not None else None,
        "kimi.error": exchange.error.type if exchange.error else None,
        **{f"kimi.{name}": getattr(exchange, name) for name in _PLAIN},
    }
    if exchange.composition is not None:
        for part in fields(exchange.composition):
            values[f"kimi.part.{part.name}"] = getattr(exchange.composition, part.name) or None
    return {key: value for key, value in values.items() if value is not None}


def short(tokens: int) -> str:
    """`987`, `12.4k`, `1.20M`."""
    if tokens < 1000:
        return str(tokens)
    if tokens < 999_950:
        return f"{tokens / 1000:.1f}k"
    return f"{tokens / 1_000_000:.2f}M"


def dollars(amount: Decimal) -> str:
    """Two significant digits below a dollar, cents above."""
    if amount >= Decimal("0.1"):
        return f"${amount:.2f}"
    return f"${amount:.2g}" if amount == 0 or amount >= Decimal("0.0001") else "<$0.0001"


def tokens(exchange: Exchange) -> str:
    """`12.4k→12.9k+540`: the prompt as estimated and as settled, and the answer."""
    guess = exchange.estimated_input_tokens
    settled = exchange.input_tokens
    if exchange.operation is Operation.OTHER and guess is None and settled is None:
        return "–"
    text = f"≈{short(guess)}" if guess is not None else "?"
    if settled is not None and (not exchange.is_estimated or settled != guess):
        text = f"{short(guess)}→{short(settled)}" if guess is not None else short(settled)
    if exchange.output_tokens is not None:
        text += f"+{short(exchange.output_tokens)}"
    return text
