"""Robust linear regression with a prior: few rows, few regressors, outliers among them; pure Python.

Weights are the maximum a posteriori under independent Student-t priors and Student-t noise, by iteratively
reweighted least squares. Both have long tails: a row that contradicts the others is taken for an outlier,
and a constant that a provider adds may be far from what was believed, at the price of one surprise. The
noise scale starts wide and narrows, so that rows that all contradict the prior move the weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

FREEDOM = 2.0
PRIOR_FREEDOM = 3.0
_PASSES = 9
# So many times the usual noise a single row may be off and still be believed.
_BELIEVED = 200.0
_STEADY_PASSES = 2


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
        errors = problem.errors(weights)
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
        place = {name: i for i, name in enumerate(names)}
        self.priors = priors
        self.loyal = loyal
        self.ys = [row.y for row in rows]
        self.cells = [[(place[name], v) for name, v in row.x.items() if name in place] for row in rows]
        self.variances = [noise(y, floor, share) ** 2 for y in self.ys]
        self.ages = [decay ** (len(rows) - 1 - i) for i in range(len(rows))]

    def errors(self, weights: Sequence[float]) -> list[float]:
        """What the weights leave unexplained of each row."""
        return [
            y - sum(weights[j] * v for j, v in cells) for y, cells in zip(self.ys, self.cells, strict=True)
        ]

    def solve(self, weights: Sequence[float], errors: Sequence[float], scale: float) -> list[float]:
        """One pass: rows pull, and priors hold, by how far they were missed the last time."""
        wide = scale * scale
        pulls = [
            age * (FREEDOM + 1) / (FREEDOM * v * wide + e * e)
            for age, e, v in zip(self.ages, errors, self.variances, strict=True)
        ]
        means = [prior.mean for prior in self.priors]
        return _solve(self.cells, self.ys, pulls, means, self._holds(weights, wide))

    def _holds(self, weights: Sequence[float], wide: float) -> list[float]:
        if self.loyal:
            return [1 / prior.sd**2 for prior in self.priors]
        return [
            (PRIOR_FREEDOM + 1) / (PRIOR_FREEDOM * prior.sd**2 * wide + (weight - prior.mean) ** 2)
            for prior, weight in zip(self.priors, weights, strict=True)
        ]


def _solve(
    sparse: Sequence[Sequence[tuple[int, float]]],
    ys: Sequence[float],
    pulls: Sequence[float],
    means: Sequence[float],
    precisions: Sequence[float],
) -> list[float]:
    size = len(means)
    matrix = [[0.0] * size for _ in range(size)]
    right = [p * m for p, m in zip(precisions, means, strict=True)]
    for i, precision in enumerate(precisions):
        matrix[i][i] = precision
    for cells, y, pull in zip(sparse, ys, pulls, strict=True):
        for i, value in cells:
            line = matrix[i]
            part = pull * value
            right[i] += part * y
            for j, other in cells:
                line[j] += part * other
    return _cholesky_solve(matrix, right)


def _cholesky_solve(matrix: list[list[float]], right: list[float]) -> list[float]:
    """Solves a symmetric positive definite system, in place."""
    size = len(right)
    for i in range(size):
        line = matrix[i]
        for j in range(i):
            other = matrix[j]
            line[j] = (line[j] - sum(map(_times, line[:j], other[:j]))) / other[j]
        line[i] = sqrt(max(line[i] - sum(value * value for value in line[:i]), 1e-12))
        right[i] = (right[i] - sum(map(_times, line[:i], right[:i]))) / line[i]
    for i in range(size - 1, -1, -1):
        right[i] /= matrix[i][i]
        for j in range(i):
            right[j] -= matrix[i][j] * right[i]
    return right


def _times(a: float, b: float) -> float:
    return a * b


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
    place = {name: i for i, name in enumerate(names)}
    size = len(names)
    matrix = [[0.0] * size for _ in range(size)]
    for i, name in enumerate(names):
        matrix[i][i] = 1.0 / prior[name].sd ** 2
    for row in rows:
        variance = noise(row.y, floor, share) ** 2
        error = row.y - dot(weights, row.x)
        pull = (FREEDOM + 1) / (FREEDOM * variance + error * error)
        cells = [(place[name], value) for name, value in row.x.items() if name in place]
        for i, value in cells:
            for j, other in cells:
                matrix[i][j] += pull * value * other
    found = {}
    for i, name in enumerate(names):
        unit = [0.0] * size
        unit[i] = 1.0
        found[name] = sqrt(max(0.0, _cholesky_solve([line[:] for line in matrix], unit)[i]))
    return found
