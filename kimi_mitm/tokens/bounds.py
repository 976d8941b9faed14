"""How far a prompt's tokens can be from what is visible of it: what no provider reports is neither learned
nor estimated.

Over the recorded exchanges of all families that the priors were fitted on, a prompt of text has at least 0.71
times its tokens in o200k (0.95 times beyond 150 tokens) and at most 2.4 times them, beside what the provider
adds: at most 1,400 tokens. Gemini's were measured in o200k, too, and are closer in their own encoding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

_LEAST = 0.6
_LEAST_READ = 0.25
_MOST = 3.0
# A preamble that nobody sees, or a gateway's: no known one is half as long.
_ADDED = 10_000.0
_FEW = 10.0
_BILLED = ("text", "names")
_VISIBLE = (
    *_BILLED, "call", "result", "tools", "json_tools", "defined_tools", "schema", "json_schema", "thought",
    "old_thought",
)  # fmt: skip
_FRAMED = ("n_system", "n_user", "n_assistant", "n_call", "n_result", "n_tools", "n_fields", "n_thought")
_FRAME = 4.0
# What can cost any number of tokens: the size that is seen of these isn't their tokens'.
_OPEN = (
    "n_image", "pages", "n_file", "audio", "video", "opaque", "old_opaque", "call_opaque",
    "streamed_opaque", "old_call_opaque", "streamed_old_opaque",
)  # fmt: skip
_RETIRING = ("thought", "opaque", "call_opaque", "streamed_opaque")


@dataclass(frozen=True, slots=True)
class Bounds:
    """The fewest and the most tokens that a prompt can have."""

    least: float
    most: float

    def hold(self, tokens: float) -> bool:
        """Whether a figure lies between them."""
        return self.least <= tokens <= self.most

    def nearest(self, tokens: float) -> float:
        """The figure, or the bound that it went beyond."""
        return max(self.least, min(tokens, self.most))


def bounds(x: Mapping[str, float]) -> Bounds:
    """The bounds of a prompt with these regressors. What isn't text has no upper one."""
    least = _LEAST * sum(x.get(name, 0.0) for name in _BILLED) - _FEW
    if any(name in x for name in _OPEN):
        return Bounds(least, inf)
    visible = sum(x.get(name, 0.0) for name in _VISIBLE)
    framed = sum(x.get(name, 0.0) for name in _FRAMED)
    return Bounds(least, _MOST * (visible + _FRAME * framed) + _ADDED)


def floor(x: Mapping[str, float]) -> float:
    """The fewest tokens that are estimated before a model's own answers tell of fewer: a server that leaves
    calls or tools out is an exception. More of the text than the least that can be reported."""
    seen = ("call", "result") if "no_tools" in x else ("call", "result", "tools", "defined_tools")
    return _LEAST * sum(x.get(name, 0.0) for name in _BILLED) + _LEAST_READ * sum(
        x.get(name, 0.0) for name in seen
    )


def anchored(x: Mapping[str, float], earlier: Mapping[str, float], tokens: int) -> Bounds:
    """The bounds of a prompt that goes on from one of which `tokens` were reported: it has these, unless
    earlier reasoning is left out of it, and so much of the rest as it could have alone."""
    own = bounds(x)
    if any(earlier.get(name) for name in _RETIRING):
        return own
    rest = bounds({name: value - earlier.get(name, 0.0) for name, value in x.items()})
    return Bounds(max(own.least, tokens + rest.least), max(own.most, float(tokens)))
