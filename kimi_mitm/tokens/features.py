"""What of a prompt explains its tokens: a vector of additive counts, taken slice by slice.

A slice's counts depend only on its bytes and on the dialect, so they are cached by digest; a prompt's
vector is the sum. What isn't additive (is there a system prompt at all?) is derived from the sums by
`regressors`.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import add
from typing import NamedTuple

from kimi_mitm.tokens import tokenizer

COUNTS = (
    "text", "call", "result", "tools", "tool_words", "n_tools", "n_fields", "schema", "schema_words",
    "n_schema_fields", "n_system", "n_user", "n_assistant", "n_call", "n_result", "n_parallel",
    "digits", "wide", "blanks", "marks", "capitals", "names",
    "image", "n_image", "pages", "n_pages", "n_file", "audio", "video",
    "thought", "opaque", "n_thought", "old_thought", "old_opaque", "n_old_thought", "call_opaque",
    "old_call_opaque", "n_cited", "n_cut", "n_optional", "n_nested", "n_keys",
    "n_documents", "n_signed", "json_tools", "n_described", "n_answers",
    "json_schema", "defined_tools",
)  # fmt: skip
INDEX = {name: place for place, name in enumerate(COUNTS)}
_N_USER, _N_RESULT = INDEX["n_user"], INDEX["n_result"]
_RETIRING = tuple(
    (INDEX[name], INDEX[old])
    for name, old in (
        ("thought", "old_thought"),
        ("opaque", "old_opaque"),
        ("n_thought", "n_old_thought"),
        ("call_opaque", "old_call_opaque"),
    )
)
# Text by where it stands; what isn't text is told by its own counts.
PARTS = ("system", "user", "assistant", "tool_results", "memory")
PART_INDEX = {name: place for place, name in enumerate(PARTS)}
Vector = tuple[float, ...]
ZERO: Vector = (0.0,) * len(COUNTS)
NO_PARTS: Vector = (0.0,) * len(PARTS)


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a model reads: its encoding, how functions reach it (as `json`, as a `typescript` namespace, or as
    their `words` alone), its media rates, and whether it thinks between tags in its own text."""

    encoding: str = tokenizer.O200K
    functions: str = "json"
    media: str = ""
    think_tags: bool = False


class Medium(NamedTuple):
    """One picture, document, sound or film: its digest, and the counts that stand for it."""

    digest: str
    costs: tuple[tuple[str, float], ...]


class Counted(NamedTuple):
    """What was counted of a slice, or of many."""

    counts: Vector
    parts: Vector
    media: tuple[Medium, ...] = ()


def together(total: Counted, slice_: Counted) -> Counted:
    """What was counted of a prompt that goes on with one more slice."""
    return Counted(
        merged(total.counts, slice_.counts),
        tuple(map(add, total.parts, slice_.parts)),
        total.media + slice_.media if slice_.media else total.media,
    )


def merged(total: Vector, slice_: Vector) -> Vector:
    """The counts of a prompt that goes on with one more slice. Providers drop the reasoning of earlier turns
    once the user speaks again; an answer to a tool call is no such turn."""
    if slice_[_N_USER] and not slice_[_N_RESULT] and any(total[new] for new, _ in _RETIRING):
        counts = list(total)
        for new, old in _RETIRING:
            counts[old] += counts[new]
            counts[new] = 0.0
        total = tuple(counts)
    return tuple(map(add, total, slice_))
