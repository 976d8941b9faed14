"""A session's running figures, one settled exchange after another.

An exchange may settle again with better figures (a log that comes late): its earlier version is
taken out first. Unknown stays unknown: a sum is None until something is known, and the counts say
how many exchanges it rests on.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from kimi_mitm import accuracy
from kimi_mitm.records import Exchange, Source
from kimi_mitm.sessions.names import tidy

_ERRORS = 200
_LARGEST = 8
_NAMES = 50


class ContextLevel(enum.StrEnum):
    """How full the last turn's context window is: below 80 %, and from 80, 90 and 95 % on."""

    NORMAL = "normal"
    HIGH = "high"
    VERY_HIGH = "very_high"
    CRITICAL = "critical"


_LEVELS = ((95.0, ContextLevel.CRITICAL), (90.0, ContextLevel.VERY_HIGH), (80.0, ContextLevel.HIGH))


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStats:
    """Figures over a session's settled exchanges, side traffic included.

    An exchange's tokens are its total, prompt and answer. `measured` exchanges have one, `estimated`
    of them rest on an estimate. `total_*` are sums over the exchanges that know the figure.
    `errors`: the last 200 |estimate - reported| / reported, oldest first, where the provider reported.
    `context_*`, `memory_tokens` and `chat_tokens` are those of the last conversation turn: each
    request brings the whole context again, so a sum over turns would count it many times.
    """

    requests: int = 0
    side_requests: int = 0
    failed_requests: int = 0
    measured: int = 0
    estimated: int = 0
    total_tokens: int = 0
    largest: tuple[int, ...] = ()
    total_prompt_tokens: int | None = None
    total_completion_tokens: int | None = None
    total_cached_tokens: int | None = None
    total_reasoning_tokens: int | None = None
    cost_usd: Decimal | None = None
    unpriced_requests: int = 0
    judged: int = 0
    errors: tuple[float, ...] = ()
    context_tokens: int | None = None
    context_window: int | None = None
    context_percent: float | None = None
    memory_tokens: int | None = None
    chat_tokens: int | None = None
    last_turn_at: datetime | None = None
    providers: tuple[str, ...] = ()
    models: tuple[str, ...] = ()

    @property
    def max_tokens(self) -> int | None:
        """The largest exchange."""
        return self.largest[0] if self.largest else None

    @property
    def mean_tokens(self) -> float | None:
        return self.total_tokens / self.measured if self.measured else None

    @property
    def median_error(self) -> float | None:
        return accuracy.median(self.errors)

    @property
    def p90_error(self) -> float | None:
        """Of the last errors."""
        return accuracy.p90(self.errors)

    @property
    def last_error(self) -> float | None:
        return self.errors[-1] if self.errors else None

    @property
    def context_level(self) -> ContextLevel | None:
        if self.context_percent is None:
            return None
        return next((level for at, level in _LEVELS if self.context_percent >= at), ContextLevel.NORMAL)

    @property
    def memory_ratio(self) -> float | None:
        """Share of the last turn's prompt that memory brought, 0 to 1."""
        if self.memory_tokens is None or self.chat_tokens is None:
            return None
        whole = self.memory_tokens + self.chat_tokens
        return self.memory_tokens / whole if whole else None

    def with_exchange(self, exchange: Exchange, before: Exchange | None = None) -> SessionStats:
        """The figures with this exchange in them, in place of its earlier version `before`."""
        stats = self._counted(before, -1) if before is not None else self
        return stats._counted(exchange, 1)._named(exchange)._turned(exchange)

    def without_exchange(self, exchange: Exchange) -> SessionStats:
        """The figures without an exchange that was counted by mistake."""
        return self._counted(exchange, -1)

    def _counted(self, exchange: Exchange, sign: int) -> SessionStats:
        tokens = tokens_of(exchange)
        known = tokens is not None
        priced = exchange.cost_usd is not None
        return replace(
            self,
            requests=self.requests + sign,
            side_requests=self.side_requests + sign * exchange.side,
            failed_requests=self.failed_requests + sign * (exchange.error is not None),
            measured=self.measured + sign * known,
            estimated=self.estimated + sign * (known and exchange.is_estimated),
            total_tokens=self.total_tokens + sign * (tokens or 0),
            largest=_largest(self.largest, tokens, sign),
            total_prompt_tokens=_sum(self.total_prompt_tokens, exchange.input_tokens, sign),
            total_completion_tokens=_sum(self.total_completion_tokens, exchange.output_tokens, sign),
            total_cached_tokens=_sum(self.total_cached_tokens, exchange.cache_read_tokens, sign),
            total_reasoning_tokens=_sum(self.total_reasoning_tokens, exchange.reasoning_tokens, sign),
            cost_usd=self._cost(exchange.cost_usd, sign),
            unpriced_requests=self.unpriced_requests + sign * (not priced),
            judged=self.judged + sign * (error_of(exchange) is not None),
            errors=_errors(self.errors, error_of(exchange), sign),
        )

    def _cost(self, cost: Decimal | None, sign: int) -> Decimal | None:
        if cost is None:
            return self.cost_usd
        return (self.cost_usd or Decimal(0)) + sign * cost

    def _named(self, exchange: Exchange) -> SessionStats:
        return replace(
            self,
            providers=_seen(self.providers, exchange.provider if exchange.provider != "unknown" else None),
            models=_seen(self.models, exchange.model),
        )

    def _turned(self, exchange: Exchange) -> SessionStats:
        late = self.last_turn_at is not None and exchange.started_at < self.last_turn_at
        if exchange.side or late:
            return self
        prompt = exchange.input_tokens
        parts = exchange.composition
        return replace(
            self,
            last_turn_at=exchange.started_at,
            context_tokens=self.context_tokens if prompt is None else prompt,
            context_window=self.context_window if prompt is None else exchange.context_window,
            context_percent=self.context_percent if prompt is None else exchange.context_percent,
            memory_tokens=self.memory_tokens if parts is None else parts.memory,
            chat_tokens=self.chat_tokens if parts is None else parts.total - parts.memory,
        )


