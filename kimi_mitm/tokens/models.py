"""All models that something was learned of: kept states, loaded when they are needed, and their weights.

Each model inherits from its group at the same place, and the group from the priors that came with us.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kimi_mitm.tokens import learner
from kimi_mitm.tokens.groups import Group
from kimi_mitm.tokens.learner import Learned, StateError
from kimi_mitm.tokens.reading import Call
from kimi_mitm.tokens.regression import Normal, Row

_LOADED = 256
# Noise of a reported count: so many tokens, and such a share of it.
_FLOOR, _SHARE = 1.0, 0.006
_EXACT_FLOOR, _EXACT_SHARE = 1.0, 0.004
# Where most prompts are counted to the token, half a one too many is worth a fit.
_CALM_EXACT = 0.5, 0.002
# A model with so many answers no longer asks what its group's latest say.
_ENOUGH = 20


@dataclass(frozen=True, slots=True)
class Weighing:
    """A model's weights of now, where they come from, and `known`: those of its format."""

    key: str
    model: Learned
    group: Learned
    weights: Mapping[str, float]
    known: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class _Kept:
    """A model's weights, and how often its group had been fitted by then."""

    weights: dict[str, float]
    revision: int


class Models:
    """What was learned, by key. `faults` gets a line for every state that can't be read."""

    def __init__(self, states: Mapping[str, bytes], faults: list[str]) -> None:
        self._kept = dict(states)
        self._faults = faults
        self._loaded: dict[str, Learned] = {}
        self._weights: dict[str, _Kept] = {}

    def weighing(self, group: Group, call: Call) -> Weighing:
        """The weights for a request's model."""
        key, group_key = _keys(group, call)
        model, shared = self._learned(key), self._learned(group_key)
        weights = self._current(group, key, model, shared)
        known = {name: prior.mean for name, prior in group.prior.items()}
        return Weighing(key, model, shared, weights, known)

    def learn(self, group: Group, call: Call, row: Row, estimate: float) -> list[str]:
        """Takes in one answered prompt, of which this was estimated; returns the keys that changed."""
        key, group_key = _keys(group, call)
        model, shared = self._learned(key), self._learned(group_key)
        for one in (model, shared):
            one.learn(row, *(_CALM_EXACT if group.exact else _noise(group)), estimate)
        self._current(group, key, model, shared)
        return [key, group_key]

    def _current(self, group: Group, key: str, model: Learned, shared: Learned) -> dict[str, float]:
        """A model's weights. They are fitted anew only when its answers ask for it, or, while it has few of
        them, its group's."""
        kept = self._weights.get(key)
        if kept and model.settled:
            steady = group.exact or (shared.settled and kept.revision == shared.revision)
            if steady or len(model.rows) >= _ENOUGH:
                return kept.weights
        floor, share = _noise(group)
        # Of a known format one model's odd answers are no news of the others.
        means = {} if group.exact else shared.weights(group.prior, floor, share)
        prior = {name: Normal(means.get(name, known.mean), known.sd) for name, known in group.prior.items()}
        if kept and kept.revision != shared.revision:
            model.unsettle()
        # A group of one model has nothing to add to what it says itself.
        if means and model.seen == shared.seen:
            model.adopt(means)
        own = model.weights(prior, floor, share)
        weights = {name: own.get(name, normal.mean) for name, normal in prior.items()}
        self._weights[key] = _Kept(weights, shared.revision)
        return weights

    def _learned(self, key: str) -> Learned:
        found = self._loaded.pop(key, None)
        if found is None:
            found = self._load(key)
        self._loaded[key] = found
        while len(self._loaded) > _LOADED:
            oldest = next(iter(self._loaded))
            self._kept[oldest] = self._loaded.pop(oldest).dump()
            self._weights.pop(oldest, None)
        return found

    def _load(self, key: str) -> Learned:
        data = self._kept.get(key)
        if data is None:
            return Learned()
        try:
            return learner.load(data)
        except StateError as error:
            self._faults.append(f"what was learned of {key} can't be read and starts over: {error}")
            del self._kept[key]
            return Learned()

    def forget_weights(self) -> None:
        """Fits all weights anew when they are next needed."""
        self._weights.clear()
        for learned in self._loaded.values():
            learned.forget_weights()

    def states(self) -> dict[str, bytes]:
        """All states, to be kept."""
        return {**self._kept, **{key: found.dump() for key, found in self._loaded.items() if found.seen}}

    def state(self, key: str) -> bytes:
        """The state of one key; raises KeyError for one of which nothing was learned."""
        found = self._loaded.get(key)
        return found.dump() if found else self._kept[key]


def _keys(group: Group, call: Call) -> tuple[str, str]:
    shared = f"{call.place}|{group.name}"
    return f"model|{shared}|{call.wire_format}|{call.model or ''}", f"group|{shared}"


def _noise(group: Group) -> tuple[float, float]:
    return (_EXACT_FLOOR, _EXACT_SHARE) if group.exact else (_FLOOR, _SHARE)
