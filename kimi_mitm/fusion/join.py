"""Ties log records to the exchanges that the proxy saw: each record to one exchange, or to none.

A record that shares a response, message or request id with an exchange is of that exchange. Any other
is tied by client, model, session and time: to the exchange that fits best, and of those that fit
equally well to the nearest in time. One exchange takes one record of each log. Where two exchanges
that ran at the same time fit equally well, the record stays untied, rather than tied to the wrong one;
so it does where everything fits but the figures, until no better exchange can come any more.

Exchanges are announced when they begin (`exchange`) and again when more is known, so that a record is
never older than the exchange it is of. There is no clock here, and no more memory than the limits say.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from heapq import heapify, heappop, heappush
from typing import Final

from kimi_mitm.fusion.exchanges import Exchanges
from kimi_mitm.fusion.match import (
    LOG_PREFIX,
    WINDOW,
    Fit,
    WireExchange,
    at_start,
    clients_fit,
    earliest,
    fit,
    is_note,
    latest,
    log_exchange,
    nearest,
    slot,
)
from kimi_mitm.fusion.nearby import Nearby
from kimi_mitm.fusion.outcomes import Ambiguous, Counts, Joined, OfSession, Outcome, Waiting
from kimi_mitm.fusion.queue import Group, Queue
from kimi_mitm.fusion.taken import Taken
from kimi_mitm.records import Reading

__all__ = ["HOLD", "Ambiguous", "Counts", "Joined", "Joiner", "OfSession", "Outcome", "Waiting"]

HOLD: Final = timedelta(seconds=30)
"""How long a record waits for its exchange, counted from the record's own time."""
_MOST_EXCHANGES: Final = 20_000
_MOST_WAITING: Final = 20_000
_MOST_OVERDUE: Final = 200_000  # an import of years of logs, between two calls of `expire`
_MOST_KEYS: Final = 100_000
_MOST_ALONE: Final = 5_000

type _Section = tuple[str, frozenset[str] | None]
"""Exchanges of one client that have records of the same logs; None where that isn't known."""


