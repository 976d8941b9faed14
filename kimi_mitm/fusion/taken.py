"""Which record of each log an exchange has: it takes one of each."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Taken:
    """Records' keys by exchange and log. An exchange whose last record left it still counts as known."""

    _keys: dict[str, dict[str, str]] = field(default_factory=dict)
    _exchanges: dict[str, dict[str, None]] = field(default_factory=dict)

    def __contains__(self, exchange_id: str) -> bool:
        return exchange_id in self._keys

    def has(self, key: str) -> bool:
        """Whether an exchange has this record."""
        return key in self._exchanges

    def is_free(self, exchange_id: str, log: str, key: str) -> bool:
        """Whether the exchange has no record of the log, or this very one."""
        return self._keys.get(exchange_id, {}).get(log, key) == key

    def logs(self, exchange_id: str) -> frozenset[str]:
        """The logs that the exchange has a record of."""
        return frozenset(self._keys.get(exchange_id, ()))

    def take(self, exchange_id: str, log: str, key: str) -> None:
        """Gives the exchange a record, unless it has one of that log."""
        if self._keys.setdefault(exchange_id, {}).setdefault(log, key) == key:
            self._exchanges.setdefault(key, {})[exchange_id] = None

    def leave(self, exchange_id: str, log: str) -> None:
        """Takes the log's record from the exchange."""
        if (key := self._keys.get(exchange_id, {}).pop(log, None)) is not None:
            self._left(exchange_id, key)

    def forget(self, exchange_id: str) -> None:
        for key in self._keys.pop(exchange_id, {}).values():
            self._left(exchange_id, key)

    def _left(self, exchange_id: str, key: str) -> None:
        if key in self._keys.get(exchange_id, {}).values():
            return  # the same record, read as another log's
        inside = self._exchanges.get(key, {})
        inside.pop(exchange_id, None)
        if not inside:
            self._exchanges.pop(key, None)
