"""The records that wait for their exchange, in groups whose records have one fate.

Thousands may wait at one time (a log that is imported, a file whose records have no times of their own).
Those that differ only in their names, and in figures that no exchange has, are decided once for all.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict
from collections.abc import ItemsView, Iterator
from dataclasses import dataclass, field
from datetime import timedelta

from kimi_mitm.fusion.alike import Alike
from kimi_mitm.fusion.match import WINDOW, WireExchange, clients_fit, earliest, latest, slot
from kimi_mitm.fusion.nearby import Nearby
from kimi_mitm.records import Reading


@dataclass(slots=True, eq=False)
class Group:
    """Records that are told apart by nothing that an exchange has; `keys` are in order."""

    traits: tuple[object, ...]
    keys: list[str] = field(default_factory=list)

    def after(self, key: str) -> str | None:
        """The next key in order."""
        place = bisect_right(self.keys, key)
        return self.keys[place] if place < len(self.keys) else None


@dataclass(slots=True)
class Queue:
    """Waiting records by key, in the order in which they came."""

    window: timedelta = WINDOW
    _readings: OrderedDict[str, Reading] = field(default_factory=OrderedDict)
    _newest: dict[str, str] = field(default_factory=dict)  # by id
    _undated: Alike = field(default_factory=Alike)
    _groups: dict[tuple[object, ...], Group] = field(default_factory=dict)
    _group_of: dict[str, Group] = field(default_factory=dict)
    _near: Nearby[Group, tuple[str, str | None]] = field(default_factory=Nearby)
    _with_id: dict[str, dict[str, None]] = field(default_factory=dict)  # those not alone
    _plain: Alike = field(default_factory=Alike)  # those whose figures no exchange has

    def __len__(self) -> int:
        return len(self._readings)

    def __contains__(self, key: str) -> bool:
        return key in self._readings

    def __getitem__(self, key: str) -> Reading:
        return self._readings[key]

    def items(self) -> ItemsView[str, Reading]:
        return self._readings.items()

    def oldest(self) -> Reading:
        return next(iter(self._readings.values()))

    def put(self, reading: Reading, *, alone: bool, like: bool) -> None:
        """Adds a record at the end. `alone`: it shares an id with an exchange, or was tied to one before;
        `like`: an exchange has its figures."""
        self.remove(reading.key)
        self._readings[reading.key] = reading
        self._newest.update(dict.fromkeys(reading.ids, reading.key))
        if reading.undated:
            self._undated.put(reading.key, reading.usage)
        self._join(reading, alone=alone, like=like)

    def remove(self, key: str) -> None:
        if reading := self._readings.pop(key, None):
            self._leave(reading)
            self._undated.remove(key)
            for name in reading.ids:
                self._newest.pop(name, None)

    def part(self, key: str) -> None:
        """A record that waits, if it does, is from now on decided by itself."""
        if reading := self._readings.get(key):
            self._leave(reading)
            self._join(reading, alone=True, like=False)

    def part_from(self, exchange: WireExchange) -> None:
        """Tells the records that share an id or figures with an exchange from the others."""
        for name in exchange.all_ids:
            for key in tuple(self._with_id.get(name, ())):
                self.part(key)
        for key in tuple(self._plain.agreeing(exchange.usage)):
            reading = self._readings[key]
            self._leave(reading)
            self._join(reading, alone=False, like=True)

    def around(self, exchange: WireExchange, but: str | None) -> dict[Group, None]:
        """The groups near an exchange, and those without a time that have its figures. `but`: a log whose
        records are left out."""

        def wanted(section: tuple[str, str | None]) -> bool:
            log, client = section
            return log != but and clients_fit(client, exchange.client) is not None

        end = (exchange.ended_at or exchange.started_at) + self.window
        found = dict.fromkeys(self._near.between(exchange.started_at - self.window, end, wanted))
        for key in self._undated.of(exchange.usage):
            if but is None or slot(self._readings[key]) != but:
                found[self._group_of[key]] = None
        return found

    def named(self, exchange: WireExchange) -> Iterator[Group]:
        """The groups of the records that came last with each id of an exchange."""
        return (self._group_of[key] for name in exchange.all_ids if (key := self._newest.get(name)))

    def _join(self, reading: Reading, *, alone: bool, like: bool) -> None:
        plain = not (alone or like)
        traits = (reading.key,) if alone else _traits(reading, like=like)
        if (group := self._groups.get(traits)) is None:
            group = self._groups[traits] = Group(traits)
            span = earliest(reading, self.window), latest(reading, self.window)
            self._near.put(group, *span, (slot(reading), reading.client))
        insort(group.keys, reading.key)
        self._group_of[reading.key] = group
        if not alone:
            for name in reading.ids:
                self._with_id.setdefault(name, {})[reading.key] = None
        if plain and reading.reported:
            self._plain.put(reading.key, reading.usage)

    def _leave(self, reading: Reading) -> None:
        group = self._group_of.pop(reading.key)
        del group.keys[bisect_left(group.keys, reading.key)]
        if not group.keys:
            del self._groups[group.traits]
            self._near.remove(group)
        self._plain.remove(reading.key)
        for name in reading.ids:
            if (inside := self._with_id.get(name)) is not None:
                inside.pop(reading.key, None)
                if not inside:
                    del self._with_id[name]


def _traits(reading: Reading, *, like: bool) -> tuple[object, ...]:
    """All that `match.fit` and the join look at; of ids that no exchange has, whether there are any, and
    of such figures, which are known."""
    figures = reading.usage.input_tokens, reading.usage.output_tokens
    return (
        slot(reading),
        reading.client,
        reading.client_session_id,
        reading.model,
        reading.user,
        reading.at,
        reading.started_at,
        reading.undated,
        reading.reported,
        bool(reading.side),
        bool(reading.ids),
        reading.problem is not None,
        bool(reading.usage.output_tokens),
        like,  # beside the figures: 0 and 1 equal False and True
        figures if like else tuple(figure is not None for figure in figures),
    )
