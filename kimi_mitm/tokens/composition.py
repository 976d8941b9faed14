"""Shares an estimate out among the parts of its prompt, so that they sum to it exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kimi_mitm.records import Composition
from kimi_mitm.tokens.features import PARTS

_OWNERS: Mapping[str, tuple[str, ...]] = {
    "system": ("any_system", "n_system"),
    "tools": (
        "tools", "tool_words", "json_tools", "defined_tools", "n_tools", "n_fields", "n_optional",
        "n_nested", "n_described", "n_answers", "any_tools", "tools_and_system", "required", "forced",
        "no_tools", "dropped_tools", "no_parallel", "empty_tools",
    ),
    "user": ("n_user", "names"),
    "assistant": (
        "n_assistant", "call", "n_call", "n_parallel", "any_call", "thought", "opaque", "n_thought",
        "old_thought", "old_opaque", "n_old_thought", "call_opaque",
        "streamed_opaque", "old_call_opaque", "streamed_old_opaque",
    ),
    "tool_results": ("result", "n_result", "n_keys"),
    "media": ("image", "n_image", "pages", "n_pages", "lone_page", "n_file", "audio", "video"),
    "other": (
        "const", "schema", "json_schema", "schema_words", "n_schema_fields", "any_schema", "json_mode",
        "thinking", "adaptive", "no_thinking", "any_cited", "n_cited", "any_documents",
    ),
}  # fmt: skip
_OWNER = {name: part for part, names in _OWNERS.items() for name in names}
_OF_TEXT = ("text", "digits", "wide", "blanks", "marks", "capitals")


def compose(
    total: int,
    weights: Mapping[str, float],
    x: Mapping[str, float],
    texts: Sequence[float],
    known: float = 0,
) -> Composition:
    """The composition of an estimate of `total` tokens. `texts` are the tokens of text by `PARTS`; `known`
    are tokens of a context that isn't in the request, which stand in `other`."""
    shares = dict.fromkeys(
        ("system", "tools", "user", "assistant", "tool_results", "memory", "media", "other"), 0.0
    )
    for name, value in x.items():
        if name in _OWNER:
            shares[_OWNER[name]] += weights.get(name, 0.0) * value
    text = sum(weights.get(name, 0.0) * x.get(name, 0.0) for name in _OF_TEXT)
    whole = sum(texts)
    for part, tokens in zip(PARTS, texts, strict=True):
        shares[part] += text * tokens / whole if whole else 0.0
    shares["other"] += known
    return Composition(**_rounded({name: max(0.0, share) for name, share in shares.items()}, total))


def _rounded(shares: dict[str, float], total: int) -> dict[str, int]:
    """Whole numbers in these proportions that sum to the total (largest remainders)."""
    whole = sum(shares.values())
    if whole <= 0:
        return {**dict.fromkeys(shares, 0), "other": total}
    exact = {name: share * total / whole for name, share in shares.items()}
    floors = {name: int(value) for name, value in exact.items()}
    missing = total - sum(floors.values())
    for name in sorted(exact, key=lambda name: floors[name] - exact[name])[:missing]:
        floors[name] += 1
    return floors
