"""Exchanges, statistics and fused readings as the control endpoint gives them."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from kimi_mitm.control.fields import (
    Cursor,
    Dollars,
    Instant,
    Name,
    Output,
    Query,
    Since,
    Word,
    eg,
    example_of,
)
from kimi_mitm.control.models import Accuracy
from kimi_mitm.records import EstimateKind, Operation, Reading, Source

_AT = "2026-03-01T12:00:00.250000Z"
_COMPOSITION = {
    "system": 2400,
    "tools": 8100,
    "user": 900,
    "assistant": 700,
    "tool_results": 300,
    "memory": 0,
    "media": 0,
    "other": 0,
}


class ProblemView(Output):
    """An error in the provider's words or in ours."""

    type: str = eg("aborted")
    message: str = eg("the client closed the connection")


class CompositionView(Output):
    """Prompt tokens by part; they sum to the estimate."""

    system: int = eg(2400)
    tools: int = eg(8100)
    user: int = eg(900)
    assistant: int = eg(700)
    tool_results: int = eg(300)
    memory: int = eg(0)
    media: int = eg(0)
    other: int = eg(0)


class ExchangeView(Output):
    """One LLM exchange: the fields of `kimi-mitm export`. Unknown is null, never 0."""

    id: str = eg("x_01jnx4cb9f", "Ours; stable.")
    flow_id: str | None = eg("5d7a8b1e-2f55-4a5e-9e8e-0d2a5f1f7c11", "mitmproxy's.")
    started_at: Instant = eg(_AT)
    first_token_at: Instant | None = eg("2026-03-01T12:00:01.010000Z")
    ended_at: Instant | None = eg("2026-03-01T12:00:09.512000Z")
    ttft_ms: float | None = eg(760.0)
    duration_ms: float | None = eg(9262.0)
    session_id: str | None = eg("s_01jnx4c8q2")
    user: str | None = eg("alice")
    client: str = eg("claude-code")
    client_version: str | None = eg("2.1.0")
    client_session_id: str | None = eg(None)
    provider: str = eg("moonshotai", "From the model name.")
    served_by: str | None = eg("moonshotai", "Who operates the host.")
    model: str | None = eg("kimi-k2.5")
    response_model: str | None = eg("kimi-k2.5")
    wire_format: str | None = eg("anthropic.messages")
    operation: Operation = eg("chat")
    side: bool = eg(False, "Beside the conversation: completion, embeddings, titles.")
    method: str | None = eg("POST")
    url: str | None = eg("https://api.moonshot.ai/anthropic/v1/messages")
    status: int | None = eg(200)
    stream: bool | None = eg(True)
    transport: str = eg("http")
    estimated_input_tokens: int | None = eg(12400, "Our best figure before any answer.")
    tiktoken_input_tokens: int | None = eg(12010, "The uncalibrated count behind it.")
    estimate_kind: EstimateKind | None = eg("calibrated")
    estimate_p90_error: float | None = eg(0.031)
    input_tokens: int | None = eg(12873, "All prompt tokens, cached ones included.")
    output_tokens: int | None = eg(540, "All generated tokens, reasoning included.")
    cache_read_tokens: int | None = eg(11008)
    cache_write_tokens: int | None = eg(None)
    reasoning_tokens: int | None = eg(120)
    total_tokens: int | None = eg(13413)
    is_estimated: bool = eg(False, "True while no reported usage has settled the figures.")
    source: Source = eg("usage", "What the figures rest on.")
    via: str | None = eg(None, "`logs` when the provider's report came by a client's log.")
    delta_tokens: int | None = eg(620, "New prompt tokens since the turn before.")
    history_ratio: float | None = eg(0.95)
    is_noise: bool | None = eg(True)
    composition: CompositionView | None = eg(_COMPOSITION)
    context_window: int | None = eg(262144)
    context_percent: float | None = eg(4.9)
    cost_usd: Dollars | None = eg("0.0041", "Dollars as a decimal string.")
    response_id: str | None = eg("msg_01")
    finish_reason: str | None = eg("end_turn")
    error: ProblemView | None = eg(None)
    notes: dict[str, Any] = eg({"title": "Rename a module"}, "What else is known.")


class ExchangePage(Output):
    """Exchanges in the order asked for. `next` goes on as `after`; null at the end."""

    exchanges: list[ExchangeView] = eg([example_of(ExchangeView)])
    next: str | None = eg("djE6MTIwNA", default=None)


