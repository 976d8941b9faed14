"""Names by the time they stand for: which ones lie near a moment, without looking at all of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

_BUCKET_S: Final = 30
_MOST_BUCKETS: Final = 500  # four hours; what lasts longer is found by its beginning and its end


@dataclass(slots=True)
class Nearby:
    """Names with a span of time each."""

    _buckets: dict[int, dict[str, None]] = field(default_factory=dict)
    _spans: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def put(self, name: str, start: datetime, end: datetime) -> None:
        """Adds a name, or gives it another span."""
        self.remove(name)
        first, last = _bucket(start), _bucket(end)
        span = (first, last) if last - first > _MOST_BUCKETS else tuple(range(first, last + 1))
        self._spans[name] = span
        for bucket in span:
            self._buckets.setdefault(bucket, {})[name] = None

    def remove(self, name: str) -> None:
        for bucket in self._spans.pop(name, ()):
            inside = self._buckets.get(bucket, {})
            inside.pop(name, None)
            if not inside:
                self._buckets.pop(bucket, None)

    def between(self, start: datetime, end: datetime) -> Iterator[str]:
        """Every name whose span may touch this one, each once; also some that lie just beside it."""
        last = _bucket(end)
        first = max(_bucket(start), last - _MOST_BUCKETS)
        found: dict[str, None] = {}
        for bucket in range(first, last + 1):
            found.update(self._buckets.get(bucket, {}))
        return iter(found)


def _bucket(moment: datetime) -> int:
    return int(moment.timestamp()) // _BUCKET_S
