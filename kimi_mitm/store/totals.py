"""What many exchanges add up to, over all, by provider and by model. Pure: rows come in, sums go out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

from kimi_mitm import accuracy


class Figures(NamedTuple):
    """The figures of one exchange that are summed, in the order of `COLUMNS`."""

    provider: str
    model: str | None
    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None
    reasoning_tokens: int | None
    total_tokens: int | None
    cost_usd: str | None
    failed: bool
    estimated_input_tokens: int | None
    reported: bool


@dataclass(slots=True)
class Totals:
    """Sums; a sum of nothing known is None. `errors`: |estimate - reported| / reported of the exchanges
    whose provider reported, in the order they came."""

    requests: int = 0
    failed: int = 0
    measured: int = 0
    tokens: int = 0
    max_tokens: int | None = None
    total_prompt_tokens: int | None = None
    total_completion_tokens: int | None = None
    total_cached_tokens: int | None = None
    total_reasoning_tokens: int | None = None
    cost_usd: Decimal | None = None
    unpriced_requests: int = 0
    errors: list[float] = field(default_factory=list)

    def add(self, row: Figures) -> None:
        """Counts one exchange."""
        self.requests += 1
        self.failed += row.failed
        tokens = row.total_tokens if row.total_tokens is not None else row.input_tokens
        if tokens is not None:
            self.measured += 1
            self.tokens += tokens
            self.max_tokens = max(tokens, self.max_tokens or 0)
        self.total_prompt_tokens = _sum(self.total_prompt_tokens, row.input_tokens)
        self.total_completion_tokens = _sum(self.total_completion_tokens, row.output_tokens)
        self.total_cached_tokens = _sum(self.total_cached_tokens, row.cache_read_tokens)
        self.total_reasoning_tokens = _sum(self.total_reasoning_tokens, row.reasoning_tokens)
        if row.cost_usd is None:
            self.unpriced_requests += 1
        else:
            self.cost_usd = (self.cost_usd or Decimal(0)) + Decimal(row.cost_usd)
        if row.reported and row.input_tokens and row.estimated_input_tokens is not None:
            self.errors.append(abs(row.estimated_input_tokens - row.input_tokens) / row.input_tokens)

    @property
    def mean_tokens(self) -> float | None:
        return self.tokens / self.measured if self.measured else None

    @property
    def median_error(self) -> float | None:
        return accuracy.median(self.errors)

    @property
    def p90_error(self) -> float | None:
        return accuracy.p90(self.errors)

    @property
    def last_error(self) -> float | None:
        return self.errors[-1] if self.errors else None

    def shown(self) -> dict[str, Any]:
        """The sums by the names under which people get them."""
        return {
            "requests": self.requests,
            "errors": self.failed,
            "max_tokens": self.max_tokens,
            "mean_tokens": self.mean_tokens,
            "total_prompt_tokens": self.total_prompt_tokens,
            "total_completion_tokens": self.total_completion_tokens,
            "total_cached_tokens": self.total_cached_tokens,
            "total_reasoning_tokens": self.total_reasoning_tokens,
            "cost_usd": self.cost_usd,
            "unpriced_requests": self.unpriced_requests,
            "estimate_accuracy": {
                "requests": len(self.errors),
                "median_error": self.median_error,
                "p90_error": self.p90_error,
                "last_error": self.last_error,
            },
        }


class Tally:
    """Totals over all, and the same by provider and by (provider, model)."""

    def __init__(self) -> None:
        self.all = Totals()
        self._by_provider: dict[str, Totals] = defaultdict(Totals)
        self._by_model: dict[tuple[str, str | None], Totals] = defaultdict(Totals)

    def add(self, rows: Iterable[Figures]) -> None:
        """Counts exchanges, in the order they started."""
        for row in rows:
            self.all.add(row)
            self._by_provider[row.provider].add(row)
            self._by_model[row.provider, row.model].add(row)

    def by_provider(self) -> Iterator[tuple[str, Totals]]:
        """Most requests first."""
        return iter(sorted(self._by_provider.items(), key=lambda item: -item[1].requests))

    def by_model(self) -> Iterator[tuple[tuple[str, str | None], Totals]]:
        """Most requests first."""
        return iter(sorted(self._by_model.items(), key=lambda item: -item[1].requests))


def _sum(total: int | None, figure: int | None) -> int | None:
    return total if figure is None else (total or 0) + figure
