"""Judges the estimates on recorded exchanges, in order: each is predicted before it is learned from.

    python benchmarks/accuracy.py rows.jsonl[.zst] … [--by-source] [--priors FILE] [--only SOURCE …]

Per family: the number of rows, and the median and 90th percentile of the absolute percentage error, by how
many answers of the same model (at the same place, in the same wire format) came before. Beside it the same
for the plain count (`plain`), and for a plain count corrected by a moving average of the ratio (`ewma`).

The shipped priors were fitted on rows. `--by-source` judges without that advantage: each source's rows are
predicted with priors that were fitted on the other sources only (a quarter of a minute a source).
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from unittest import mock

import fit_priors
from rows import Row, load

from kimi_mitm.records import Usage
from kimi_mitm.tokens import Estimator, groups

BUCKETS: tuple[tuple[str, Callable[[int], bool]], ...] = (
    ("N=0", lambda n: n == 0),
    ("1-4", lambda n: 1 <= n <= 4),
    ("5-9", lambda n: 5 <= n <= 9),
    ("10-19", lambda n: 10 <= n <= 19),
    ("20+", lambda n: n >= 20),
    (">=10", lambda n: n >= 10),
    ("all", lambda n: True),
)
METHODS = ("ours", "plain", "ewma")
_EWMA = 0.3


def slice_of(row: Row, x: Iterable[str]) -> list[str]:
    """The names of the tables that a row belongs to."""
    family = row.family
    if family not in ("gpt", "o-series"):
        others = [] if family in ("claude", "gemini") else ["all others"]
        return [family, *others]
    names = set(x)
    if names & {"any_tools", "n_call", "n_result"}:
        return ["gpt tools"]
    media = {"image", "pages", "n_file", "audio", "video", "any_schema", "n_thought"}
    return ["gpt media, schema"] if names & media else ["gpt text"]


def judge(rows: Iterable[Row], estimator: Estimator) -> tuple[dict[tuple[str, str, str], list[float]], float]:
    """Errors in percent by (table, method, bucket), and the milliseconds a row took."""
    errors: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    seen: dict[tuple[str, str, str], int] = defaultdict(int)
    ratios: dict[tuple[str, str, str], float] = {}
    spent, count = 0.0, 0
    for row in rows:
        started = time.process_time()
        estimated = estimator.estimate(row.call)
        spent += time.process_time() - started
        if not row.scored:
            continue
        count += 1
        key = (row.call.place, row.call.wire_format, row.call.model or "")
        plain = estimated.estimate.tiktoken_input_tokens
        figures = {
            "ours": estimated.estimate.input_tokens,
            "plain": plain,
            "ewma": plain * ratios.get(key, 1.0),
        }
        for method, figure in figures.items():
            error = 100 * abs(round(figure) - row.tokens) / row.tokens
            for table in [*slice_of(row, estimated.x), "everything"]:
                for bucket, belongs in BUCKETS:
                    if belongs(seen[key]):
                        errors[table, method, bucket].append(error)
        ratios[key] = (1 - _EWMA) * ratios.get(key, 1.0) + _EWMA * row.tokens / max(1, plain)
        seen[key] += 1
        started = time.process_time()
        usage = Usage(input_tokens=row.tokens, output_tokens=row.output, reasoning_tokens=row.reasoning)
        estimator.learn(estimated, usage)
        spent += time.process_time() - started
    return errors, 1000 * spent / max(1, count)


def percentile(values: list[float], share: float) -> float:
    """The value below which this share of the values lies."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]


def report(errors: dict[tuple[str, str, str], list[float]]) -> None:
    """Prints the tables: n, median / p90 of the absolute percentage error, share of exact hits."""
    tables = sorted({table for table, _, _ in errors}, key=lambda t: (-len(errors[t, "ours", "all"]), t))
    for table in tables:
        hits = [error == 0 for error in errors[table, "ours", "all"]]
        print(f"\n{table}: {len(hits)} rows, {100 * sum(hits) / len(hits):.0f} % exact")
        print(f"{'':8}" + "".join(f"{bucket:>18}" for bucket, _ in BUCKETS))
        for method in METHODS:
            cells = []
            for bucket, _ in BUCKETS:
                values = errors.get((table, method, bucket))
                text = f"{percentile(values, 0.5):.1f}/{percentile(values, 0.9):.1f}" if values else "-"
                cells.append(f"{text} ({len(values)})" if values and method == "ours" else text)
            print(f"{method:8}" + "".join(f"{cell:>18}" for cell in cells))


def use_priors(data: bytes, estimator: Estimator) -> None:
    """Takes other priors than those that are shipped."""
    groups.groups.cache_clear()
    groups.group_of.cache_clear()
    groups.dialect_of.cache_clear()
    with mock.patch.object(groups, "read_priors", return_value=data):
        groups.groups()
    estimator.forget_weights()


def by_source(rows: list[Row], estimator: Estimator) -> Iterator[Row]:
    """The rows in order, each source's with priors that were fitted on the others."""
    seen = fit_priors.observe(rows)
    source = None
    for row in rows:
        if row.source != source:
            source = row.source
            use_priors(fit_priors.priors(seen, frozenset({source})), estimator)
        yield row


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("rows", nargs="+", type=Path)
    parser.add_argument("--by-source", action="store_true", help="no row's source in its own priors")
    parser.add_argument("--priors", type=Path, help="other priors than those that are shipped")
    parser.add_argument("--only", nargs="*", help="rows of these sources only")
    options = parser.parse_args()
    rows: Iterable[Row] = (
        row for row in load(options.rows) if not options.only or row.source in options.only
    )
    estimator = Estimator()
    if options.by_source:
        rows = by_source(list(rows), estimator)
    elif options.priors:
        use_priors(options.priors.read_bytes(), estimator)
    errors, cost = judge(rows, estimator)
    report(errors)
    print(f"\n{cost:.2f} ms of CPU a row, estimate and learning")


if __name__ == "__main__":
    main()