NO_FIGURES = SessionStats()


def tokens_of(exchange: Exchange) -> int | None:
    """Prompt and answer together; None when neither the total nor the prompt is known."""
    if exchange.total_tokens is not None:
        return exchange.total_tokens
    if exchange.input_tokens is None:
        return None
    return exchange.input_tokens + (exchange.output_tokens or 0)


def error_of(exchange: Exchange) -> float | None:
    """|estimate - reported| / reported for the prompt, where the provider reported; else None."""
    reported, estimate = exchange.input_tokens, exchange.estimated_input_tokens
    if exchange.source is not Source.USAGE or exchange.is_estimated or not reported or estimate is None:
        return None
    return round(abs(estimate - reported) / reported, 5)


def _sum(total: int | None, figure: int | None, sign: int) -> int | None:
    return total if figure is None else (total or 0) + sign * figure


def _largest(largest: tuple[int, ...], tokens: int | None, sign: int) -> tuple[int, ...]:
    if tokens is None:
        return largest
    if sign > 0:
        return tuple(sorted((*largest, tokens), reverse=True)[:_LARGEST])
    return _without(largest, tokens)


def _errors(errors: tuple[float, ...], error: float | None, sign: int) -> tuple[float, ...]:
    if error is None:
        return errors
    return (*errors, error)[-_ERRORS:] if sign > 0 else _without(errors, error)


def _without[T](values: tuple[T, ...], value: T) -> tuple[T, ...]:
    if value not in values:
        return values
    at = values.index(value)
    return values[:at] + values[at + 1 :]


def _seen(names: tuple[str, ...], name: str | None) -> tuple[str, ...]:
    name = tidy(name)
    if name is None or name in names or len(names) >= _NAMES:
        return names
    return (*names, name)
