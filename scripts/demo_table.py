"""Prints exported exchanges as a table: in colour on a terminal, else as plain columns.

python scripts/demo_table.py exchanges.jsonl
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

COLUMNS = ("client", "model", "estimate → settled", "off by", "from", "answer", "cached", "cost", "session")
RIGHT = frozenset({"estimate → settled", "off by", "answer", "cached", "cost"})
UNKNOWN = "–"


def row(exchange: dict[str, Any]) -> list[str]:
    """The cells of one exchange."""
    guess, settled = exchange["estimated_input_tokens"], exchange["input_tokens"]
    reported = not exchange["is_estimated"]
    error = exchange["error"]
    return [
        exchange["client"],
        f"{exchange['model'] or UNKNOWN}{' ⚠ ' + error['type'] if error else ''}",
        f"{number(guess)} → {number(settled)}" if reported else f"{number(guess)} → {UNKNOWN}",
        f"{(guess - settled) / settled:+.1%}" if reported and guess is not None and settled else UNKNOWN,
        f"{exchange['source']} ({exchange['estimate_kind']} estimate)"
        if not reported
        else exchange["source"],
        number(exchange["output_tokens"]),
        number(exchange["cache_read_tokens"]),
        dollars(exchange["cost_usd"]),
        (exchange["session_id"] or UNKNOWN)[:8],
    ]


def number(value: int | None) -> str:
    """Unknown is not zero."""
    return UNKNOWN if value is None else f"{value:,}"


def dollars(amount: str | None) -> str:
    """Four digits; what is less than they can show is not nothing."""
    if amount is None:
        return UNKNOWN
    return "<$0.0001" if 0 < Decimal(amount) < Decimal("0.0001") else f"${Decimal(amount):.4f}"


def summary(exchanges: list[dict[str, Any]]) -> str:
    """One sentence about all of them."""
    sessions = {e["session_id"] for e in exchanges}
    costs = [Decimal(e["cost_usd"]) for e in exchanges if e["cost_usd"] is not None]
    return (
        f"{len(exchanges)} exchanges in {len(sessions)} sessions, ${sum(costs):.4f}"
        f" ({len(exchanges) - len(costs)} without a price)"
    )


def plain(rows: Iterable[list[str]]) -> str:
    """Aligned columns of text."""
    lines = [list(COLUMNS), *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(COLUMNS))]
    pads = [str.rjust if name in RIGHT else str.ljust for name in COLUMNS]
    return "\n".join(
        "  ".join(pad(cell, width) for cell, width, pad in zip(line, widths, pads, strict=True)).rstrip()
        for line in lines
    )


def coloured(rows: Iterable[list[str]]) -> Table:
    """The same for a terminal."""
    table = Table(box=box.SIMPLE_HEAD, header_style="bold")
    for name in COLUMNS:
        table.add_column(name, justify="right" if name in RIGHT else "left", no_wrap=name != "model")
    for cells in rows:
        table.add_row(*cells, style="red" if "⚠" in cells[1] else "yellow" if UNKNOWN in cells[2] else None)
    return table


def main(path: Path) -> None:
    """Prints the exchanges of an export."""
    exchanges = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    rows = [row(exchange) for exchange in exchanges]
    console = Console()
    if console.is_terminal:
        console.print(coloured(rows))
        console.print(summary(exchanges), highlight=False)
    else:
        print(plain(rows))
        print(f"\n{summary(exchanges)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