class ExchangeQuery(Query):
    session: Name | None = None
    provider: Word | None = None
    after: Cursor | None = Field(default=None, description="`next` of the page before.")
    limit: int = Field(default=100, ge=1, le=1000)
    order: str = Field(default="asc", pattern="^(asc|desc)$", description="Oldest or newest first.")
    since: Since | None = Field(default=None, description="ISO 8601; without a zone it is UTC.")


class Totals(Output):
    """Sums over exchanges; a sum of nothing known is null."""

    requests: int = eg(120)
    errors: int = eg(2, "Exchanges that ended with an error.", default=0)
    max_tokens: int | None = eg(48211, default=None)
    mean_tokens: float | None = eg(15210.4, default=None)
    total_prompt_tokens: int | None = eg(1725312, default=None)
    total_completion_tokens: int | None = eg(99840, default=None)
    total_cached_tokens: int | None = eg(1400210, default=None)
    total_reasoning_tokens: int | None = eg(30112, default=None)
    cost_usd: Dollars | None = eg("4.1037", default=None)
    unpriced_requests: int = eg(5, "Exchanges whose price is unknown; not part of the cost.", default=0)
    estimate_accuracy: Accuracy = eg({"requests": 110, "median_error": 0.012}, default=Accuracy())


class ProviderTotals(Totals):
    """Totals of one provider."""

    provider: str = eg("moonshotai")


class ModelTotals(ProviderTotals):
    """Totals of one model."""

    model: str | None = eg("kimi-k2.5")


class Stats(Totals):
    """Totals, then the same by provider and by model, most requests first."""

    by_provider: list[ProviderTotals] = eg([{"provider": "moonshotai", "requests": 120}], default=[])
    by_model: list[ModelTotals] = eg(
        [{"provider": "moonshotai", "model": "kimi-k2.5", "requests": 120}], default=[]
    )


class ReadingView(Output):
    """One source's figures for an exchange."""

    source: Source = eg("proxy")
    reported: bool = eg(False, "True when the provider stated it.")
    at: Instant = eg(_AT)
    origin: str = eg("flow:5d7a8b1e", "Where it was read.")
    input_tokens: int | None = eg(12400, default=None)
    output_tokens: int | None = eg(None, default=None)
    cache_read_tokens: int | None = eg(None, default=None)
    cache_write_tokens: int | None = eg(None, default=None)
    reasoning_tokens: int | None = eg(None, default=None)
    total_tokens: int | None = eg(None, default=None)
    lower_bound: bool = eg(False, "True when the input is a floor only.", default=False)
    context_window: int | None = eg(None, default=None)
    model: str | None = eg("kimi-k2.5", default=None)
    stale: bool = eg(False, "True when it is older than the window.", default=False)

    @classmethod
    def of(cls, reading: Reading, *, stale: bool = False) -> ReadingView:
        """The view of a reading as fusion holds it."""
        usage = reading.usage
        return cls(
            source=reading.source,
            reported=reading.reported,
            at=reading.at,
            origin=reading.origin,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cache_read_tokens=usage.cache_read_tokens,
            cache_write_tokens=usage.cache_write_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            total_tokens=usage.total_tokens,
            lower_bound=reading.lower_bound,
            context_window=reading.context_window,
            model=reading.model,
            stale=stale,
        )


class FusedView(Output):
    """The reading that fusion settled on."""

    source: Source = eg("usage")
    via: str | None = eg(None, default=None)
    rule: str = eg("usage", "The rule that won.")
    stale: bool = eg(False, default=False)
    at: Instant = eg(_AT)
    input_tokens: int | None = eg(12873, default=None)
    output_tokens: int | None = eg(540, default=None)
    cache_read_tokens: int | None = eg(11008, default=None)
    cache_write_tokens: int | None = eg(None, default=None)
    reasoning_tokens: int | None = eg(120, default=None)
    total_tokens: int | None = eg(13413, default=None)


class Fusion(Output):
    """The current fused reading of a session, and the readings it was chosen from."""

    session_id: str | None = eg("s_01jnx4c8q2", default=None)
    exchange_id: str | None = eg("x_01jnx4cb9f", default=None)
    reading: FusedView | None = eg({"source": "usage", "rule": "usage", "at": _AT}, default=None)
    candidates: list[ReadingView] = eg(
        [{"source": "proxy", "reported": False, "at": _AT, "origin": "flow:5d7a8b1e"}], default=[]
    )
