"""Fits the priors that `kimi_mitm/tokens/priors.json` ships: how many tokens each regressor is worth, per
group of models.

    python benchmarks/fit_priors.py rows.jsonl.zst [--without SOURCE …] [-o priors.json]

Each family is fitted over all its groups, each group then starting from its family; a group of no rows
gets its family's figures, with less confidence. `--without` leaves whole sources out, to judge on them.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

from rows import Row, load

from kimi_mitm.records import Usage
from kimi_mitm.tokens import Estimator, regression
from kimi_mitm.tokens.groups import groups
from kimi_mitm.tokens.regression import Normal

# What is believed before any row: mean and standard deviation, in tokens per unit of the regressor. An output
# schema constrains what a server samples; only some write it into the prompt, too.
GENERAL: dict[str, tuple[float, float]] = {
    "text": (1.03, 0.12), "names": (1, 0.5), "call": (1.1, 0.05), "result": (1.03, 0.1),
    "tools": (0.9, 0.2), "tool_words": (0.1, 0.15), "n_tools": (6, 8), "n_fields": (1, 4),
    "schema": (0, 0.6), "schema_words": (0, 0.5), "n_schema_fields": (0, 4), "any_schema": (0, 60),
    "const": (4, 12), "n_user": (4, 3), "n_assistant": (3, 3), "n_system": (3, 3), "any_system": (0, 5),
    "n_call": (8, 20), "n_result": (6, 8), "n_parallel": (0, 6), "any_call": (0, 8),
    "digits": (0.1, 0.3), "wide": (0, 0.2), "blanks": (0, 0.1), "marks": (0, 0.08),
    "capitals": (0, 0.03), "any_tools": (80, 200), "tools_and_system": (0, 10), "required": (0, 30),
    "forced": (0, 20), "no_tools": (0, 40), "dropped_tools": (0, 0.5), "no_parallel": (0, 60),
    "empty_tools": (0, 6), "thinking": (5, 20), "adaptive": (5, 15), "no_thinking": (0, 6),
    "json_mode": (0, 15), "any_cited": (0, 250), "n_cited": (0, 40), "image": (1, 0.3),
    "n_image": (0, 12), "pages": (1, 0.5), "n_pages": (0, 250), "n_file": (30, 60), "audio": (1, 0.4),
    "video": (1, 0.4), "thought": (0.9, 0.3), "opaque": (0.8, 0.4), "n_thought": (0, 15),
    "old_thought": (0.1, 0.3), "old_opaque": (0, 0.15), "n_old_thought": (0, 6),
    "call_opaque": (0.8, 0.4), "streamed_opaque": (1, 0.3), "old_call_opaque": (0.2, 0.3),
    "streamed_old_opaque": (0.1, 0.3), "lone_page": (0, 25),
    "n_optional": (0, 4), "n_nested": (0, 10), "n_keys": (0, 6), "any_documents": (0, 250),
    "json_tools": (1, 0.3), "json_schema": (0, 0.6), "defined_tools": (1, 0.3),
    "n_described": (0, 4), "n_answers": (0, 8),
}  # fmt: skip
LOOSE = {name: Normal(*values) for name, values in GENERAL.items()}
# Constants that providers add are anybody's guess until there are rows.
WIDE = {"const": 200.0, "any_tools": 400.0, "any_schema": 200.0, "thinking": 100.0, "any_cited": 400.0}
FITTED = {name: Normal(normal.mean, WIDE.get(name, normal.sd)) for name, normal in LOOSE.items()}
# How far one model may differ from its group's figures, as a share of the general spread.
SPREAD = 0.35
# The same for what is known of a format, and at most so many tokens.
KNOWN, KNOWN_MOST = 0.2, 5.0
# The same before any row for what a published chat template tells, and at least this share of it: tokens
# of another vocabulary.
TEMPLATE, TEMPLATE_LEAST = 0.5, 0.05
# A prompt has at least this share of its definitions' tokens, unless the server leaves them out.
DROPPED = 0.4
REPEATS = 3
UNKNOWN = "other"


def family_prior(name: str) -> str:
    """Groups of one family share its figures: `gpt-5/chat` and `gpt-4/chat` are `gpt`."""
    alone = name == "gpt-oss" or name.startswith("plain")
    return name if alone else name.split("/")[0].split("-")[0]


def known_spread(name: str) -> float:
    """How far one model may differ from what is known."""
    return float(f"{min(KNOWN * LOOSE[name].sd, KNOWN_MOST):.2g}")


def template_spread(name: str, value: float) -> float:
    """How far a group may differ from its published template."""
    return max(TEMPLATE * LOOSE[name].sd, TEMPLATE_LEAST * abs(value))


def fitted(rows: list[regression.Row], prior: dict[str, Normal], exact: bool) -> dict[str, Normal]:
    """Posterior mean and spread of each weight."""
    floor, share = (0.3, 0.002) if exact else (1.0, 0.006)
    weights = regression.fit(rows, prior, floor=floor, share=share, decay=1.0, loyal=True)
    spread = regression.spreads(rows, prior, weights, floor=floor, share=share)
    return {name: Normal(weights[name], spread[name]) for name in weights}


@dataclass(frozen=True, slots=True)
class Observation:
    """One row as the fit sees it."""

    source: str
    group: str
    row: regression.Row


def dropped(x: Mapping[str, float], tokens: int) -> bool:
    """Whether a server can't have read the tools. A slope must not explain that: many would cost nothing."""
    seen = sum(x.get(name, 0.0) for name in ("text", "call", "result"))
    return "tools" in x and tokens < seen + DROPPED * x["tools"]


