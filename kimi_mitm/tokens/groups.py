"""Which group a request's model belongs to, and the priors of the group's weights.

`groups.toml` says what belongs together; `priors.json` holds what was fitted (see benchmarks/fit_priors.py).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from typing import Any

import msgspec

from kimi_mitm.providers import bare_name
from kimi_mitm.tokens import tokenizer
from kimi_mitm.tokens.features import Dialect
from kimi_mitm.tokens.regression import Normal

# Where a format is known exactly, text counts as its tokens, and nothing else of it counts.
EXACT = {
    **dict.fromkeys(("text", "names", "call", "result", "tools", "schema"), 1.0),
    **dict.fromkeys(("tool_words", "n_tools", "n_fields", "schema_words", "n_schema_fields", "n_keys"), 0.0),
    **dict.fromkeys(("digits", "wide", "blanks", "marks", "capitals", "any_system", "any_call"), 0.0),
    **dict.fromkeys(("thinking", "no_thinking", "adaptive", "dropped_tools", "no_tools", "json_mode"), 0.0),
}

# Where functions count as their words, these and all other texts count as their tokens.
WORDS = {
    **dict.fromkeys(("text", "call", "result", "tools", "json_tools"), 1.0),
    **dict.fromkeys(("digits", "wide", "blanks", "marks", "capitals", "any_system", "any_call"), 0.0),
    **dict.fromkeys(("n_parallel", "any_tools", "tools_and_system", "required", "forced", "json_mode"), 0.0),
}


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Models that count alike. `known`: weights that the format itself tells; `template`: those that a
    published chat template tells. `think_tags`: what its answers have between `<think>` tags is reasoning for
    its template. `fitted`: there are priors for the group, not only the general ones."""

    name: str
    model: re.Pattern[str]
    wire: re.Pattern[str]
    place: re.Pattern[str]
    shape: str | None = None
    encoding: str = tokenizer.O200K
    functions: str = "json"
    exact: bool = False
    none_drops_tools: bool = False
    think_tags: bool = False
    prior: Mapping[str, Normal] = field(default_factory=dict)
    known: Mapping[str, float] = field(default_factory=dict)
    template: Mapping[str, float] = field(default_factory=dict)
    fitted: bool = False


class _Priors(msgspec.Struct):
    general: dict[str, tuple[float, float]]
    groups: dict[str, dict[str, tuple[float, float]]]


def read_priors() -> bytes:
    """The fitted priors as they stand in the package."""
    return resources.files(__package__).joinpath("priors.json").read_bytes()


@lru_cache(maxsize=1)
def groups() -> tuple[Group, ...]:
    """The table, with its priors."""
    package = resources.files(__package__)
    rows = tomllib.loads(package.joinpath("groups.toml").read_text(encoding="utf-8"))["group"]
    fitted = msgspec.json.decode(read_priors(), type=_Priors)
    whole: dict[object, dict[str, Any]] = {None: {}}
    for row in rows:
        whole[row["name"]] = _like(whole[row.get("like")], row)
    return tuple(_group(row, fitted) for name, row in whole.items() if name)


def _like(other: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with what it has from an earlier one; its own weights stand in the place of the other's."""
    weights = {key: {**other.get(key, {}), **row.get(key, {})} for key in ("known", "template")}
    return {**other, **row, **weights}


def _group(row: dict[str, object], fitted: _Priors) -> Group:
    name = str(row["name"])
    own = fitted.groups.get(name, {})
    merged = {**fitted.general, **own}
    return Group(
        name=name,
        model=re.compile(str(row["model"])),
        wire=re.compile(str(row.get("wire", ""))),
        place=re.compile(str(row.get("place", ""))),
        shape=str(row["shape"]) if "shape" in row else None,
        encoding=str(row.get("encoding", tokenizer.O200K)),
        functions=str(row.get("functions", "json")),
        exact=bool(row.get("exact")),
        none_drops_tools=bool(row.get("none_drops_tools")),
        think_tags=bool(row.get("think_tags")),
        prior={key: Normal(mean, sd) for key, (mean, sd) in merged.items()},
        known=_known(row),
        template=_weights(row, "template"),
        fitted=bool(own),
    )


def _known(row: dict[str, object]) -> dict[str, float]:
    known = _weights(row, "known")
    if row.get("functions") == "words":
        return {**WORDS, **known}
    return {**EXACT, **known} if row.get("exact") else known


def _weights(row: dict[str, object], key: str) -> dict[str, float]:
    given = row.get(key)
    return {str(name): float(value) for name, value in given.items()} if isinstance(given, dict) else {}


@lru_cache(maxsize=1024)
def group_of(family: str, model: str, wire_format: str, place: str, shape: str) -> Group:
    """The group of a model (as requested), spoken to in a wire format, at a place, in a prompt shape."""
    name = f"{family} {bare_name(model)}"
    for group in groups():
        if group.shape and group.shape != shape:
            continue
        if group.model.search(name) and group.wire.search(wire_format) and group.place.search(place):
            return group
    return groups()[-1]


@lru_cache(maxsize=1024)
def dialect_of(group: Group, model: str) -> Dialect:
    """How the group's models read a prompt."""
    return Dialect(group.encoding, group.functions, bare_name(model), group.think_tags)
