"""What the learner may still learn: prompts whose usage never came on the wire, until a log brings it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable

from kimi_mitm.draft import Draft
from kimi_mitm.engine.shared_estimator import SharedEstimator
from kimi_mitm.records import Exchange, Source, Usage
from kimi_mitm.tokens import Estimated

_MOST = 200
_MOST_BYTES = 16 * 1024 * 1024


class Lessons:
    """Bounded in number and in bytes; the oldest go first. `learned` is told which states changed."""

    def __init__(self, estimator: SharedEstimator, learned: Callable[[Iterable[str]], object]) -> None:
        self._estimator = estimator
        self._learned = learned
        self._waiting: OrderedDict[str, tuple[Estimated, int]] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def note(self, exchange: Exchange, draft: Draft) -> None:
        """An exchange has ended. One without the provider's report is kept, if its answer was whole."""
        whole = exchange.error is None and draft.request.generates and not draft.pending
        if not whole or not exchange.is_estimated or draft.estimated is None:
            return
        size = len(draft.body or b"")
        self._waiting[exchange.id] = (draft.estimated, size)
        self._bytes += size
        while self._waiting and (len(self._waiting) > _MOST or self._bytes > _MOST_BYTES):
            self._bytes -= self._waiting.popitem(last=False)[1][1]

    async def learn(self, exchange: Exchange) -> None:
        """An exchange was settled anew: learns from it if a log brought the provider's own report."""
        if exchange.is_estimated or exchange.source is not Source.USAGE:
            return
        known = self._waiting.pop(exchange.id, None)
        if known is None:
            return
        self._bytes -= known[1]
        reported = Usage(
            input_tokens=exchange.input_tokens,
            output_tokens=exchange.output_tokens,
            cache_read_tokens=exchange.cache_read_tokens,
            reasoning_tokens=exchange.reasoning_tokens,
        )
        self._learned(
            await asyncio.to_thread(
                self._estimator.learn, known[0], reported, response_id=exchange.response_id
            )
        )