def observe(rows: Iterable[Row]) -> list[Observation]:
    """Reads rows into regressors, in order; the same prompt and answer are taken a few times only."""
    estimator = Estimator()
    seen: Counter[tuple[str, str, int]] = Counter()
    found = []
    for row in rows:
        if not row.scored:
            continue
        estimated = estimator.estimate(row.call)
        estimator.learn(estimated, Usage(input_tokens=row.tokens, reasoning_tokens=row.reasoning))
        if estimated.observed is None or dropped(estimated.x, row.tokens):
            continue
        group, x = estimated.observed.group.name, dict(estimated.x)
        key = (group, json.dumps(x, sort_keys=True), row.tokens)
        seen[key] += 1
        if seen[key] <= REPEATS:
            found.append(Observation(row.source, group, regression.Row(x, row.tokens)))
    return found


def priors(seen: Iterable[Observation], without: frozenset[str] = frozenset()) -> bytes:
    """The priors fitted on all sources but those, as `priors.json` holds them."""
    by_group: dict[str, list[regression.Row]] = defaultdict(list)
    for one in seen:
        if one.source not in without:
            by_group[one.group].append(one.row)
    general = {name: [mean, sd] for name, (mean, sd) in GENERAL.items()}
    result = {"general": general, "groups": fit_all(by_group)}
    return (json.dumps(result, separators=(",", ":")).replace('},"', '},\n"') + "\n").encode()


def widened(name: str, sd: float) -> float:
    """The spread of one model's figure, where that of its group's is `sd`."""
    return sqrt(sd**2 + (SPREAD * LOOSE[name].sd) ** 2)


def fit_all(by_group: dict[str, list[regression.Row]]) -> dict[str, dict[str, list[float]]]:
    """The priors of every group."""
    families: dict[str, list[regression.Row]] = defaultdict(list)
    for name, rows in by_group.items():
        families[family_prior(name)] += rows
    found: dict[str, dict[str, list[float]]] = {}
    family_fits = {name: fitted(rows, FITTED, False) for name, rows in families.items()}
    for group in groups():
        if group.name == UNKNOWN:  # strangers have nothing in common but the general priors
            found[group.name] = {}
            continue
        own = by_group.get(group.name, [])
        family = family_fits.get(family_prior(group.name), {})
        start = {
            name: Normal(family[name].mean, sqrt(family[name].sd ** 2 + (0.5 * wide.sd) ** 2))
            if name in family
            else wide
            for name, wide in FITTED.items()
        }
        start |= {name: Normal(value, template_spread(name, value)) for name, value in group.template.items()}
        start |= {name: Normal(value, known_spread(name)) for name, value in group.known.items()}
        posterior = fitted(own, start, group.exact) if own else {}
        shipped = {}
        for name in LOOSE:
            told = name in family or name in group.known or name in group.template
            value = posterior.get(name) or (start[name] if told else None)
            if value is not None:
                known = name in group.known
                mean = group.known[name] if known else round(value.mean, 4)
                sd = known_spread(name) if known else widened(name, value.sd)
                shipped[name] = [mean, float(f"{sd:.2g}")]
        found[group.name] = shipped
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("rows", nargs="+", type=Path)
    parser.add_argument("--without", nargs="*", default=[])
    parser.add_argument("-o", "--out", type=Path)
    options = parser.parse_args()
    seen = observe(load(options.rows))
    if options.out:
        options.out.write_bytes(priors(seen, frozenset(options.without)))
    for name, count in sorted(Counter(one.group for one in seen).items()):
        print(f"{name:24} {count:5} rows")


if __name__ == "__main__":
    main()
