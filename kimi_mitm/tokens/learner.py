"""What was learned of one model, or of one group of models at one place: recent answered prompts, and the
weights that explain them.

A state is kept as versioned bytes. Figures that can't be true never get in: see `plausible`.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite

import msgspec

from kimi_mitm import accuracy
from kimi_mitm.tokens import regression
from kimi_mitm.tokens.regression import Normal, Row

VERSION = 2
WINDOW = 80
_ERRORS = 40
_MEDIA = 64
_MOST_TOKENS = 50_000_000
# A fit is due after an answer that was off by so many times its noise, and after as many quiet ones as this
# share of the rows.
_CALM = 1.0
_REFIT = 8
# So many answers in a row that the weights can't explain are a change of the provider's.
_CHANGED = 3
# After so many answers, of which the latest so many were foretold, an older figure may be known for a slip.
_SINCE, _LATEST = 5, 3
_FORGETFUL = 0.6


class State(msgspec.Struct, array_like=True):
    """The kept form. `rows`: per prompt its tokens, then index into `names` and value by turns."""

    version: int
    names: list[str]
    rows: list[list[float]]
    errors: list[float]
    exact_misses: list[bool]
    seen: int
    media: dict[str, float]


class _Packed(msgspec.Struct, array_like=True):
    """A `State` whose rows are encoded already."""

    version: int
    names: list[str]
    rows: list[msgspec.Raw]
    errors: list[float]
    exact_misses: list[bool]
    seen: int
    media: dict[str, float]


class StateError(ValueError):
    """A kept state can't be read; says why."""


def plausible(tokens: int | None, estimate: int, characters: int) -> bool:
    """Whether a reported figure can be a prompt's count: more than nothing, no more than a context can hold,
    and not absurdly far from what was sent (a tenth of, or 60 times and 50,000 more than, the estimate)."""
    if tokens is None or isinstance(tokens, bool) or not 0 < tokens <= _MOST_TOKENS:
        return False
    if tokens > 60 * max(estimate, 20) + 50_000:
        return False
    return tokens * 50 >= min(estimate, characters)


