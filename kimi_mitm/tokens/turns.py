"""What of a prompt is new since the previous exchange of its conversation, and what was answered before.

Both look for the longest common prefix of messages: a prompt that was shortened, or changed in the middle, is
history only up to the change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kimi_mitm.tokens.features import INDEX, Medium
from kimi_mitm.tokens.reading import Cache, Observed

NOISE_SHARE = 0.7
NOISE_TOKENS = 10_000
_CONVERSATIONS = 256
_RECENT = 4
_NAME_BYTES = 8


@dataclass(frozen=True, slots=True)
class Turn:
    """`delta_tokens`: prompt tokens that the previous exchange didn't have. `history_ratio`: the share that
    it had. `is_noise`: more than 70 % history in more than 10,000 tokens."""

    delta_tokens: int
    history_ratio: float
    is_noise: bool


def turn(total: int, history: float) -> Turn:
    """The turn of a prompt of `total` tokens of which `history` were there before."""
    history = max(0.0, min(history, float(total)))
    ratio = history / total if total else 0.0
    return Turn(round(total - history), round(ratio, 4), ratio > NOISE_SHARE and total > NOISE_TOKENS)


@dataclass(slots=True)
class Exchanged:
    """One exchange of a conversation: its messages by the names of their prefixes, and the tokens that its
    prompt turned out to have."""

    names: bytes
    length: int
    tokens: int | None = None

    def common(self, other: Exchanged) -> int:
        """How many messages both begin with."""
        low, high = 0, min(self.length, other.length)
        while low < high:  # prefix names agree up to one place and differ beyond it
            middle = (low + high + 1) // 2
            end = middle * _NAME_BYTES
            if self.names[end - _NAME_BYTES : end] == other.names[end - _NAME_BYTES : end]:
                low = middle
            else:
                high = middle - 1
        return low


class Conversations:
    """The last exchanges of the conversations that went on most recently."""

    def __init__(self) -> None:
        self._recent = Cache(_CONVERSATIONS)

    def enter(self, name: str | None, observed: Observed) -> tuple[Exchanged, Exchanged | None, int]:
        """Enters an exchange; gives it, the earlier one that it continues best, and the messages both
        begin with."""
        chain = observed.chain
        now = Exchanged(b"".join(link[:_NAME_BYTES] for link in chain), len(chain))
        key = name if name is not None else (chain[0] if chain else None)
        if key is None:
            return now, None, 0
        earlier: list[Exchanged] = self._recent.touch(key) or []
        best = max(earlier, key=now.common, default=None)
        common = now.common(best) if best else 0
        self._recent[key] = [*earlier, now][-_RECENT:]
        return now, best, common


@dataclass(frozen=True, slots=True)
class Anchor:
    """A prompt that was answered: its regressors and media, the tokens reported, and those of the answer's
    reasoning. `signed` are the sizes of signatures in it, of this turn and of earlier ones, and how many."""

    x: Mapping[str, float]
    media: tuple[Medium, ...]
    tokens: int
    reasoning: int
    signed: tuple[float, float, float]
    seen: int
    """How many answers of its model came before."""


_LIVE, _OLD, _SIGNED = INDEX["call_opaque"], INDEX["old_call_opaque"], INDEX["n_signed"]
_LIVE_NAMES = ("streamed_opaque", "call_opaque")
_OLD_NAMES = ("streamed_old_opaque", "old_call_opaque")


def signed(observed: Observed) -> tuple[float, float, float]:
    """The sizes of signatures in a prompt, of this turn and of earlier ones, and how many there are."""
    counts = observed.counted.counts
    return counts[_LIVE], counts[_OLD], counts[_SIGNED]


def with_reasoning(
    x: Mapping[str, float], now: tuple[float, float, float], anchor: Anchor
) -> dict[str, float]:
    """The regressors with reasoning counted as it was billed, where signatures only show its size.

    Google bills what a replayed signature stands for: the reasoning tokens of the answer it came with, once
    for each call that has it.
    """
    was = anchor.signed
    reasoning = anchor.reasoning * max(1.0, now[2] - was[2])
    live = sum(anchor.x.get(name, 0.0) for name in _LIVE_NAMES)
    old = sum(anchor.x.get(name, 0.0) for name in _OLD_NAMES)
    found = dict(x)
    if now[1] == was[1]:  # the same turn goes on
        live += reasoning or now[0] - was[0] if now[0] > was[0] else 0.0
    elif now[1] >= was[0] + was[1]:  # the user has spoken since
        answered = now[1] - was[0] - was[1]
        live, old = now[0], old + live + (reasoning or answered if answered else 0.0)
    else:
        return found
    for name in _LIVE_NAMES:
        if name in found:
            found[name] = live
    for name in _OLD_NAMES:
        if name in found:
            found[name] = old
    return found


class Anchors:
    """Answered prompts, to be found again as the beginning of later ones."""

    def __init__(self, limit: int = 1024) -> None:
        self._kept = Cache(limit)

    def keep(
        self, model: str, observed: Observed, x: Mapping[str, float], tokens: int, reasoning: int, seen: int
    ) -> None:
        """Remembers an answered prompt."""
        if observed.chain:
            anchor = Anchor(x, observed.counted.media, tokens, reasoning, signed(observed), seen)
            self._kept[(model, observed.head, observed.chain[-1])] = anchor

    def find(self, model: str, observed: Observed) -> Anchor | None:
        """The longest answered prompt that this one begins with, under the same tools and settings."""
        head = observed.head
        for name in reversed(observed.chain):
            found: Anchor | None = self._kept.get((model, head, name))
            if found is not None:
                return found
        return None
