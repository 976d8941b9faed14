"""The engine's figures in Prometheus' text format.

Names follow Prometheus' conventions: base units, `_total` for what only grows. Series per model are
as many as there are models, which the engine bounds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CONTENT_TYPE_LATEST, PROCESS_COLLECTOR, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from kimi_mitm.control.service import Metrics

CONTENT_TYPE = CONTENT_TYPE_LATEST

_MODEL = ("provider", "model")


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: whether it only grows, what it says, and its labels in order."""

    grows: bool
    help: str
    labels: tuple[str, ...] = ()


FAMILIES: Mapping[str, Family] = {
    "kimi_exchanges": Family(True, "LLM exchanges that ended; outcome is ok or error.", (*_MODEL, "outcome")),
    "kimi_tokens": Family(True, "Tokens; kind is input, output, cached or reasoning.", (*_MODEL, "kind")),
    "kimi_cost_usd": Family(True, "Cost in US dollars, as far as prices are known.", _MODEL),
    "kimi_estimate_error_ratio": Family(False, "Median of |estimate - reported| / reported.", _MODEL),
    "kimi_exchanges_in_flight": Family(False, "Exchanges that have begun and not ended."),
    "kimi_sessions_active": Family(False, "Sessions that have not ended."),
    "kimi_auto_session_enabled": Family(False, "1 while a change of provider makes a new session."),
    "kimi_auto_session_created": Family(True, "Sessions that the flag created."),
    "kimi_queue_depth": Family(False, "Exchanges on their way into the store."),
    "kimi_dropped": Family(True, "Pieces lost because a queue was full."),
    "kimi_store_writable": Family(False, "1 while the store can be written."),
    "kimi_log_records": Family(
        True, "Log records; outcome is read, joined or not_understood.", ("log", "outcome")
    ),
    "kimi_event_readers": Family(False, "Readers of live events."),
    "kimi_uptime_seconds": Family(False, "Seconds since the engine started."),
}
"""Every metric the endpoint knows; a counter's name gets `_total` in the text."""


class _Snapshot(Collector):
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        for name, family in FAMILIES.items():
            values = self._metrics.values.get(name)
            if values is None:
                continue
            kind = CounterMetricFamily if family.grows else GaugeMetricFamily
            metric = kind(name, family.help, labels=family.labels)
            for labels, value in values.items():
                metric.add_metric(labels, value)
            yield metric


def render(metrics: Metrics) -> bytes:
    """The text of the figures, and of this process's own (memory, CPU, open files)."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(metrics))
    registry.register(PROCESS_COLLECTOR)
    return generate_latest(registry)
