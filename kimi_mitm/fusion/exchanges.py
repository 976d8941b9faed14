"""The exchanges that records may be of, by id, figures and user."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from kimi_mitm.fusion.alike import Alike
from kimi_mitm.fusion.match import LOG_PREFIX, WireExchange
from kimi_mitm.records import Usage


@dataclass(slots=True)
class Exchanges:
    """Exchanges by id. `running`: the ids of those that have not ended. `users`: how many exchanges on
    the wire each had."""

    running: dict[str, None] = field(default_factory=dict)
    users: Counter[str | None] = field(default_factory=Counter)
    _known: OrderedDict[str, WireExchange] = field(default_factory=OrderedDict)
    _alike: Alike = field(default_factory=Alike)
    _by_id: dict[str, str] = field(default_factory=dict)
    _ids: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, name: str) -> bool:
        return name in self._known

    def __getitem__(self, name: str) -> WireExchange:
        return self._known[name]

    def get(self, name: str) -> WireExchange | None:
        return self._known.get(name)

    def oldest(self) -> str:
        return next(iter(self._known))

    def add(self, exchange: WireExchange) -> list[str]:
        """Takes an exchange; gives the ids of exchanges of logs alone that turn out to be this one."""
        if before := self._known.get(exchange.id):
            self._ids -= Counter(before.all_ids)
        self._known[exchange.id] = exchange
        self._alike.put(exchange.id, exchange.usage)
        if exchange.ended_at is None:
            self.running[exchange.id] = None
        if not exchange.id.startswith(LOG_PREFIX):
            self.users[exchange.user] += 1
        replaced = []
        for name in exchange.all_ids:
            self._ids[name] += 1
            known = self._by_id.setdefault(name, exchange.id)
            if known.startswith(LOG_PREFIX) and known != exchange.id:
                self._by_id[name] = exchange.id
                replaced.append(known)
        return replaced

    def remove(self, name: str) -> None:
        exchange = self._known.pop(name)
        self._alike.remove(name)
        self.running.pop(name, None)
        if not name.startswith(LOG_PREFIX):
            self.users -= Counter([exchange.user])
        for known in exchange.all_ids:
            self._ids[known] -= 1
            if not self._ids[known]:
                del self._ids[known]
            if self._by_id.get(known) == name:
                del self._by_id[known]

    def of_ids(self, ids: Iterable[str]) -> list[str]:
        """The exchanges that these ids belong to, each once."""
        return list(dict.fromkeys(found for name in ids if (found := self._by_id.get(name))))

    def shares(self, ids: Iterable[str]) -> bool:
        """Whether any exchange has one of these ids, be it that it belongs to another."""
        return any(name in self._ids for name in ids)

    def alike(self, usage: Usage) -> Iterator[str]:
        """Every exchange with both these figures."""
        return self._alike.of(usage)

    def agrees(self, usage: Usage) -> bool:
        """Whether any exchange has these figures as far as both are known."""
        return any(True for _ in self._alike.agreeing(usage))