@dataclass(slots=True)
class Joiner:
    """The join, one record at a time. `window`: how late a record's time may be."""

    window: timedelta = WINDOW
    counts: Counts = field(default_factory=Counts)
    _exchanges: Exchanges = field(default_factory=Exchanges)
    _near: Nearby[str, _Section] = field(default_factory=Nearby)
    _taken: Taken = field(default_factory=Taken)
    _homes: OrderedDict[str, tuple[str, str]] = field(default_factory=OrderedDict)
    _waiting: Queue = field(init=False)
    _alone: OrderedDict[str, Reading] = field(default_factory=OrderedDict)
    _late: list[Joined] = field(default_factory=list)
    _overdue: list[Reading] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._waiting = Queue(self.window)

    def exchange(self, exchange: WireExchange) -> list[Joined]:
        """Takes an exchange that began, went on or ended; gives the waiting records that are of it, or
        that it being known has decided."""
        if exchange.id in self._exchanges:
            self._remove(exchange.id)
        self._add(exchange)
        while len(self._exchanges) > _MOST_EXCHANGES:
            oldest = self._exchanges.oldest()
            self._remove(oldest)
            self._taken.forget(oldest)
        self._retry(exchange)
        return self.late()

    def reading(self, reading: Reading) -> Outcome:
        """Takes a record; one that isn't `Joined` at once may be later: see `exchange` and `late`."""
        if is_note(reading):
            return OfSession(reading)
        outcome = self._decide(reading)
        if isinstance(outcome, Joined):
            self._waiting.remove(reading.key)
            self._retry(self._exchanges.get(outcome.exchange_id))
        else:
            self._wait(reading)
        return outcome

    def knows(self, key: str) -> bool:
        """Whether a record of that key is tied, or waits."""
        return key in self._homes or key in self._waiting

    def remember(self, key: str, exchange_id: str, by: str) -> None:
        """Learns what a record was tied to by an earlier run, and by what (`id` or `time`)."""
        self._homes[key] = (exchange_id, by)
        self._waiting.part(key)
        if len(self._homes) > _MOST_KEYS:
            self._homes.popitem(last=False)

    def late(self) -> list[Joined]:
        """The records tied since the last call that no other call has given."""
        found, self._late = self._late, []
        return found

    def expire(self, now: datetime) -> list[Reading]:
        """Gives up on records that have waited long enough: those that fit no exchange are given back,
        to become exchanges of their own (`match.log_exchange_id`); those never told apart are only counted.
        Call `late` afterwards: some find their exchange now."""
        alone: list[Reading] = []
        due = {reading.key: reading for reading in self._overdue}
        due |= {key: reading for key, reading in self._waiting.items() if now - reading.at >= HOLD}
        self._overdue = []
        for reading in sorted(due.values(), key=lambda r: (r.at, r.key)):
            if reading.key in self._homes:
                continue  # found its exchange while others were decided
            self._waiting.remove(reading.key)
            outcome = self._decide(reading, last=True)
            if isinstance(outcome, Joined):
                self._late.append(outcome)
                self._retry(self._exchanges.get(outcome.exchange_id))
            elif isinstance(outcome, Ambiguous):
                self.counts.ambiguous += 1
            elif reading.usage or reading.problem:
                alone.append(reading)
                self._stand_alone(reading)
        return alone

    def _decide(self, reading: Reading, *, last: bool = False) -> Joined | Waiting | Ambiguous:
        shared = self._exchanges.of_ids(reading.ids)
        if len(shared) > 1:
            return _ambiguous(reading, shared, "its ids belong to different exchanges")
        if shared:
            return self._tie(reading, shared[0], "id")
        if home := self._homes.get(reading.key):
            return self._tie(reading, *home)
        fitting = self._fitting(reading, last=last)
        if not fitting:
            return Waiting(reading)
        best = max(grade for grade, _ in fitting)
        top = [exchange for grade, exchange in fitting if grade == best]
        if reading.undated and best.figures < 2:
            return _ambiguous(
                reading, [e.id for e in top], "its log has no times, and the figures don't tell"
            )
        if not last and (best.figures == 0 or not _decided(reading, top)):
            return Waiting(reading)
        if len({e.user for _, e in fitting}) > 1:
            return _ambiguous(reading, [e.id for _, e in fitting], "different users had such exchanges")
        first, *rivals = nearest(reading, top)
        if rivals:
            return _ambiguous(reading, [first, *rivals], "exchanges at the same time fit equally well")
        return self._tie(reading, first, "time")

    def _fitting(self, reading: Reading, *, last: bool) -> list[tuple[Fit, WireExchange]]:
        """Every exchange that the record may be of and that has none of this log yet. In the end, one
        that still runs isn't among them: its record could not have been written."""
        log, was_tied = slot(reading), self._taken.has(reading.key)

        def wanted(section: _Section) -> bool:
            client, logs = section
            free = logs is not None and (was_tied or log not in logs)
            return free and clients_fit(reading.client, client) is not None

        span = earliest(reading, self.window), latest(reading, self.window)
        names = dict.fromkeys(self._near.between(*span, wanted))
        if reading.undated:
            names.update(dict.fromkeys(self._exchanges.alike(reading.usage)))
        if not last:
            names.update(self._exchanges.running)
        found = []
        for name in names:
            exchange = self._exchanges[name]
            if name.startswith(LOG_PREFIX) and name not in self._taken:
                continue  # of an earlier run: which log it was made of is not known
            if not self._taken.is_free(name, log, reading.key):
                continue
            if reading.user is None and exchange.user is not None and len(self._exchanges.users) > 1:
                continue
            if last and name in self._exchanges.running and not at_start(reading):
                continue
            if grade := fit(reading, exchange, self.window):
                found.append((grade, exchange))
        return found

    def _tie(self, reading: Reading, exchange_id: str, by: str) -> Joined:
        home = self._homes.pop(reading.key, None)
        old = home[0] if home else None
        if old is not None and old != exchange_id:
            self._taken.leave(old, slot(reading))
            self._place(old)
        self.remember(reading.key, exchange_id, by)
        if exchange_id in self._exchanges:
            self._taken.take(exchange_id, slot(reading), reading.key)
            self._place(exchange_id)
        if home is None:
            self.counts.by_id += by == "id"
            self.counts.by_time += by == "time"
        moved = old if old != exchange_id else None
        return Joined(exchange_id, replace(reading, joined_by=by), old == exchange_id, moved)

    def _retry(self, exchange: WireExchange | None, *, but: str | None = None) -> None:
        """Looks again at the records that wait near an exchange, and near those that they are tied to.
        `but`: a log whose records it can't be of, unless they share an id with it."""
        todo = [exchange] if exchange else []
        while todo:
            near = todo.pop()
            around = self._waiting.around(near, but)
            but = None
            groups = {g: None for g in around if fit(self._waiting[g.keys[0]], near, self.window)}
            groups.update(dict.fromkeys(self._waiting.named(near)))
            for outcome in self._decide_groups(groups):
                self._late.append(outcome)
                if tied := self._exchanges.get(outcome.exchange_id):
                    todo.append(tied)

    def _decide_groups(self, groups: Iterable[Group]) -> Iterator[Joined]:
        """Decides waiting records in the order of their keys; gives those that are tied. One that isn't
        speaks for the rest of its group, until another is tied."""
        heads, asleep = [(group.keys[0], group) for group in groups], []
        heapify(heads)
        while heads:
            key, group = heappop(heads)
            outcome = self._decide(self._waiting[key])
            asleep.append(group)
            if isinstance(outcome, Joined):
                self._waiting.remove(key)
                yield outcome
                for other in asleep:
                    if (after := other.after(key)) is not None:
                        heappush(heads, (after, other))
                asleep = []

    def _stand_alone(self, reading: Reading) -> None:
        """Makes a record an exchange that other logs' records of the same call can be tied to."""
        self.counts.alone += 1
        exchange = log_exchange(reading)
        self._alone[exchange.id] = reading
        if len(self._alone) > _MOST_ALONE:
            self._alone.popitem(last=False)
        self._add(exchange)
        self._homes[reading.key] = (exchange.id, "id" if reading.ids else "time")
        self._taken.forget(exchange.id)
        self._taken.take(exchange.id, slot(reading), reading.key)
        self._place(exchange.id)
        self._retry(exchange, but=slot(reading))

    def _wait(self, reading: Reading) -> None:
        known = reading.key in self._homes or self._taken.has(reading.key)
        like = reading.reported and self._exchanges.agrees(reading.usage)
        alone = known or self._exchanges.shares(reading.ids)
        self._waiting.put(reading, alone=alone, like=like)
        if len(self._waiting) > _MOST_WAITING:
            oldest = self._waiting.oldest()
            self._waiting.remove(oldest.key)
            if len(self._overdue) < _MOST_OVERDUE:
                self._overdue.append(oldest)
            else:
                self.counts.dropped += 1

    def _add(self, exchange: WireExchange) -> None:
        replaced = self._exchanges.add(exchange)
        end = exchange.ended_at or exchange.started_at
        self._near.put(exchange.id, exchange.started_at, end, self._section(exchange))
        self._waiting.part_from(exchange)
        for known in replaced:
            if reading := self._alone.pop(known, None):
                self._wait(reading)

    def _remove(self, name: str) -> None:
        self._exchanges.remove(name)
        self._near.remove(name)

    def _place(self, name: str) -> None:
        if exchange := self._exchanges.get(name):
            self._near.move(name, self._section(exchange))

    def _section(self, exchange: WireExchange) -> _Section:
        of_log = exchange.id.startswith(LOG_PREFIX) and exchange.id not in self._taken
        return exchange.client, None if of_log else self._taken.logs(exchange.id)


def _decided(reading: Reading, top: Iterable[WireExchange]) -> bool:
    """Whether nothing runs that may yet turn out to be nearest."""
    return at_start(reading) or all(exchange.ended_at is not None for exchange in top)


def _ambiguous(reading: Reading, exchanges: Iterable[str], why: str) -> Ambiguous:
    return Ambiguous(reading, tuple(sorted(exchanges)), why)
