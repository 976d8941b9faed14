"""How far estimates were off: what is shown of a list of relative errors, wherever it is kept."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def median(errors: Sequence[float]) -> float | None:
    """The median; None without errors."""
    return statistics.median(errors) if errors else None


def p90(errors: Sequence[float]) -> float | None:
    """The smallest error that at least 90 % of them do not exceed; None without errors."""
    return sorted(errors)[-(len(errors) // 10) - 1] if errors else None