class Learned:
    """One model's or group's answered prompts and weights."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.errors: list[float] = []
        self.exact_misses: list[bool] = []
        self.seen = 0
        self.media: dict[str, float] = {}
        self._weights: dict[str, float] = {}
        self.revision = 0
        self._places: dict[str, int] = {}
        self._packed: dict[int, tuple[Row, msgspec.Raw]] = {}
        self._surprised = True
        self._unfitted = 0

    @property
    def settled(self) -> bool:
        """Whether the weights may stand: all answers since the last fit were as they said, and few."""
        return not self._surprised and self._unfitted <= len(self.rows) // _REFIT

    def unsettle(self) -> None:
        """Has the weights fitted when they are next needed: what they start from has changed."""
        self._surprised = True

    def adopt(self, weights: Mapping[str, float]) -> None:
        """Takes weights that were fitted to these very answers."""
        self._weights = dict(weights)
        self._surprised, self._unfitted = False, 0

    def forget_weights(self) -> None:
        """Has the weights fitted anew when they are next needed, from the rows alone."""
        self._weights, self._surprised = {}, True

    def weights(self, prior: Mapping[str, Normal], floor: float, share: float) -> Mapping[str, float]:
        """The weights under this prior; fitted unless they are settled."""
        if not self.settled:
            if self.rows:
                self._weights = self._fitted(prior, floor, share)
                self.revision += 1
            self._surprised, self._unfitted = False, 0
        return self._weights

    def _fitted(self, prior: Mapping[str, Normal], floor: float, share: float) -> dict[str, float]:
        start = self._weights or None
        weights = regression.fit(self.rows, prior, floor=floor, share=share, start=start)
        latest = self.rows[-_CHANGED:]
        if len(self.rows) > _CHANGED and all(_missed(row, weights, floor, share) for row in latest):
            # Not outliers but a new rule, such as a preamble that the provider has added.
            weights = regression.fit(self.rows, prior, floor=floor, share=share, decay=_FORGETFUL)
        return weights

    def learn(
        self, row: Row, floor: float = 1.0, share: float = 0.006, estimate: float | None = None
    ) -> None:
        """Takes in one more answered prompt. One that the weights foretold, or the estimate that was shown
        (it knows what the prompt's beginning had), costs no fit of its own."""
        expected = row.x.keys() <= self._weights.keys()
        off = abs(row.y - regression.dot(self._weights, row.x))
        if estimate is not None:
            off = min(off, abs(row.y - estimate))
        self._surprised |= not expected or off > _CALM * regression.noise(row.y, floor, share)
        self._unfitted += 1
        self.rows.append(row)
        del self.rows[:-WINDOW]
        self.seen += 1

    def remember_error(self, error: float, exact_miss: bool | None) -> None:
        """Keeps an estimate's relative error, and whether a static count missed."""
        self.errors.append(round(error, 5))
        del self.errors[:-_ERRORS]
        if exact_miss is not None:
            self.exact_misses.append(exact_miss)
            del self.exact_misses[:-10]

    @property
    def p90_error(self) -> float | None:
        """The 90th percentile of the recent relative errors; None before there are three."""
        return accuracy.p90(self.errors) if len(self.errors) >= 3 else None

    def foretold_since(self, seen: int) -> bool:
        """Whether enough answers came after one that `seen` others went before, and the latest were as
        estimated, within 15 %."""
        latest = sorted(self.errors[-_LATEST:])
        return self.seen - seen > _SINCE and len(latest) == _LATEST and latest[_LATEST // 2] < 0.15

    @property
    def exact_holds(self) -> bool:
        """Whether the static count may stand: it hasn't missed more often than it has hit of late."""
        return 2 * sum(self.exact_misses) <= len(self.exact_misses) or len(self.exact_misses) < 2

    def remember_media(self, digest: str, tokens: float) -> None:
        """Keeps what a medium turned out to cost."""
        self.media.pop(digest, None)
        self.media[digest] = tokens
        while len(self.media) > _MEDIA:
            del self.media[next(iter(self.media))]

    def dump(self) -> bytes:
        """The state to be kept."""
        self._packed = {id(row): self._packed.get(id(row)) or (row, self._pack(row)) for row in self.rows}
        rows = [packed for _, packed in self._packed.values()]
        state = _Packed(
            VERSION, list(self._places), rows, self.errors, self.exact_misses, self.seen, self.media
        )
        return msgspec.msgpack.encode(state)

    def _pack(self, row: Row) -> msgspec.Raw:
        places = [self._places.setdefault(name, len(self._places)) for name in row.x]
        cells = [
            n for place, value in zip(places, row.x.values(), strict=True) for n in (place, _short(value))
        ]
        return msgspec.Raw(msgspec.msgpack.encode([row.y, *cells]))


def _missed(row: Row, weights: Mapping[str, float], floor: float, share: float) -> bool:
    return abs(row.y - regression.dot(weights, row.x)) > 6 * regression.noise(row.y, floor, share)


def _short(value: float) -> float:
    return int(value) if value == int(value) else round(value, 3)


def load(data: bytes) -> Learned:
    """A kept state; raises StateError for one that is damaged or of another version."""
    try:
        state = msgspec.msgpack.decode(data, type=State)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise StateError(str(error)) from error
    if state.version != VERSION:
        raise StateError(f"version {state.version} instead of {VERSION}")
    learned = Learned()
    try:
        for cells in state.rows[-WINDOW:]:
            x = {state.names[int(cells[i])]: float(cells[i + 1]) for i in range(1, len(cells), 2)}
            learned.rows.append(Row(x, float(cells[0])))
    except (IndexError, ValueError, OverflowError) as error:
        raise StateError(f"a row is damaged: {error}") from error
    numbers = [value for row in learned.rows for value in (row.y, *row.x.values())]
    if not all(map(isfinite, (*numbers, *state.errors, *state.media.values()))):
        raise StateError("a figure is no number")
    if any(
        not 0 < row.y <= _MOST_TOKENS or max(map(abs, row.x.values()), default=0) > 1e9
        for row in learned.rows
    ):
        raise StateError("a figure is out of range")
    learned.errors = state.errors[-_ERRORS:]
    learned.exact_misses = state.exact_misses[-10:]
    learned.seen = max(0, state.seen)
    learned.media = dict(list(state.media.items())[-_MEDIA:])
    return learned
