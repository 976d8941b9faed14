"""Tables that fit 80 columns on a terminal, and are whole where they are piped."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from decimal import Decimal

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kimi_mitm.notes import dollars, short

_PIPED = 240
_WHOLE, _MOST = 0.9995, 9.995
_WIDTHS = {
    **{"prompt": 6, "answer": 5, "cached": 5, "cost": 7, "median": 5, "p90": 5, "fill": 4, "took": 6},
    **{"session": 8, "status": 7, "last (UTC)": 11, "day (UTC)": 10, "started (UTC)": 11, "model": 13},
}
"""What is never cut; the rest gives way first."""


def console() -> Console:
    """Standard output; wide where nobody looks at it, so that nothing is cut."""
    return Console(width=None if sys.stdout.isatty() else _PIPED, highlight=False)


def table(*heads: str, numbers: tuple[str, ...] = (), title: str | None = None) -> Table:
    """A table of texts, then numbers."""
    found = Table(
        box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, title=title, title_justify="left"
    )
    for head in heads:
        found.add_column(Text(head, no_wrap=True), min_width=_WIDTHS.get(head))
    for head in numbers:
        found.add_column(head, justify="right", no_wrap=True, min_width=max(len(head), _WIDTHS.get(head, 0)))
    return found


def add(to: Table, *names: str, figures: Iterable[str] = ()) -> None:
    """Adds a row; a name that doesn't fit is cut, not wrapped."""
    to.add_row(*(Text(name, no_wrap=True, overflow="ellipsis") for name in names), *figures)


def tokens(count: int | None) -> str:
    """A count of tokens, short; a dash when it is unknown."""
    return "–" if count is None else short(count)


def cost(amount: Decimal | None) -> str:
    """Dollars; a dash when they are unknown."""
    return "–" if amount is None else dollars(amount)


def percent(share: float | None) -> str:
    """A share as per cent, in five characters; a dash when it is unknown."""
    if share is None:
        return "–"
    return f"{100 * share:.1f}%" if share < _WHOLE else f"{100 * share:.0f}%" if share < _MOST else ">999%"
