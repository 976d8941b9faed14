"""Robust linear regression with a prior: few rows, few regressors, outliers among them; pure Python.

Weights are the maximum a posteriori under independent Student-t priors and Student-t noise, by iteratively
reweighted least squares. Both have long tails: a row that contradicts the others is taken for an outlier,
and a constant that a provider adds may be far from what was believed, at the price of one surprise. The
noise scale starts wide and narrows, so that rows that all contradict the prior move the weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt, sumprod
from operator import mul

FREEDOM = 2.0
PRIOR_FREEDOM = 3.0
_PASSES = 9
# So many times the usual noise a single row may be off and still be believed.
_BELIEVED = 200.0
_STEADY_PASSES = 2
_STILL = 0.01


@dataclass(frozen=True, slots=True)
class Normal:
    """A prior for one weight."""

    mean: float = 0.0
    sd: float = 1.0


_WILDEST = 1e9
"""No weight of a real prompt comes near this many tokens; rows that lead there teach nothing."""


@dataclass(frozen=True, slots=True)
class Row:
    """One answered prompt: its regressors that aren't zero, and the tokens that were reported."""

    x: Mapping[str, float]
    y: float


def dot(weights: Mapping[str, float], x: Mapping[str, float]) -> float:
    """The prediction for x; a regressor without a weight counts nothing."""
    return sum(weights.get(name, 0.0) * value for name, value in x.items())


def noise(y: float, floor: float, share: float) -> float:
    """Standard deviation of the noise of a prompt of y tokens."""
    return sqrt(floor * floor + (share * y) ** 2)


