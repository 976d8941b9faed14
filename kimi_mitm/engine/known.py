"""Which exchanges are recorded already: what is read from a file once more must not count again."""

from __future__ import annotations

import asyncio

from kimi_mitm.store import Store
from kimi_mitm.store import exchanges as exchange_rows

_PATIENCE_S = 10.0


class Known:
    """The ids of the exchanges that have ended. Asked in a thread beside the loop; a store that doesn't
    answer knows none. `every`: all of them, where a whole file is read and each would be asked for."""

    def __init__(self, store: Store, every: frozenset[str] | None) -> None:
        self._store = store
        self._every = every
        self._loop = asyncio.get_running_loop()

    def has(self, exchange_id: str, *, live: bool) -> bool:
        """Whether it is recorded. What is live is new, beside a file that is read too."""
        if self._every is not None:
            return exchange_id in self._every
        if live:
            return False
        asked = asyncio.run_coroutine_threadsafe(self._ended(exchange_id), self._loop)
        try:
            return asked.result(_PATIENCE_S)
        except Exception:  # of whichever database's driver, or of a loop that ends
            asked.cancel()
            return False

    async def _ended(self, exchange_id: str) -> bool:
        if self._store.engine is None:
            return False
        found = await exchange_rows.get(self._store.engine, exchange_id)
        return found is not None and found.ended_at is not None
