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


@dataclass(frozen=True, slots=True)
class Weighing:
    """A model's weights of now, where they come from, and `known`: those of its format."""

    key: str
    model: Learned
    group: Learned
    weights: Mapping[str, float]
    known: Mapping[str, float]


class Models:
    """What was learned, by key. `faults` gets a line for every state that can't be read."""

    def __init__(self, states: Mapping[str, bytes], faults: list[str]) -> None:
        self._kept = dict(states)
        self._faults = faults
        self._loaded: dict[str, Learned] = {}
        self._weights: dict[str, dict[str, float]] = {}

    def weighing(self, group: Group, call: Call) -> Weighing:
        """The weights for a request's model."""
        key, group_key = _keys(group, call)
        model, shared = self._learned(key), self._learned(group_key)
        weights = self._weights.get(key)
        if weights is None:
            weights = self._weights[key] = self._fitted(group, model, shared)
        known = {name: prior.mean for name, prior in group.prior.items()}
        return Weighing(key, model, shared, weights, known)

    def learn(self, group: Group, call: Call, row: Row) -> list[str]:
        """Takes in one answered prompt; returns the keys that changed."""
        key, group_key = _keys(group, call)
        for name in (key, group_key):
            self._learned(name).learn(row)
        self._weights = {name: kept for name, kept in self._weights.items() if not _concerns(name, group_key)}
        self._weights[key] = self._fitted(group, self._learned(key), self._learned(group_key))
        return [key, group_key]

    def _fitted(self, group: Group, model: Learned, shared: Learned) -> dict[str, float]:
        floor, share = (_EXACT_FLOOR, _EXACT_SHARE) if group.exact else (_FLOOR, _SHARE)
        means = shared.weights(group.prior, floor, share)
        prior = {name: Normal(means.get(name, known.mean), known.sd) for name, known in group.prior.items()}
        own = model.weights(prior, floor, share)
        return {name: own.get(name, normal.mean) for name, normal in prior.items()}

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


def _concerns(key: str, group_key: str) -> bool:
    return key.startswith("model" + group_key[5:] + "|")
