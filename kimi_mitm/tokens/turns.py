"""What of a prompt is new since the previous exchange of its conversation."""

from __future__ import annotations

from dataclasses import dataclass

NOISE_SHARE = 0.7
NOISE_TOKENS = 10_000


@dataclass(frozen=True, slots=True)
class Turn:
    """`delta_tokens`: prompt tokens that the previous exchange didn't have. `history_ratio`: the share that
    it had. `is_noise`: more than 70 % history in more than 10,000 tokens."""

    delta_tokens: int
    history_ratio: float
    is_noise: bool
