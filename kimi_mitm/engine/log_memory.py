"""What is known of the exchanges and records that logs are about: the newest in memory, the rest stored."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime

from kimi_mitm.fusion.join import Joiner
from kimi_mitm.fusion.match import LOG_PREFIX, earliest, is_library, latest
from kimi_mitm.records import Exchange, Reading
from kimi_mitm.store import Store
from kimi_mitm.store import exchanges as exchange_rows
from kimi_mitm.store import readings as reading_rows

_RECENT = 1_000


class LogMemory:
    """Exchanges, and the readings of each, over restarts."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._recent: OrderedDict[str, Exchange] = OrderedDict()
        self._readings: OrderedDict[str, dict[str, Reading]] = OrderedDict()

    def know(self, exchange: Exchange) -> None:
        """Takes an exchange, or what is new of it."""
        self._recent[exchange.id] = exchange
        self._recent.move_to_end(exchange.id)
        while len(self._recent) > _RECENT:
            self._recent.popitem(last=False)

    def begun(self, exchange_id: str) -> None:
        """An exchange is new: there is nothing of it to look for in the store."""
        self._readings.setdefault(exchange_id, {})

    def forget(self, exchange_id: str) -> None:
        """An exchange that a record made alone turned out to be another one."""
        self._recent.pop(exchange_id, None)

    async def exchange(self, exchange_id: str) -> Exchange | None:
        """An exchange as it stands."""
        known = self._recent.get(exchange_id)
        if known is not None or self._store.engine is None:
            return known
        return await exchange_rows.get(self._store.engine, exchange_id)

    async def readings(self, exchange_id: str) -> dict[str, Reading]:
        """An exchange's readings of logs, by key; what is put into it is remembered."""
        if exchange_id not in self._readings:
            found: Sequence[Reading] = ()
            if self._store.engine is not None:
                found = await reading_rows.of(self._store.engine, exchange_id)
            self._readings[exchange_id] = {reading.key: reading for reading in found}
        self._readings.move_to_end(exchange_id)
        while len(self._readings) > _RECENT:
            self._readings.popitem(last=False)
        return self._readings[exchange_id]

    def has_readings(self, exchange_id: str) -> bool:
        """Whether any came before the exchange ended."""
        return bool(self._readings.get(exchange_id))

    async def remind(self, joiner: Joiner, readings: Sequence[Reading]) -> None:
        """Tells the join which of these records an earlier run has tied, so that reading a file once more
        changes nothing."""
        if self._store.engine is None:
            return
        strange = [reading.key for reading in readings if not joiner.knows(reading.key)]
        for key, exchange_id, by in await reading_rows.homes(self._store.engine, strange):
            joiner.remember(key, exchange_id, by)

    def is_near(self, reading: Reading) -> bool:
        """Whether its client had an exchange on the wire at the record's time, or has one still: what ties
        the two may not have been written yet."""
        return any(
            reading.client == seen.client or is_library(seen.client)
            for seen in reversed(self._recent.values())
            if not seen.id.startswith(LOG_PREFIX) and _touches(reading, seen.started_at, seen.ended_at)
        )


def _touches(reading: Reading, start: datetime, end: datetime | None) -> bool:
    return start <= latest(reading) and (end is None or earliest(reading) <= end)
