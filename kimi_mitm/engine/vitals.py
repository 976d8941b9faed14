"""How the engine does: what `/health`, `/metrics` and people's warnings are made of."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from datetime import datetime

from kimi_mitm import link
from kimi_mitm.engine.log_desk import LogDesk
from kimi_mitm.engine.session_keeper import SessionKeeper
from kimi_mitm.events import Hub
from kimi_mitm.records import Exchange
from kimi_mitm.sessions.stats import error_of
from kimi_mitm.store import Store
from kimi_mitm.store import exchanges as exchange_rows
from kimi_mitm.store.exchanges import Wanted

_MOST_MODELS = 200
_MOST_PLACES = 20
_ERRORS = 200


class Vitals:
    """Counters since the start, and what is wrong just now."""

    def __init__(
        self,
        store: Store,
        keeper: SessionKeeper,
        hub: Hub,
        logs: LogDesk,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._keeper = keeper
        self._hub = hub
        self._logs = logs
        self.lost = link.Lost(bodies=0, frames=0, hurried=0, restarts=0)
        self.passed: deque[str] = deque(maxlen=50)
        self.under_way = 0
        self.exchanges = 0
        self._clock = clock
        self._faults: Counter[str] = Counter()
        self.started_at = clock()
        self._errors: defaultdict[tuple[str, str], deque[float]] = defaultdict(lambda: deque(maxlen=_ERRORS))
        self._by_model: defaultdict[tuple[str, str], dict[str, float]] = defaultdict(
            lambda: defaultdict(float)
        )

    async def open(self) -> None:
        """Counts what is recorded already."""
        if self._store.engine is not None:
            self.exchanges = await exchange_rows.count(self._store.engine, Wanted())

    def faulty(self, place: str) -> bool:
        """A fault of ours was met there; True for the first one."""
        if place not in self._faults and len(self._faults) >= _MOST_PLACES:
            place = "elsewhere"
        self._faults[place] += 1
        return self._faults[place] == 1

    @property
    def uptime_s(self) -> float:
        """Seconds since the start."""
        return max(0.0, (self._clock() - self.started_at).total_seconds())

    def recorded(self, exchange: Exchange) -> None:
        """An exchange ended."""
        self.exchanges += 1
        key = (exchange.provider, exchange.model or "unknown")
        if key not in self._by_model and len(self._by_model) >= _MOST_MODELS:
            key = ("other", "other")
        sums = self._by_model[key]
        sums["error" if exchange.error else "ok"] += 1
        sums["input"] += exchange.input_tokens or 0
        sums["output"] += exchange.output_tokens or 0
        sums["cached"] += exchange.cache_read_tokens or 0
        sums["reasoning"] += exchange.reasoning_tokens or 0
        sums["cost"] += float(exchange.cost_usd or 0)
        error = error_of(exchange)
        if error is not None:
            self._errors[key].append(error)

    @property
    def dropped(self) -> int:
        """Pieces lost since the start: frames and bodies of the link, changes of the store."""
        return self.lost.bodies + self.lost.frames + self._store.dropped

    def warnings(self) -> list[str]:
        """One sentence for each thing to look at."""
        found = []
        if self._store.trouble:
            found.append(f"The store: {self._store.trouble}.")
        if self.lost.bodies or self.lost.frames:
            found.append(
                f"The engine fell behind: {self.lost.bodies} bodies and {self.lost.frames} frames are lost."
            )
        if self.lost.hurried:
            found.append(f"{self.lost.hurried} prompts were estimated by length, the engine being behind.")
        if self.lost.restarts:
            found.append(f"The engine was started again {self.lost.restarts} times.")
        if self.lost.faults:
            found.append(f"The recorder kept {self.lost.faults} errors of its own from the traffic.")
        found += [
            f"Clients refuse our certificate for {host}; it is passed through unread."
            for host in dict.fromkeys(self.passed)
        ]
        found += [
            f"Something could not be done, {count} times: {place}." for place, count in self._faults.items()
        ]
        found += [
            f"The log {s.name} is seen, not understood." for s in self._logs.health() if s.not_understood
        ]
        return found

    def metrics(self) -> dict[str, dict[tuple[str, ...], float]]:
        """Everything for Prometheus: metric → label values → value, as `control.metrics.FAMILIES` lists."""
        flag = self._keeper.book.flag
        single = {
            "kimi_exchanges_in_flight": self.under_way,
            "kimi_sessions_active": sum(1 for _ in self._keeper.book.live()),
            "kimi_auto_session_enabled": int(flag.enabled),
            "kimi_auto_session_created": self._keeper.told["auto_session:created"],
            "kimi_queue_depth": self._store.depth,
            "kimi_dropped": self.dropped,
            "kimi_store_writable": int(self._store.trouble is None),
            "kimi_event_readers": self._hub.readers,
            "kimi_uptime_seconds": self.uptime_s,
        }
        values: dict[str, dict[tuple[str, ...], float]] = {n: {(): float(v)} for n, v in single.items()}
        for (provider, model), sums in self._by_model.items():
            for outcome in ("ok", "error"):
                values.setdefault("kimi_exchanges", {})[provider, model, outcome] = sums[outcome]
            for kind in ("input", "output", "cached", "reasoning"):
                values.setdefault("kimi_tokens", {})[provider, model, kind] = sums[kind]
            values.setdefault("kimi_cost_usd", {})[provider, model] = sums["cost"]
        values["kimi_estimate_error_ratio"] = {
            key: statistics.median(errors) for key, errors in self._errors.items()
        }
        for s in self._logs.health():
            values.setdefault("kimi_log_records", {})[s.name, "read"] = float(s.readings)
            values["kimi_log_records"][s.name, "not_understood"] = float(s.seen - s.understood)
        return values
