"""Names by the figures that they have: which ones have equal ones, without looking at all of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from kimi_mitm.records import Usage

type _Figures = tuple[int, int]


@dataclass(slots=True)
class Alike:
    """Names whose input and output tokens are both known."""

    _names: dict[_Figures, dict[str, None]] = field(default_factory=dict)
    _figures: dict[str, _Figures] = field(default_factory=dict)

    def put(self, name: str, usage: Usage) -> None:
        """Adds a name, or gives it other figures; without both figures it is only taken out."""
        self.remove(name)
        if (figures := _figures(usage)) is not None:
            self._figures[name] = figures
            self._names.setdefault(figures, {})[name] = None

    def remove(self, name: str) -> None:
        figures = self._figures.pop(name, None)
        if figures is not None:
            inside = self._names[figures]
            del inside[name]
            if not inside:
                del self._names[figures]

    def of(self, usage: Usage) -> Iterator[str]:
        """Every name with both these figures."""
        figures = _figures(usage)
        return iter(tuple(self._names.get(figures, ())) if figures is not None else ())


def _figures(usage: Usage) -> _Figures | None:
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    return usage.input_tokens, usage.output_tokens
