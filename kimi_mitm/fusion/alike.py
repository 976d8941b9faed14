"""Names by the figures that they have: which ones have equal ones, without looking at all of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain

from kimi_mitm.records import Usage

type _Figures = tuple[int | None, int | None]


@dataclass(slots=True)
class Alike:
    """Names by their input and output tokens."""

    _names: dict[_Figures, dict[str, None]] = field(default_factory=dict)
    _halves: dict[_Figures, dict[str, None]] = field(default_factory=dict)
    _figures: dict[str, _Figures] = field(default_factory=dict)

    def put(self, name: str, usage: Usage) -> None:
        """Adds a name, or gives it other figures; without any it is only taken out."""
        self.remove(name)
        figures = usage.input_tokens, usage.output_tokens
        if figures != (None, None):
            self._figures[name] = figures
            self._names.setdefault(figures, {})[name] = None
            for half in _halves(figures):
                self._halves.setdefault(half, {})[name] = None

    def remove(self, name: str) -> None:
        figures = self._figures.pop(name, None)
        if figures is not None:
            _take_out(self._names, figures, name)
            for half in _halves(figures):
                _take_out(self._halves, half, name)

    def of(self, usage: Usage) -> Iterator[str]:
        """Every name with both these figures; none when one of them isn't known."""
        if usage.input_tokens is None or usage.output_tokens is None:
            return iter(())
        return iter(tuple(self._names.get((usage.input_tokens, usage.output_tokens), ())))

    def agreeing(self, usage: Usage) -> Iterator[str]:
        """Every name that has these figures as far as both are known, and at least one is."""
        figures = usage.input_tokens, usage.output_tokens
        alike = (self._names.get(half, {}) for half in (figures, *_halves(figures)))
        return chain(self._halves.get(figures, {}), *alike)


def _halves(figures: _Figures) -> tuple[_Figures, ...]:
    """Each of two known figures by itself."""
    one, other = figures
    return () if one is None or other is None else ((one, None), (None, other))


def _take_out(names: dict[_Figures, dict[str, None]], figures: _Figures, name: str) -> None:
    inside = names[figures]
    del inside[name]
    if not inside:
        del names[figures]
