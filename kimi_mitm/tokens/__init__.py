"""Counting that learns: tokens of a prompt before its answer, corrected by it, better next time."""

from __future__ import annotations

from kimi_mitm.tokens.estimate import Estimated, Estimator, estimate_by_length
from kimi_mitm.tokens.reading import Call
from kimi_mitm.tokens.turns import Turn

__all__ = ["Call", "Estimated", "Estimator", "Turn", "estimate_by_length"]
