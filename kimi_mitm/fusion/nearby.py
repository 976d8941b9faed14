"""Names by the time they stand for: which ones lie near a moment, without looking at all of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

_BUCKET_S: Final = 30
_MOST_BUCKETS: Final = 500  # four hours; what lasts longer is found by its beginning and its end


@dataclass(slots=True)
class Nearby[Name: Hashable, Section: Hashable]:
    """Names with a span of time each, in sections of which a search may leave some out."""

    _buckets: dict[int, dict[Section, dict[Name, None]]] = field(default_factory=dict)
    _spans: dict[Name, tuple[int, ...]] = field(default_factory=dict)
    _sections: dict[Name, Section] = field(default_factory=dict)

    def put(self, name: Name, start: datetime, end: datetime, section: Section) -> None:
        """Adds a name, or gives it another span and section."""
        self.remove(name)
        first, last = _bucket(start), _bucket(end)
        span = (first, last) if last - first > _MOST_BUCKETS else tuple(range(first, last + 1))
        self._put(name, span, section)

    def move(self, name: Name, section: Section) -> None:
        """Puts a name into another section."""
        if self._sections[name] != section:
            span = self._spans[name]
            self.remove(name)
            self._put(name, span, section)

    def remove(self, name: Name) -> None:
        if name not in self._spans:
            return
        section = self._sections.pop(name)
        for bucket in self._spans.pop(name):
            if (sections := self._buckets.get(bucket)) and (inside := sections.get(section)):
                inside.pop(name, None)
                if not inside:
                    del sections[section]
                if not sections:
                    del self._buckets[bucket]

    def between(self, start: datetime, end: datetime, wanted: Callable[[Section], bool]) -> Iterator[Name]:
        """Every name of the wanted sections whose span may touch this one, each once; also some that lie
        just beside it."""
        last = _bucket(end)
        first = max(_bucket(start), last - _MOST_BUCKETS)
        found: dict[Name, None] = {}
        verdicts: dict[Section, bool] = {}
        for bucket in range(first, last + 1):
            for section, names in self._buckets.get(bucket, {}).items():
                if section not in verdicts:
                    verdicts[section] = wanted(section)
                if verdicts[section]:
                    found.update(names)
        return iter(found)

    def _put(self, name: Name, span: tuple[int, ...], section: Section) -> None:
        self._spans[name], self._sections[name] = span, section
        for bucket in span:
            self._buckets.setdefault(bucket, {}).setdefault(section, {})[name] = None


def _bucket(moment: datetime) -> int:
    return int(moment.timestamp()) // _BUCKET_S
