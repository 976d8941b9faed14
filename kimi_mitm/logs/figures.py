"""Token figures out of clients' records, brought into the one convention of `records.Usage`.

Clients write the same answer in different ways: with the cached tokens inside the input or beside
it, with the reasoning inside the output or beside it. A reader says which, and gets the one meaning.
"""

from __future__ import annotations

import math
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from kimi_mitm.error_figures import prompt_tokens_of_error
from kimi_mitm.logs.source import Tally
from kimi_mitm.records import Reading, Source, Usage

MOST: Final = 100_000_000
"""No context and no answer is larger; a larger figure is a mistake in the log."""
_MOST_USD: Final = Decimal(100_000)


class Figures:
    """Takes figures for one source; those out of bounds count as unknown and are tallied."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def tokens(self, value: Any) -> int | None:
        """A whole number of tokens, 0 to `MOST`; None when there is none."""
        if value is None:
            return None
        if type(value) is int and 0 <= value <= MOST:  # nearly every figure
            return value
        if isinstance(value, float) and math.isfinite(value) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST:
            self._tally.rejected += 1
            return None
        return value

    def dollars(self, value: Any) -> Decimal | None:
        """US dollars, as the client counted them."""
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            self._tally.rejected += 1
            return None
        try:
            amount = Decimal(str(value))
        except InvalidOperation:
            amount = Decimal("NaN")
        if not amount.is_finite() or not 0 <= amount <= _MOST_USD:
            self._tally.rejected += 1
            return None
        return amount

    def usage(
        self,
        *,
        input: Any = None,
        output: Any = None,
        cache_read: Any = None,
        cache_write: Any = None,
        reasoning: Any = None,
        cost: Any = None,
        cache_apart: bool = False,
        reasoning_apart: bool = False,
    ) -> Usage:
        """A usage from raw values of any type.

        `cache_apart`: cached tokens are not in `input` yet; `reasoning_apart`: reasoning is not in
        `output` yet. A sum with a rejected part is unknown: a sum that is too small is a wrong figure.
        """
        read, write, thought = self.tokens(cache_read), self.tokens(cache_write), self.tokens(reasoning)
        prompt, answer = self.tokens(input), self.tokens(output)
        if cache_apart:
            prompt = _sum(prompt, (cache_read, read), (cache_write, write))
        if reasoning_apart:
            answer = _sum(answer, (reasoning, thought))
        return Usage(
            input_tokens=prompt,
            output_tokens=answer,
            cache_read_tokens=read,
            cache_write_tokens=write,
            reasoning_tokens=thought,
            total_tokens=None if prompt is None or answer is None else prompt + answer,
            cost_usd=self.dollars(cost),
        )

    def google(
        self,
        *,
        prompt: Any,
        answer: Any,
        cached: Any = None,
        thoughts: Any = None,
        tool: Any = None,
        total: Any,
    ) -> Usage:
        """A usage in the shape that descends from Gemini's: tool results stand outside `prompt`, thoughts
        outside `answer` with Google's models and inside it with others; the total tells which.
        """
        used = self.tokens(tool) or 0
        base = self.usage(input=prompt, output=answer, cache_read=cached, reasoning=thoughts)
        if base.input_tokens is None:
            return base
        entered = base.input_tokens + used
        answered, thought = base.output_tokens, base.reasoning_tokens
        if answered is not None and thought and self.tokens(total) != entered + answered:
            answered += thought
        if (entered, answered) == (base.input_tokens, base.output_tokens):
            return base
        return replace(
            base,
            input_tokens=entered,
            output_tokens=answered,
            total_tokens=None if answered is None else entered + answered,
        )


def with_error_figures(reading: Reading) -> Reading:
    """The reading with what its error says of the prompt's size, if it says so."""
    problem = reading.problem
    if problem is None or reading.usage:
        return reading
    stated = prompt_tokens_of_error(problem.type, problem.message)
    if stated is None or stated.input_tokens is None:
        return reading
    return replace(
        reading,
        source=Source.API_ERROR,
        usage=Usage(input_tokens=stated.input_tokens),
        lower_bound=stated.lower_bound,
        context_window=stated.context_window or reading.context_window,
    )


def _sum(base: int | None, *parts: tuple[Any, int | None]) -> int | None:
    if base is None:
        return None
    for raw, part in parts:
        if raw is not None and part is None:
            return None
        base += part or 0
    return base