def fit(
    rows: Sequence[Row],
    prior: Mapping[str, Normal],
    *,
    floor: float = 1.0,
    share: float = 0.006,
    decay: float = 0.99,
    loyal: bool = False,
    start: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """Weights of the regressors that occur in the rows; the newest row is the last, older ones weigh less.

    With `start` (weights that already fit all rows but the last), few passes are made where the last row
    agrees with them. With `loyal` the priors are normal ones: no weight may jump away from its own.
    """
    names = sorted({name for row in rows for name in row.x if name in prior})
    if not names:
        return {}
    problem = _Problem(rows, names, [prior[name] for name in names], floor, share, decay, loyal)
    weights = [(start or {}).get(name, prior[name].mean) for name in names]
    errors = problem.errors(weights)
    strange = [e * e / v for e, v in zip(errors, problem.variances, strict=True)]
    median = _median(strange, problem.ages)
    calm = start is not None and median < 4 and errors[-1] ** 2 < 4 * problem.variances[-1]
    scale = 1.0 if calm else max(1.0, sqrt(median), sqrt(max(strange)) / 4)
    scale = min(scale, _BELIEVED * len(rows))
    for _ in range(_STEADY_PASSES if calm else _PASSES):
        weights = problem.solve(weights, errors, scale)
        before, errors = errors, problem.errors(weights)
        if scale == 1.0 and problem.still(before, errors):
            break
        scale = max(1.0, scale / 3)
    if not all(abs(weight) < _WILDEST for weight in weights):
        return {name: prior[name].mean for name in names}
    return dict(zip(names, weights, strict=True))


def _median(values: Sequence[float], weights: Sequence[float]) -> float:
    """The value with half of the weight on either side."""
    half, passed = sum(weights) / 2, 0.0
    for value, weight in sorted(zip(values, weights, strict=True)):
        passed += weight
        if passed > half:
            return value
    return max(values)


class _Problem:
    """Rows and priors, laid out for the passes."""

    def __init__(
        self,
        rows: Sequence[Row],
        names: Sequence[str],
        priors: Sequence[Normal],
        floor: float,
        share: float,
        decay: float,
        loyal: bool,
    ) -> None:
        self.priors = priors
        self.means = [prior.mean for prior in priors]
        self.loyal = loyal
        self.ys = [row.y for row in rows]
        self.columns = [[row.x.get(name, 0.0) for row in rows] for name in names]
        self.lines = list(zip(*self.columns, strict=True))
        self.variances = [noise(y, floor, share) ** 2 for y in self.ys]
        self.ages = [decay ** (len(rows) - 1 - i) for i in range(len(rows))]

    def errors(self, weights: Sequence[float]) -> list[float]:
        """What the weights leave unexplained of each row."""
        return [y - sumprod(weights, line) for y, line in zip(self.ys, self.lines, strict=True)]

    def still(self, before: Sequence[float], errors: Sequence[float]) -> bool:
        """Whether a pass has changed no prediction by more than a tenth of its noise."""
        return all((a - b) ** 2 < _STILL * v for a, b, v in zip(before, errors, self.variances, strict=True))

    def solve(self, weights: Sequence[float], errors: Sequence[float], scale: float) -> list[float]:
        """One pass: rows pull, and priors hold, by how far they were missed the last time."""
        wide = scale * scale
        pulls = [
            age * (FREEDOM + 1) / (FREEDOM * v * wide + e * e)
            for age, e, v in zip(self.ages, errors, self.variances, strict=True)
        ]
        holds = self._holds(weights, wide)
        pulled = list(map(mul, pulls, self.ys))
        right = [
            sumprod(pulled, column) + hold * mean
            for column, hold, mean in zip(self.columns, holds, self.means, strict=True)
        ]
        return _solved(_factored(self.columns, pulls, holds), right)

    def _holds(self, weights: Sequence[float], wide: float) -> list[float]:
        if self.loyal:
            return [1 / prior.sd**2 for prior in self.priors]
        return [
            (PRIOR_FREEDOM + 1) / (PRIOR_FREEDOM * prior.sd**2 * wide + (weight - prior.mean) ** 2)
            for prior, weight in zip(self.priors, weights, strict=True)
        ]


def _factored(
    columns: Sequence[Sequence[float]], pulls: Sequence[float], precisions: Sequence[float]
) -> list[list[float]]:
    """The lower triangle of the normal equations, by Cholesky."""
    matrix: list[list[float]] = []
    for i, column in enumerate(columns):
        pulled = list(map(mul, pulls, column))
        line = [sumprod(pulled, other) for other in columns[: i + 1]]
        line[i] += precisions[i]
        for j in range(i):
            other = matrix[j]
            line[j] = (line[j] - sumprod(line[:j], other[:j])) / other[j]
        line[i] = sqrt(max(line[i] - sumprod(line[:i], line[:i]), 1e-12))
        matrix.append(line)
    return matrix


def _solved(factor: Sequence[Sequence[float]], right: list[float]) -> list[float]:
    """The unknowns of a factored system, in place of its right side."""
    for i, line in enumerate(factor):
        right[i] = (right[i] - sumprod(line[:i], right[:i])) / line[i]
    for i in range(len(right) - 1, -1, -1):
        line = factor[i]
        found = right[i] = right[i] / line[i]
        for j in range(i):
            right[j] -= line[j] * found
    return right


def spreads(
    rows: Sequence[Row],
    prior: Mapping[str, Normal],
    weights: Mapping[str, float],
    *,
    floor: float = 1.0,
    share: float = 0.006,
) -> dict[str, float]:
    """Standard deviations of the weights after these rows, each taken by itself."""
    names = list(weights)
    priors = [prior[name] for name in names]
    problem = _Problem(rows, names, priors, floor, share, 1.0, True)
    errors = problem.errors(list(weights.values()))
    pulls = [(FREEDOM + 1) / (FREEDOM * v + e * e) for e, v in zip(errors, problem.variances, strict=True)]
    factor = _factored(problem.columns, pulls, [1.0 / one.sd**2 for one in priors])
    found = {}
    for i, name in enumerate(names):
        unit = [0.0] * len(names)
        unit[i] = 1.0
        found[name] = sqrt(max(0.0, _solved(factor, unit)[i]))
    return found
